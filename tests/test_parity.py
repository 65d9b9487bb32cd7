"""Logits equal torchfm's and FuxiCTR's with their weights, and training steps PyTorch's.

From golden files, and torchfm's live where torch is installed.
"""

import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from autoloss_jax import autoloss, config
from autoloss_jax import state as states
from autoloss_jax.rows import Table
from tests.golden import fuxictr, reference
from tests.golden.transplant import transplant

SOURCES = ["golden", "live"]


def load(name, source, **kwargs):
    if source == "golden":
        return reference.load(name)
    if not all(importlib.util.find_spec(m) for m in ("torch", "torchfm")):
        pytest.skip("torch and torchfm are not installed: the golden files serve instead")
    return reference.compute(name, seed=3, **kwargs)


def ours(name, spec, data, embed_dim=4, batch_norm=True):
    """An AutoLoss of the same shape with CE, and its state with the other's weights."""
    hidden, field_dims = tuple(int(h) for h in data["hidden"]), data["field_dims"]
    model = config.Model(name=spec, embed_dim=embed_dim, hidden=hidden, dropout=0.0, batch_norm=batch_norm)
    cfg = config.Config(model=model, method=config.Method(name="ce"))
    vocab_sizes = tuple(field_dims.tolist())
    al = states.build(cfg, 2, Table(vocab_sizes), total_steps=1)
    state = states.initial(al, cfg)
    W, stats = transplant(name, data, "start/")
    assert jax.tree.map(jnp.shape, W) == jax.tree.map(jnp.shape, state.drs.params)
    assert jax.tree.map(jnp.shape, stats) == jax.tree.map(jnp.shape, state.drs.stats)
    ids = jnp.asarray(data["x"] + np.cumsum([0, *field_dims[:-1]]), jnp.int32)
    return al, state.replace(drs=state.drs.replace(params=W, stats=stats)), ids


def assert_same_logits(al, state, ids, data):
    @jax.jit
    def forward(W, stats, *keys):
        return autoloss.forward(al, W, stats, {"x": ids[0]}, *keys)[0][:, 0]

    W, stats = state.drs.params, state.drs.stats
    assert np.allclose(forward(W, stats), data["logits_eval"], atol=1e-5, rtol=1e-5)
    assert np.allclose(forward(W, stats, jax.random.key(0)), data["logits_train"], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("name", reference.CASES)
def test_logits_equal_torchfms(name, source):
    data = load(name, source)
    al, state, ids = ours(name, reference.CASES[name].spec, data)
    assert_same_logits(al, state, ids, data)


@pytest.mark.parametrize("name", fuxictr.CASES)
def test_logits_equal_fuxictrs(name):
    case, data = fuxictr.CASES[name], reference.load(name)
    al, state, ids = ours(name, case.spec, data, batch_norm=case.batch_norm)
    assert_same_logits(al, state, ids, data)


@pytest.mark.parametrize("source", SOURCES)
def test_twenty_steps_of_ce_deepfm_equal_pytorchs(source):
    data = load("deepfm", source, steps=20)
    al, state, ids = ours("deepfm", "deepfm", data)
    step, losses = jax.jit(lambda s, batch: autoloss.train_step(al, s, batch)), []
    for x, y in zip(ids, data["y"], strict=True):
        before = state.metrics.loss
        state = step(state, {"x": x, "y": jnp.asarray(y, jnp.int32)})
        losses.append(float(state.metrics.loss - before))
    assert np.allclose(losses, data["losses"], rtol=1e-4)
    W, _ = transplant("deepfm", data, "end/")
    for got, want in zip(jax.tree.leaves(state.drs.params), jax.tree.leaves(W), strict=True):
        assert np.linalg.norm(got - want) < 1e-4 * np.linalg.norm(want)
