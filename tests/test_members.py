"""Members learn as each would alone, and predict together."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from autoloss_jax import config
from autoloss_jax.algorithm import fused, networks
from autoloss_jax.config.errors import UserError
from autoloss_jax.models import registry
from autoloss_jax.models.embeddings.lookup import Table
from autoloss_jax.training import checkpoint, evaluation, loop
from autoloss_jax.training.run import Run
from tests.support import proof, runs
from tests.support.nightly import further

K, SIZES = 3, (20, 30, 10)


def built(members, embedding="adam", model="deepfm", shared=False, **method):
    """A small AutoLoss without dropout, and its first state."""
    cfg = config.Config(
        model=config.Model(name=model, dropout=0.0, members=members, shared=shared, **proof.MODEL),
        method=config.Method(**{"name": "ce", "hidden": (4,)} | method),
        optimizer=config.Optimizer(embedding=embedding, weight_decay=0.1, learning_rate=0.01),
    )
    al = Run.of(cfg).build(2, Table(SIZES), total_steps=100)
    return al, Run.of(cfg).initial_state(al)


def batch(seed, size=24):
    random = np.random.default_rng(seed)
    x = random.integers(0, SIZES, (size, len(SIZES))) + np.cumsum([0, *SIZES[:-1]])
    y = random.integers(0, 2, size)
    return {"x": jnp.asarray(x, jnp.int32), "y": jnp.asarray(y, jnp.int32)}


def of_member(tree, k):
    return jax.tree.map(lambda leaf: leaf[k], tree["member"])


def rows_of_member(W, k):
    return W["rows"].reshape(len(W["rows"]), K, -1)[:, k]


ALIKE, APART = ("ce",) * K, ("ce", "focal", "mse")
OWN = {"name": "static", "pool": APART, "static": tuple(np.eye(K).ravel())}  # each member's


@pytest.mark.parametrize(
    ("embedding", "losses"),
    further(
        [("adam", ALIKE), ("sparse_adam", ALIKE), ("lazy_adam", ALIKE), ("adam", APART)],
        daily=[("sparse_adam", ALIKE), ("adam", APART)],
    ),
)
def test_members_learn_as_each_would_alone(embedding, losses):
    with jax.enable_x64(True):
        al, together = built(K, embedding, **(OWN if losses is APART else {}))
        ones = {name: built(1, embedding, name=name)[0] for name in losses}
        one, single = built(1, embedding)
        W, stats = together.drs.params, together.drs.stats
        alone = []
        for k in range(K):
            W_k = {"rows": rows_of_member(W, k), "dense": of_member(W["dense"], k)}
            drs = single.drs.replace(
                params=W_k, stats=of_member(stats, k), opt_state=one.optimizer.init(W_k)
            )
            alone.append(single.replace(drs=drs))
        step = jax.jit(functools.partial(fused.train_step, al))
        steps = {n: jax.jit(functools.partial(fused.train_step, a)) for n, a in ones.items()}
        for t in range(5):
            together = step(together, batch(t))
            alone = [steps[n](state, batch(t)) for n, state in zip(losses, alone, strict=True)]
        together = networks.settle(al, together)
        alone = [networks.settle(one, state) for state in alone]
        for k, state in enumerate(alone):
            W = together.drs.params
            ours = rows_of_member(W, k), of_member(W["dense"], k), of_member(together.drs.stats, k)
            theirs = state.drs.params["rows"], state.drs.params["dense"], state.drs.stats
            assert proof.relative(ours, theirs) < 1e-8
        logits, _ = evaluation.step(al, together, batch(9))
        each = [evaluation.step(one, state, batch(9))[0] for state in alone]
        assert np.allclose(logits, np.mean(each, axis=0), atol=1e-8)
        losses = [state.metrics.loss for state in alone]
        assert np.isclose(together.metrics.loss, np.mean(losses))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spec", "sharing"),
    further(
        [(spec, True) for spec in registry.MODELS if spec != "lr"]
        + [(spec, False) for spec in ("fm", "finalmlp", "tests.support.user_code:Tower")],
        daily=[("deepfm", True), ("finalmlp", True), ("finalmlp", False)],
    ),
)
def test_every_model_has_members_that_begin_apart(spec, sharing):
    al, before = built(2, model=spec, shared=sharing)
    after = jax.jit(functools.partial(fused.train_step, al))(before, batch(0))
    for state in (before, after):
        W, stats = state.drs.params, state.drs.stats
        each, _ = al.recommender(W, stats, batch(1), jax.random.key(0))
        one, other = each.logits.reshape(2, -1)
        assert jnp.all(jnp.isfinite(each.logits)) and jnp.max(jnp.abs(one - other)) > 1e-5
    logits, _ = evaluation.step(al, after, batch(1))
    assert logits.shape == (24, 1) and jnp.all(jnp.isfinite(logits))


def test_one_alone_shares_nothing():
    with pytest.raises(UserError, match=r"set --config.model.members=8"):
        built(1, shared=True)


def test_weights_of_another_number_of_members_are_refused():
    with pytest.raises(UserError, match=r"the weights of 3 members, and .*members=2"):
        built(2, **OWN)
    with pytest.raises(UserError, match=r"none negative and not all zero.*K times"):
        built(2, **OWN | {"static": (1.0, 0.0, 0.0, 0.0, 0.0, 0.0)})


def test_members_that_would_all_be_alike_are_refused():
    with pytest.raises(UserError, match="LR has no embeddings"):
        built(2, model="lr")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("objective", "sharing"),
    further([("ce", False), ("mixture", False), ("ce", True)], daily=[("mixture", False)]),
)
def test_the_hypergradient_of_members_is_exact(objective, sharing):
    with jax.enable_x64(True):
        al, state, train_batch, val_batch = proof.problem(
            members=K, shared=sharing, val_objective=objective
        )
        gradient = jax.jit(lambda s: proof.hypergradient(al, s, train_batch, val_batch))(state)
        f = proof.full_table_outer_loss(al, state, train_batch, val_batch)
        for direction, difference in proof.central_differences(f, state.controller.params, 4):
            exact = proof.flatten(gradient) @ proof.flatten(direction)
            assert abs(exact - difference) < 1e-6 * np.linalg.norm(proof.flatten(gradient))


@pytest.mark.nightly
@pytest.mark.slow
def test_killed_on_its_way_a_run_with_members_ends_in_the_same_bits(small, tmp_path):
    """A controller that tells members apart; and its predictions are those of the mean."""
    cfg = small(model__members=2, train__checkpoint_every=4, train__log_every=3)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    loop.train(cfg, whole, runs.quiet, shown=False)
    for step in (5, 20):
        process = runs.started(cfg, killed, until=step)
        process.kill()
        process.join()
    loop.train(cfg, killed, runs.quiet, shown=False)
    assert runs.digest(killed) == runs.digest(whole)
    best = checkpoint.load(checkpoint.newest(whole / "best"))
    assert json.loads((whole / "result.json").read_text())["model"] == "2 deepfm"
    vectors = best.state.controller.params["member"]["embedding"]
    assert vectors.shape == (2, 8) and np.any(vectors[0] != vectors[1])
