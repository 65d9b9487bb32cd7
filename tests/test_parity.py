"""Logits equal torchfm's and FuxiCTR's with their weights, and training steps PyTorch's.

From golden files, and torchfm's live where torch is installed.
"""

import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from autoloss_jax.algorithm import fused
from tests.golden import fuxictr, reference
from tests.support import parity
from tests.support.transplant import transplant

SOURCES = ["golden", pytest.param("live", marks=pytest.mark.slow)]


def load(name, source, **kwargs):
    if source == "golden":
        return reference.load(name)
    if not all(importlib.util.find_spec(m) for m in ("torch", "torchfm")):
        pytest.skip("torch and torchfm are not installed: the golden files serve instead")
    return reference.compute(name, seed=3, **kwargs)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("name", reference.CASES)
def test_logits_equal_torchfms(name, source):
    assert parity.error(name, load(name, source)) < 1e-5


@pytest.mark.parametrize("name", fuxictr.CASES)
def test_logits_equal_fuxictrs(name):
    assert parity.error(name) < 1e-5


@pytest.mark.parametrize("source", SOURCES)
def test_twenty_steps_of_ce_deepfm_equal_pytorchs(source):
    data = load("deepfm", source, steps=20)
    al, state, ids = parity.ours("deepfm", "deepfm", data)
    step, losses = jax.jit(lambda s, batch: fused.train_step(al, s, batch)), []
    for x, y in zip(ids, data["y"], strict=True):
        before = state.metrics.loss
        state = step(state, {"x": x, "y": jnp.asarray(y, jnp.int32)})
        losses.append(float(state.metrics.loss - before))
    assert np.allclose(losses, data["losses"], rtol=1e-4)
    W, _ = transplant("deepfm", data, "end/")
    for got, want in zip(jax.tree.leaves(state.drs.params), jax.tree.leaves(W), strict=True):
        assert np.linalg.norm(got - want) < 1e-4 * np.linalg.norm(want)
