"""A model, a loss and an optimiser of the user's own are as good as ours, and mistakes in them
are one line.
"""

import re
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from autoloss_jax import config
from autoloss_jax.algorithm import candidates, fused, losses, methods
from autoloss_jax.config.errors import UserError
from autoloss_jax.models import registry
from autoloss_jax.models.embeddings.lookup import Table
from autoloss_jax.training import loop, prediction
from autoloss_jax.training.run import Run
from tests.support import proof, user_code

TOWERS = ["tests.support.user_code:Tower", "tests.support.user_code:TowerToldTheMode(width=6)"]


@pytest.mark.slow
def test_a_deepfm_of_the_users_own_trains_to_the_bits_of_ours(small, finished, tmp_path):
    _, ours, result = finished
    found = loop.train(
        small(model__name="tests.support.user_code:DeepFM"), tmp_path, lambda _: None
    )
    assert found["test"] == result["test"] and found["val"] == result["val"]
    own = prediction.load(tmp_path, None, {})
    same = jax.tree.map(np.array_equal, own.state.drs, prediction.load(ours, None, {}).state.drs)
    assert all(jax.tree.leaves(same))
    figures = prediction.evaluate_run(own, tmp_path, "", lambda _: None)
    assert figures["auc"] == result["test"]["auc"]


def by_hand(state, dropout=0.0):
    """The NNX tower itself, with the parameters and statistics of a state."""
    module = user_code.Tower(1, proof.NUM_FIELDS, 3, dropout, rngs=nnx.Rngs(0))
    nnx.update(
        module, nnx.merge_state(*map(nnx.State, (state.drs.params["dense"], state.drs.stats)))
    )
    return module


@pytest.mark.slow
@pytest.mark.parametrize("name", TOWERS)
def test_an_nnx_modules_logits_and_statistics_are_its_own(name):
    al, state, batch, _ = proof.problem(name, dropout=0.0)
    rows = state.drs.params["rows"][batch["x"]]
    forward = jax.jit(
        lambda *key: proof.forward(al, state.drs.params, state.drs.stats, batch, *key)
    )
    module = by_hand(state)
    module.eval()
    assert np.allclose(forward()[0], module(rows), atol=1e-6)
    key = jax.random.key(0)
    noisy, stats = forward(key)
    assert np.array_equal(noisy, forward(key)[0]) and not np.allclose(
        noisy, forward(jax.random.key(1))[0]
    )
    module.train()
    module(rows)
    assert np.allclose(stats["norm"]["mean"], module.norm.mean[...], atol=1e-6)
    assert np.allclose(stats["norm"]["var"], module.norm.var[...], atol=1e-6)
    assert not np.allclose(stats["norm"]["mean"], state.drs.stats["norm"]["mean"], atol=1e-3)
    after = jax.jit(lambda s: fused.train_step(al, s, batch))(state)
    assert np.allclose(after.drs.stats["norm"]["mean"], stats["norm"]["mean"], atol=1e-6)


@pytest.mark.slow
def test_the_hypergradient_through_an_nnx_module_is_exact():
    with jax.enable_x64(True):
        al, state, train_batch, val_batch = proof.problem(
            TOWERS[0], 5, pool=("focal", "ce"), hidden=(4,)
        )
        gradient = jax.jit(lambda s: proof.hypergradient(al, s, train_batch, val_batch))(state)
        f = proof.full_table_outer_loss(al, state, train_batch, val_batch)
        differences = list(proof.central_differences(f, state.controller.params, count=2))
    scale = np.linalg.norm(proof.flatten(gradient))
    assert scale > 1e-6
    for direction, difference in differences:
        assert abs(proof.flatten(gradient) @ proof.flatten(direction) - difference) < 1e-6 * max(
            scale, 1e-2
        )


def test_losses_of_the_users_own_are_candidates_and_methods():
    pool = candidates.parse_pool(("ce,tests.support.user_code:brier(weight=2)",))
    assert list(pool) == ["ce", "tests.support.user_code:brier(weight=2)"]
    z, y = jnp.asarray([[-1.0], [0.0], [2.0]]), jnp.asarray([0, 1, 1])
    want = 2 * (1 / (1 + np.exp([1.0, 0.0, -2.0])) - np.asarray(y)) ** 2
    assert np.allclose(list(pool.values())[1].loss(z, y), want, atol=1e-6)
    _, alone = methods.resolve(config.Method(name="tests.support.user_code:brier"))
    assert np.allclose(alone["tests.support.user_code:brier"].loss(z, y), want / 2, atol=1e-6)


def test_a_loss_that_looks_at_its_batch_is_found_out_whoever_wrote_it():
    for name in ("pairwise", "generative", "listwise", "tests.support.user_code:contrast"):
        assert losses.ranks(candidates.parse(name), 1)
    for name in ("ce", "hinge", "tests.support.user_code:brier"):
        assert not losses.ranks(candidates.parse(name), 1)


