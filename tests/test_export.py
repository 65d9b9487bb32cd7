"""A searched loss taken away: the same values and gradients as the controller's, in numpy,
PyTorch and JAX.
"""

import dataclasses
import importlib.util
import itertools
import json
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.interpolate import PchipInterpolator
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from autoloss_jax.algorithm import losses, mixture
from autoloss_jax.algorithm.networks import CandidateLosses
from autoloss_jax.analysis import export, tabulation
from autoloss_jax.config import settings
from autoloss_jax.config.errors import UserError
from autoloss_jax.training import checkpoint
from autoloss_jax.training.run import Run

LABELS = (0, 1)


@pytest.fixture(scope="module")
def loaded(finished):
    """A run whose controller has opinions: a short one's, shaken."""
    loaded, random = (
        checkpoint.load(checkpoint.newest(finished[1] / "best")),
        np.random.default_rng(1),
    )
    V = jax.tree.map(
        lambda a: a + 1.5 * random.standard_normal(a.shape).astype(np.float32),
        loaded.state.controller.params,
    )
    controller = loaded.state.controller.replace(params=V)
    return dataclasses.replace(loaded, state=loaded.state.replace(controller=controller))


@pytest.fixture(scope="module")
def exported(finished, loaded, tmp_path_factory):
    """The folder that a run's loss was written to."""
    folder = tmp_path_factory.mktemp("searched")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "load", lambda step: loaded)
        export.export(finished[1], folder)
    return folder


