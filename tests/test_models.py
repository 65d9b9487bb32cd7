"""Every model and every option of it: shapes, low precision, an exact hypergradient, and
mistakes in one line.
"""

import gzip
import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from autoloss_jax import config
from autoloss_jax.algorithm import fused, losses, networks
from autoloss_jax.config import settings
from autoloss_jax.config.errors import UserError
from autoloss_jax.data.prepare import pipeline
from autoloss_jax.models import registry
from autoloss_jax.models.embeddings.lookup import Table
from autoloss_jax.training.run import Run
from tests.support import proof
from tests.support.nightly import further

SPECS = [
    *registry.MODELS,
    "afn(neurons=5,form=shifted,deep=true,wide=true)",
    "autoint(form=plain,heads=1,layers=1,width=4,deep=false,wide=true)",
    "dcnv2(cross=low_rank,rank=2,structure=stacked)",
    "dcnv2(cross=mixture,rank=2,experts=2)",
    "fibinet(bilinear=all)",
    "fibinet(bilinear=each)",
    "finalmlp(heads=2,second=4,context1=3,context2=0)",
    "finalmlp(gates=false)",
    "finalnet(blocks=1,gating=true,residual=sum,activation=relu)",
    "fnn(activation=tanh,first_order=true)",
    "gdcn(structure=stacked)",
    "hofm(order=4)",
    "masknet(form=parallel,blocks=2,width=4)",
    "ncf(user=3,item=1,separate=true,context=false)",
    "opnn(kernel=number)",
    "opnn(kernel=sum)",
    "opnn(kernel=vector)",
    "xdeepfm(cin=6x3,activation=relu,split=true)",
]
NUM_FIELDS = 4

DAILY = ["deepfm", "ipnn", "xdeepfm", "finalmlp", "dlrm"]  # one of each kind of network


def made(spec, num_outputs, num_fields=NUM_FIELDS, **model):
    """A small module and the rows it takes, all columns of them random."""
    cfg = config.Model(name=spec, **{"embed_dim": 3, "hidden": (8, 8)} | model)
    drs = registry.make(cfg, num_outputs, num_fields)
    row_dim = sum(drs.columns(num_fields))
    rows = jnp.asarray(
        0.5 * np.random.default_rng(0).standard_normal((16, num_fields, row_dim)), jnp.float32
    )
    return drs, rows


def build(*args, **kwargs):
    """A small module, its variables, and its rows."""
    drs, rows = made(*args, **kwargs)
    return drs, jax.jit(lambda key: drs.init(key, rows, train=False))(jax.random.key(0)), rows


