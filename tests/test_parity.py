"""Logits and training steps equal torchfm's with its weights: from golden files, and live where torch is installed."""

import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from autoloss_jax import autoloss, config
from autoloss_jax import state as states
from tests.golden import reference

SOURCES = ["golden", "live"]


def load(name, source, **kwargs):
    if source == "golden":
        return dict(np.load(reference.FOLDER / f"{name}.npz"))
    if not all(importlib.util.find_spec(m) for m in ("torch", "torchfm")):
        pytest.skip("torch and torchfm are not installed: the golden files serve instead")
    return reference.compute(name, seed=3, **kwargs)


def transplant(weights, prefix, hidden):
    """Torchfm's state_dict as ({"rows", "dense"}, batch statistics)."""
    w = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
    rows, mlp, stats = [w["embedding.embedding.weight"]], {}, {}
    output_bias = w[f"mlp.mlp.{4 * len(hidden)}.bias"]
    if w["linear.fc.weight"].shape[1] == 1:  # DeepFM; IPNN's linear part is never used by torchfm
        rows.append(w["linear.fc.weight"])
        output_bias = output_bias + w["linear.bias"]
    for i in range(len(hidden)):
        dense, norm = f"mlp.mlp.{4 * i}", f"mlp.mlp.{4 * i + 1}"
        mlp[f"Dense_{i}"] = {"kernel": w[f"{dense}.weight"].T}
        mlp[f"BatchNorm_{i}"] = {"scale": w[f"{norm}.weight"], "bias": w[f"{norm}.bias"]}
        mean = w[f"{norm}.running_mean"] - w[f"{dense}.bias"]  # which ours leaves out
        stats[f"BatchNorm_{i}"] = {"mean": mean, "var": w[f"{norm}.running_var"]}
    output = {"kernel": w[f"mlp.mlp.{4 * len(hidden)}.weight"].T, "bias": output_bias}
    W = {"rows": np.concatenate(rows, axis=1), "dense": {"MLP_0": mlp, "Dense_0": output}}
    return jax.tree.map(jnp.asarray, (W, {"MLP_0": stats}))


def ours(name, data):
    """An AutoLoss of the same shape with CE, and its state with torchfm's weights."""
    hidden, field_dims = tuple(int(h) for h in data["hidden"]), data["field_dims"]
    model = config.Model(
        name=name, embed_dim=data["start/embedding.embedding.weight"].shape[1], hidden=hidden, dropout=0.0
    )
    cfg = config.Config(model=model, method=config.Method(name="ce"))
    vocab_sizes = tuple(field_dims.tolist())
    al = states.build(cfg, 2, vocab_sizes, total_steps=1)
    state = states.initial(al, cfg, vocab_sizes)
    W, stats = transplant(data, "start/", hidden)
    assert jax.tree.map(jnp.shape, W) == jax.tree.map(jnp.shape, state.drs.params)
    ids = jnp.asarray(data["x"] + np.cumsum([0, *field_dims[:-1]]), jnp.int32)
    return al, state.replace(drs=state.drs.replace(params=W, stats=stats)), ids


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("name", reference.MODELS)
def test_logits_equal_torchfms(name, source):
    data = load(name, source, steps=1)
    al, state, ids = ours(name, data)
    evaluated, _ = autoloss.forward(al, state.drs.params, state.drs.stats, ids[0])
    trained, _ = autoloss.forward(al, state.drs.params, state.drs.stats, ids[0], jax.random.key(0))
    assert np.allclose(evaluated[:, 0], data["logits_eval"], atol=1e-5, rtol=1e-5)
    assert np.allclose(trained[:, 0], data["logits_train"], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("source", SOURCES)
def test_twenty_steps_of_ce_deepfm_equal_pytorchs(source):
    data = load("deepfm", source)
    al, state, ids = ours("deepfm", data)
    step, losses = jax.jit(lambda s, batch: autoloss.train_step(al, s, batch)), []
    for x, y in zip(ids, data["y"], strict=True):
        before = state.metrics.loss
        state = step(state, {"x": x, "y": jnp.asarray(y, jnp.int32)})
        losses.append(float(state.metrics.loss - before))
    assert np.allclose(losses, data["losses"], rtol=1e-4)
    W, _ = transplant(data, "end/", tuple(data["hidden"]))
    for got, want in zip(jax.tree.leaves(state.drs.params), jax.tree.leaves(W), strict=True):
        assert np.linalg.norm(got - want) < 1e-4 * np.linalg.norm(want)
