"""A searched loss taken away: the same values and gradients as the controller's, in numpy,
PyTorch and JAX.
"""

import dataclasses
import importlib.util
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.interpolate import PchipInterpolator

from autoloss_jax.algorithm import losses
from autoloss_jax.algorithm.networks import CandidateLosses
from autoloss_jax.analysis import export
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