@pytest.mark.slow
@pytest.mark.parametrize("num_outputs", [1, 5])
@pytest.mark.parametrize("spec", further(SPECS, DAILY))
def test_logits_are_one_or_one_a_class_and_alike_in_bfloat16(spec, num_outputs):
    (drs, rows), (low, _) = (made(spec, num_outputs, compute=c) for c in ("float32", "bfloat16"))

    @jax.jit  # in one program
    def both(key):
        variables = drs.init(key, rows, train=False)
        return [module.apply(variables, rows, train=False) for module in (drs, low)]

    logits, rounded = both(jax.random.key(0))
    assert logits.shape == (16, num_outputs)
    assert logits.dtype == jnp.float32
    assert jnp.all(jnp.isfinite(rounded))
    assert np.allclose(rounded, logits, atol=0.05, rtol=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("spec", further(registry.MODELS, DAILY[2:4]))
def test_the_hypergradient_of_every_model_is_exact(spec):
    with jax.enable_x64(True):
        al, state, train_batch, val_batch = proof.problem(
            spec, 5, pool=("focal", "ce"), hidden=(4,)
        )
        gradient = jax.jit(lambda s: proof.hypergradient(al, s, train_batch, val_batch))(state)
        f = proof.full_table_outer_loss(al, state, train_batch, val_batch)
        ((direction, difference),) = proof.central_differences(f, state.controller.params, count=1)
    exact = proof.flatten(gradient) @ proof.flatten(direction)
    scale = np.linalg.norm(proof.flatten(gradient))
    assert scale > 1e-6
    assert abs(exact - difference) < 1e-6 * max(scale, 1e-2), (exact, difference)


def test_help_names_every_model():
    (text,) = (
        field.metadata["help"]
        for name, _, field in settings.keys(config.Config())
        if name == "model.name"
    )
    assert set(registry.MODELS) <= set(re.findall(r"\w+", text))


@pytest.mark.parametrize("spec", further(registry.MODELS, DAILY))
def test_first_order_columns_start_at_zero_and_embeddings_do_not(spec):
    cfg = config.Config(model=config.Model(name=spec, embed_dim=3, hidden=(8, 8)))
    al = Run.of(cfg).build(2, Table((20, 10, 10, 10)), total_steps=1)
    embedding, first_order = al.recommender.module.columns(NUM_FIELDS)
    table = Run.of(cfg).initial_state(al).drs.params["rows"]
    assert table.shape == (50, embedding + first_order)
    assert jnp.all(table[:, embedding:] == 0)
    assert jnp.all(table[:, :embedding] != 0)


def test_a_hofm_is_the_sum_over_all_subsets_of_its_orders():
    drs, variables, rows = build("hofm(order=4)", 1)
    e, first_order = np.split(rows[..., :9], 3, axis=-1), rows[..., 9:]
    subsets = [s for t in (2, 3, 4) for s in itertools.combinations(range(NUM_FIELDS), t)]
    terms = sum(np.prod(e[len(s) - 2][:, s, :], axis=1).sum(-1) for s in subsets)
    logits = drs.apply(variables, rows, train=False)[:, 0]
    assert np.allclose(
        logits, terms + first_order.sum((1, 2)) + variables["params"]["bias"], atol=1e-5
    )


@pytest.mark.parametrize("structure", ["parallel", "stacked"])
def test_a_cross_of_low_rank_is_a_full_one_whose_matrix_is_a_product(structure):
    drs, variables, rows = build(f"dcnv2(layers=2,cross=low_rank,rank=2,structure={structure})", 5)
    full, _, _ = build(f"dcnv2(layers=2,structure={structure})", 5)
    params = dict(variables["params"])
    for i in range(2):
        cross, low = params[f"cross_{i}"], params.pop(f"low_{i}")
        params[f"cross_{i}"] = {"kernel": low["kernel"] @ cross["kernel"], "bias": cross["bias"]}
    want = full.apply({**variables, "params": params}, rows, train=False)
    assert np.allclose(drs.apply(variables, rows, train=False), want, atol=1e-5)


def test_a_vector_or_a_number_a_pair_is_a_matrix_of_that_diagonal():
    matrix, _, _ = build("opnn", 5)
    for kind, shape in (("vector", (6, 3)), ("number", (6,))):
        drs, variables, rows = build(f"opnn(kernel={kind})", 5)
        kernel = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
        diagonal = np.eye(3, dtype=np.float32) * kernel.reshape(6, -1, 1)
        got, want = (
            m.apply(
                {**variables, "params": {**variables["params"], "kernel": k}}, rows, train=False
            )
            for m, k in ((drs, kernel), (matrix, diagonal))
        )
        assert np.allclose(got, want, atol=1e-5)


def test_ncf_without_context_sees_the_user_and_the_item_alone():
    for spec, sees in (
        ("ncf(user=3,item=1)", [0, 1, 2, 3]),
        ("ncf(user=3,item=1,context=false)", [1, 3]),
    ):
        drs, variables, rows = build(spec, 1)
        moved = jax.jit(
            jax.grad(lambda r, drs=drs, v=variables: jnp.sum(drs.apply(v, r, train=False)))
        )(rows)
        assert np.flatnonzero(np.abs(moved).sum((0, 2))).tolist() == sees


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("autoimt", "not one of afm, "),
        ("autoimt", "did you mean 'autoint'?"),
        ("deepfm(heads=2)", "deepfm takes no parameters"),
        (
            "autoint(head=2)",
            "autoint takes heads, layers, width, form, deep, wide; did you mean 'heads'?",
        ),
        ("autoint(heads=2,heads=2)", "heads is given twice"),
        ("autoint(heads=two)", "'two' is not a whole number from 1, as in autoint(heads=2)"),
        ("autoint(heads=0)", "'0' is not a whole number from 1"),
        ("autoint(form=papr)", "'papr' is not one of paper, plain; did you mean 'paper'?"),
        ("autoint(deep=yes)", "'yes' is not true or false, as in autoint(deep=true)"),
        ("hofm(order=1)", "'1' is not a whole number from 2, as in hofm(order=3)"),
        (
            "ncf(item=4)",
            "user=0 and item=4 must be two of the data's 4 fields, counted from 0, as in "
            "ncf(user=0,item=1)",
        ),
        ("ncf(item=0)", "user=0 and item=0 must be two"),
        ("xdeepfm(cin=8-8)", "'8-8' is not positive widths, as in xdeepfm(cin=64x64)"),
        (
            "xdeepfm(cin=5x4,split=true)",
            "wants even widths before the last, as cin=64x64, not cin=5x4",
        ),
        (
            "dcnv2(cross=lowrank)",
            "'lowrank' is not one of full, low_rank, mixture; did you mean 'low_rank'?",
        ),
        ("finalmlp(heads=3)", "heads=3 must divide the last widths of both streams, 8 and 8"),
        (
            "finalmlp(context1=4)",
            "context1=4 must be one of the data's 4 fields, counted from 0, or -1 for none",
        ),
        ("finalmlp(context1=-2)", "'-2' is not a whole number from -1"),
        ("finalmlp(second=)", "'' is not positive widths, as in finalmlp(second=64x32)"),
        ("autoint(heads=3)", "heads=3 must divide width=64, as in autoint(heads=3,width=63)"),
    ],
)
def test_a_model_that_cannot_be_is_one_line(spec, message):
    with pytest.raises(UserError, match=re.escape(message)) as error:
        build(spec, 1)
    assert "--config.model.name" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("spec", further(registry.MODELS, DAILY))