MODULE = """
    import jax.numpy as jnp
    from flax import linen as nn, nnx

    class Net(nn.Module):
        num_outputs: int
        width: int = 8
        @nn.compact
        def __call__(self, rows, *, train):
            return nn.Dense(self.num_outputs)(rows.reshape(len(rows), -1))

    class Flat(Net):
        def __call__(self, rows, *, train):
            return jnp.sum(rows, (1, 2))

    class Listing(Net):
        def __call__(self, rows, *, train):
            return [rows]

    class Buggy(Net):
        def __call__(self, rows, *, train):
            return rows @ jnp.ones(99)

    class Modeless(Net):
        def __call__(self, rows):
            return rows[:, 0, :1]

    class Columns(Net):
        def columns(self, num_fields):
            return 8

    class Wanting(Net):
        depth: int = None

    class Needy(nnx.Module):
        def __init__(self, depth: int, *, rngs): ...
        def __call__(self, rows): ...

    class Remembering(nnx.Module):
        def __init__(self):
            self.last = nnx.Cache(jnp.zeros(()))
        def __call__(self, rows):
            return rows[:, 0, :1]

    class Plain: ...

    def mean(logits, labels):
        return jnp.mean(logits)

    def whole(logits, labels):
        return labels

    def unary(logits):
        return logits

    def buggy(logits, labels):
        return jnp.dot(logits, logits)

    def shrinking(logits, labels, *, l2: float = 0.1):
        return l2 * logits[:, 0] ** 2
"""
MISTAKES = {
    "netz:Net": "no module 'netz' in the current folder",
    "nets:Nett": "nets has no 'Nett'; did you mean 'Net'?",
    "nets:": "'nets:' is not package.module:Name",
    "lacking:Net": "importing lacking failed: {here}/lacking.py:1: ModuleNotFoundError: No "
    "module "
    "named 'nonsense'",
    "nets:Plain": "'Plain' is not a Flax module",
    "nets:mean": "'mean' is not a Flax module",
    "nets:Net(widht=3)": "nets:Net takes width; did you mean 'width'?",
    "nets:Net(width=a)": "'a' is not a whole number, as in nets:Net(width=8)",
    "nets:Flat": "returned float32[2]; it wants logits [B, C] for rows [2, 2, 4], here float[2, 1]",
    "nets:Listing": "returned list; it wants logits [B, C]",
    "nets:Buggy": "{here}/nets.py:21: TypeError: dot_general",
    "nets:Modeless": "Modeless cannot be called with rows and train; it wants __call__(self, "
    "rows, *, train)",
    "nets:Columns": "columns(2) returned 8; it wants",
    "nets:Needy": "Needy wants depth: give it, or a default, as in Needy(depth=...)",
    "nets:Remembering": "keeps state in cache; only parameters and batch statistics are carried",
}
LOSS_MISTAKES = {
    "nets:mean": "returned float32[]; it wants a loss for each example, [B], not their mean, "
    "here "
    "float[4]",
    "nets:whole": "returned int32[4]; it wants",
    "nets:unary": "wants a function of (logits [B, C], labels int32[B]) to a loss [B]",
    "nets:jnp": "wants a function of (logits [B, C], labels int32[B])",
    "nets:buggy": "{here}/nets.py:56: TypeError: dot_general",
    "nets:shrinking": "l2 is what any candidate may bring with it; give its own parameter "
    "another "
    "name",
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The current folder, with a user's modules."""
    (tmp_path / "nets.py").write_text(textwrap.dedent(MODULE).lstrip())
    (tmp_path / "lacking.py").write_text("import nonsense\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    sys.modules.pop("nets", None)


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_in_a_users_model_is_one_line(here, name):
    cfg = config.Config(model=config.Model(name=name, embed_dim=4, hidden=(8,)))
    with pytest.raises(UserError, match=re.escape(MISTAKES[name].format(here=here))) as error:
        Run.of(cfg).initial_state(Run.of(cfg).build(2, Table((10, 10)), total_steps=1))
    assert str(error.value).startswith(f"--config.model.name={name!r}: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", LOSS_MISTAKES)
def test_a_mistake_in_a_users_loss_is_one_line(here, name):
    with pytest.raises(UserError, match=re.escape(LOSS_MISTAKES[name].format(here=here))) as error:
        candidates.parse(name)(jnp.zeros((4, 1)), jnp.zeros(4, jnp.int32))
    assert str(error.value).startswith(f"loss {name!r}: ")
    assert "\n" not in str(error.value)


def test_a_class_of_the_current_folder_is_found_and_given_its_options(here):
    drs = registry.make(config.Model(name="nets:Net(width=3)", embed_dim=4), 5, 2)
    assert drs.columns(2) == (4, 0) and drs.module.width == 3