@pytest.fixture(scope="module")
def searched(exported):
    """The exported file as a program would import it."""
    spec = importlib.util.spec_from_file_location("exported_loss", exported / "searched_loss.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def oracle(loaded):
    """{label: (logits, value, gradient)} of the controller in float64, the gradient by
    differences at fixed weights.
    """
    out, controller = {}, loaded.state.controller
    z = np.random.default_rng(5).uniform(-30, 30, 3000)
    z = np.concatenate([z[np.abs(np.abs(z) - 1) > 1e-3], [-1e3, 1e3]])
    with jax.enable_x64(True):
        for label in LABELS:

            @jax.jit
            def at(params, stats, z, label=label):
                y, p = jnp.full(len(z), label), 1 / (1 + jnp.exp(-z[:, None]))
                variables = {"params": params, "batch_stats": stats}
                alpha = jnp.exp(loaded.al.controller.module.apply(variables, y, p, train=False))

                def each(z):
                    return jnp.stack(
                        [loss(z[:, None], y) for loss in loaded.al.candidates.losses], axis=1
                    )

                slopes = (each(z + 1e-5) - each(z - 1e-5)) / 2e-5
                return jnp.sum(alpha * each(z), axis=1), jnp.sum(alpha * slopes, axis=1)

            wide = jax.tree.map(
                lambda a: np.asarray(a, np.float64), (controller.params, controller.stats)
            )
            out[label] = (z, *jax.device_get(at(*wide, z)))
    return out


def far(ours, true):
    return np.max(np.abs(np.asarray(ours, np.float64) - true) / np.maximum(1, np.abs(true)))


def test_numpy_gives_the_controllers_loss_to_the_bound_that_is_stated(exported, searched, oracle):
    record = json.loads((exported / "searched_loss.json").read_text())
    assert record["bound"] == 1e-4 and max(record["error"].values()) < record["bound"]
    assert np.ptp(record["labels"]["1"]["weights"]["hinge"]) > 0.2
    assert (
        record["pool"] == ["focal", "kl", "hinge", "ce"] and "jax" in record["source"]["versions"]
    )
    assert (exported / "searched_loss.json").stat().st_size < 500_000
    for label, (z, value, gradient) in oracle.items():
        labels = np.full(len(z), label)
        for dtype in (np.float32, np.float64):
            assert far(searched.value(z.astype(dtype), labels), value) < record["bound"]
            assert far(searched.gradient(z.astype(dtype), labels), gradient) < record["bound"]
            assert searched.value(z.astype(dtype), labels).dtype == dtype


def test_the_gradient_jumps_where_the_hinge_breaks(exported, searched):
    tables = json.loads((exported / "searched_loss.json").read_text())["labels"]
    for label in LABELS:
        break_at = float(2 * label - 1)
        table = tables[str(label)]
        weight = np.interp(break_at, table["logits"], table["weights"]["hinge"])
        below, above = searched.gradient(break_at + np.array([-1e-7, 1e-7]), np.full(2, label))
        assert above - below == pytest.approx(weight, abs=1e-5)


def test_between_points_the_table_is_scipys_monotone_cubic(exported, searched):
    for label, table in json.loads((exported / "searched_loss.json").read_text())["labels"].items():
        x = np.asarray(table["logits"])
        right = x > 1.0 if label == "1" else x > -1.0
        piece = np.flatnonzero(right)
        z = np.linspace(x[piece[0]], x[piece[-1]], 500)[1:-1]
        for name in ("value", "gradient"):
            first = piece[0] - 1  # the break itself, from the right
            want = PchipInterpolator(x[first:], np.asarray(table[name])[first:])(z)
            got = getattr(searched, name)(z, np.full(len(z), int(label)))
            np.testing.assert_allclose(got, want, atol=1e-8)


def test_jax_differentiates_the_value_to_the_tabulated_gradient(searched, oracle):
    for label, (z, *_) in oracle.items():
        z, labels = z.astype(np.float32), np.full(len(z), label)
        values, pull = jax.vjp(lambda z, y=labels: searched.jax_loss(z, y), jnp.asarray(z))
        np.testing.assert_allclose(values, searched.value(z, labels), rtol=2e-6, atol=2e-6)
        (gradient,) = jax.jit(pull)(2 * jnp.ones(len(z)))
        np.testing.assert_allclose(gradient, 2 * searched.gradient(z, labels), rtol=2e-6, atol=2e-6)


@pytest.fixture
def torch():
    if not all(importlib.util.find_spec(m) for m in ("torch", "torchfm")):
        pytest.skip(
            "torch and torchfm are not installed: the numpy and JAX forms are tested without them"
        )
    return importlib.import_module("torch")


def test_torch_differentiates_the_value_to_the_tabulated_gradient(searched, oracle, torch):
    for label, (z, *_) in oracle.items():
        for dtype, tolerance in ((np.float32, 2e-6), (np.float64, 1e-12)):
            wide, labels = z.astype(dtype), np.full(len(z), label)
            leaf = torch.tensor(wide, requires_grad=True)
            values = searched.torch_loss(leaf, torch.tensor(labels))
            (2 * values).sum().backward()
            np.testing.assert_allclose(
                values.detach(), searched.value(wide, labels), rtol=tolerance, atol=tolerance
            )
            want = 2 * searched.gradient(wide, labels)
            np.testing.assert_allclose(leaf.grad, want, rtol=tolerance, atol=tolerance)
    with pytest.raises(ValueError, match="differ in shape"):
        searched.torch_loss(torch.zeros(3, 1), torch.zeros(3))


@pytest.mark.slow
def test_torchfms_deepfm_trains_with_it(searched, torch):
    from torchfm.model.dfm import DeepFactorizationMachineModel

    torch.manual_seed(0)
    torch.set_num_threads(1)
    ids = torch.randint(0, 12, (1200, 4))
    labels = (torch.randn(4, 12)[torch.arange(4), ids].sum(1) > 0).long()
    model = DeepFactorizationMachineModel((12,) * 4, 4, (8,), 0.0)
    optimizer = torch.optim.Adam(model.parameters(), 0.02)

    def loss(part):
        return searched.torch_loss(torch.logit(model(ids[part]), 1e-6), labels[part]).mean()

    def held():
        model.eval()
        with torch.no_grad():
            return float(loss(slice(1000, None)))

    before = held()
    for step in range(40):
        model.train()
        optimizer.zero_grad()
        loss(slice(step % 5 * 200, step % 5 * 200 + 200)).backward()
        optimizer.step()
    assert held() < 0.6 * before


RATE = {1: 0.0, 2: 0.6}  # of positives that read 0, by the number of a context


@pytest.fixture(scope="module")
def corrected(searched, exported, tmp_path_factory):
    """A searched_loss.py whose loss is known: cross-entropy where nothing is lost, or as many."""
    folder, labels = tmp_path_factory.mktemp("corrected"), {}
    for label in LABELS:

        def at(z, label=label):
            cells = [np.zeros(len(z)), *(np.full(len(z), rate) for rate in RATE.values())]
            columns = [derivatives(z, label, rate) for rate in cells]
            stacked = (np.stack(parts, axis=1) for parts in zip(*columns, strict=True))
            return tabulation.Curve(np.ones((len(z), 3, 1)), *stacked)

        table, _ = tabulation.tabulate(at, [])
        labels[str(label)] = {name: a.tolist() for name, a in table.items()}
    record = {"context": {"fields": ["site"], "words": [["good", "lossy"]]}, "labels": labels}
    (folder / "searched_loss.json").write_text(json.dumps(record))
    (folder / "searched_loss.py").write_text((exported / "searched_loss.py").read_text())
    spec = importlib.util.spec_from_file_location("corrected_loss", folder / "searched_loss.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def derivatives(z, label, rate):
    """Value, gradient and hessian of cross-entropy of (1 - rate) sigmoid z, by hand.

    A 0 reads log(1 + e^z) - log(1 + rate e^z), a 1 log(1 + e^-z) - log(1 - rate).
    """
    shift = np.log(np.maximum(rate, 1e-300))
    (p, lost), one = (expit(z), expit(z + shift)), np.ones_like(z)
    if label:
        return np.logaddexp(0, -z) - np.log(1 - rate), p - one, p * (1 - p)
    value = np.logaddexp(0, z) - np.logaddexp(0, z + shift)
    return value, p - lost, p * (1 - p) - lost * (1 - lost)


def test_the_hessian_is_the_slope_of_the_gradient_at_fixed_weights(corrected, searched, loaded):
    z = np.random.default_rng(0).uniform(-8, 8, 200)
    for label, (number, rate) in itertools.product(LABELS, RATE.items()):
        where = np.full(200, label), np.full(200, number)
        want = derivatives(z, label, np.full(200, rate))
        for name, true in zip(("value", "gradient", "hessian"), want, strict=True):
            assert far(getattr(corrected, name)(z, *where), true) < 1e-4
    z = z[np.abs(np.abs(z) - 1) > 1e-2]  # the hinge breaks there
    V, context = loaded.state.controller, np.zeros((1, 0), np.int32)
    for label in LABELS:
        exact = tabulation.exact(loaded.al, V.params, V.stats, label, context)
        here, near = exact(z), (exact(z - 1e-5), exact(z + 1e-5))
        with jax.enable_x64(True):
            pool, y = loaded.al.candidates.losses, np.full(len(z), label)
            slopes = [
                np.asarray(mixture.of(pool, here.weights[:, 0], (z + e)[:, None], y).gradient)
                for e in (-1e-5, 1e-5)
            ]
        want = (slopes[1] - slopes[0])[:, 0] / 2e-5
        assert far(searched.hessian(z, y), want) < 2e-4
        moved = (near[1].gradient - near[0].gradient)[:, 0] / 2e-5
        assert far(moved, want) > 0.05  # where alpha moves with z, it is not that


def test_the_curvature_is_the_information_that_the_labels_are_expected_to_have(corrected):
    z = np.linspace(-8, 8, 100)
    p = 1 / (1 + np.exp(-z))
    for number, rate in RATE.items():
        seen, slope = (1 - rate) * p, (1 - rate) * p * (1 - p)
        want = slope**2 / (seen * (1 - seen))
        assert np.allclose(corrected.curvature(z, np.full(100, number)), want, atol=1e-4)


def lossy_rows():
    """Columns, true labels, labels of which some positives are lost, and numbers of contexts."""
    rng, n = np.random.default_rng(0), 6000
    columns = rng.normal(size=(n, 3))
    lossy = rng.random(n) < 0.5
    columns[:, 2] = lossy
    truth = rng.random(n) < 1 / (1 + np.exp(-2 * columns[:, 0] - columns[:, 1] ** 2 + 1))
    lost = rng.random(n) < np.where(lossy, RATE[2], RATE[1])
    return columns, truth.astype(int), (truth & ~lost).astype(int), 1 + lossy.astype(int)


def boost_lightgbm(columns, labels, objective, lightgbm):
    data = lightgbm.Dataset(columns, labels, free_raw_data=False)
    parameters = {"objective": objective, "verbosity": -1, "num_threads": 1, "seed": 0}
    parameters |= {"boost_from_average": False, "deterministic": True, "num_leaves": 7}
    return lightgbm.train(parameters, data, 60).predict(columns, raw_score=True)


def test_lightgbm_boosts_cross_entropy_as_its_own_and_ranks_better_by_a_correction(corrected):
    lightgbm = pytest.importorskip("lightgbm")
    columns, truth, labels, numbers = lossy_rows()
    good = corrected.lightgbm_objective(np.ones(len(labels), int))
    own = boost_lightgbm(columns, labels, "binary", lightgbm)
    ours = boost_lightgbm(columns, labels, good, lightgbm)
    assert np.quantile(np.abs(own - ours), 0.9) < 0.05 < own.std()  # a table has 1e-4
    found = boost_lightgbm(columns, labels, corrected.lightgbm_objective(numbers), lightgbm)
    assert roc_auc_score(truth, found) > roc_auc_score(truth, own) + 0.02
    p = 1 / (1 + np.exp(-found))
    assert p[numbers == 2].mean() == pytest.approx(truth[numbers == 2].mean(), abs=0.03)


def test_catboost_ranks_better_by_a_correction_too(corrected):
    catboost = pytest.importorskip("catboost")
    columns, truth, labels, numbers = lossy_rows()
    whats = {
        "own": ("Logloss", labels),
        "as it is": (corrected.CatBoostObjective(), corrected.targets(labels, 0 * numbers + 1)),
        "corrected": (corrected.CatBoostObjective(), corrected.targets(labels, numbers)),
    }
    found = {}
    for name, (objective, targets) in whats.items():
        model = catboost.CatBoost(
            {
                "loss_function": objective,
                "eval_metric": "Logloss" if name == "own" else "RMSE",
                "iterations": 60,
                "learning_rate": 0.1,
                "leaf_estimation_method": "Newton",
                "leaf_estimation_iterations": 1,
                "boost_from_average": False,
                "thread_count": 1,
                "allow_writing_files": False,
                "verbose": 0,
            }
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it could be faster with numba
            model.fit(columns, targets)
        found[name] = model.predict(columns, prediction_type="RawFormulaVal")
    assert np.corrcoef(found["own"], found["as it is"])[0, 1] > 0.98
    assert roc_auc_score(truth, found["corrected"]) > roc_auc_score(truth, found["own"]) + 0.02


def test_a_loss_that_is_no_table_is_one_line(finished, loaded, monkeypatch, tmp_path):
    ce = dataclasses.replace(
        loaded, run=Run.of(settings.with_keys(loaded.cfg, {"method.name": "ce"}))
    )
    five = dataclasses.replace(loaded, schema=dataclasses.replace(loaded.schema, num_classes=5))
    ranks = dataclasses.replace(
        loaded,
        al=dataclasses.replace(
            loaded.al,
            candidates=CandidateLosses((losses.generative, *loaded.al.candidates.losses[1:])),
        ),
    )
    l2 = dataclasses.replace(loaded.al.recommender, l2=lambda *_: None)
    shrinks = dataclasses.replace(loaded, al=dataclasses.replace(loaded.al, recommender=l2))
    for other, said in (
        (shrinks, "L2 on the embeddings"),
        (ce, "ce, has no controller"),
        (five, "5 classes"),
        (ranks, f"{loaded.pool[0]} looks at a whole batch"),
    ):
        monkeypatch.setattr(checkpoint, "load", lambda step, other=other: other)
        with pytest.raises(UserError, match=said):
            export.export(finished[1], tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()