def test_one_field_is_enough_or_too_few_in_one_line(spec):
    try:
        drs, variables, rows = build(spec, 1, num_fields=1)
    except UserError as error:
        assert re.search(
            "wants at least [23] fields, and the data has 1|must be two of the data's 1 fields",
            str(error),
        )
    else:
        assert jnp.all(jnp.isfinite(drs.apply(variables, rows, train=False)))


def test_finalnets_halves_want_even_widths():
    with pytest.raises(UserError, match=re.escape("residual=concat wants even widths")):
        build("finalnet", 1, hidden=(8, 5))
    build("finalnet(residual=sum)", 1, hidden=(8, 5))


@pytest.fixture(scope="module")
def frappe(real_data, tmp_path_factory):
    """Some hundred rows of Frappe, prepared, one of three for the controller: (vocabulary sizes,
    train, val).
    """
    raw, cache = (tmp_path_factory.mktemp(name) for name in ("raw", "cache"))
    (source,) = (real_data / "frappe_x1").glob("valid.*")
    with gzip.open(source, "rt") as file:
        lines = file.readlines()[:900]
    (raw / "rows.libsvm").write_text("".join(lines))
    data = config.Data(
        name="f",
        format="libsvm",
        path=str(raw / "rows.libsvm"),
        cache=str(cache),
        split=(0.6, 0.3, 0.1),
    )
    store = pipeline.prepare(data, lambda _: None)
    return store.schema.vocab_sizes, store.split("train"), store.split("val")


@pytest.mark.slow
@pytest.mark.parametrize("spec", further(registry.MODELS, DAILY[:2]))
def test_every_model_learns_in_an_epoch_on_real_rows(spec, frappe):
    """Under cross-entropy; one in bfloat16 under AutoLoss, whose controller moves."""
    sizes, train, val = frappe
    rows = 36 * np.arange(15)[:, None] + np.arange(36)
    batches = [{k: jnp.asarray(a[:][rows % len(a)]) for k, a in s.items()} for s in (train, val)]
    searched = "autoloss" if spec == "deepfm" else "ce"
    for compute, method in (("float32", "ce"), ("bfloat16", searched)):
        cfg = settings.with_keys(
            config.Config(
                model=config.Model(name=spec, embed_dim=4, hidden=(8, 8), compute=compute)
            ),
            {
                "method.name": method,
                "method.hidden": (8,),
                "optimizer.learning_rate": 0.02,
                "train.batch_size": 36,
            },
        )
        al = Run.of(cfg).build(2, Table(sizes), total_steps=15)
        start = Run.of(cfg).initial_state(al)

        @jax.jit
        def epoch(state, al=al):
            """CE at the start, the state at the end, CE there."""

            def step(carry, pair):
                train_batch, val_batch = pair
                looked_at = (train_batch, val_batch) if al.taught_by == "val" else (train_batch,)
                return fused.train_step(al, carry, *looked_at), ()

            def ce(drs):
                logits, _ = proof.forward(al, drs.params, drs.stats, train)
                return jnp.mean(losses.ce(logits, train["y"]))

            end, _ = jax.lax.scan(step, state, tuple(batches))
            return ce(state.drs), end, ce(networks.settle(al, end).drs)

        before, state, after = epoch(start)
        assert after < before
        same = jax.tree.map(jnp.array_equal, start.controller.params, state.controller.params)
        assert jax.tree.all(same) == (method == "ce")
