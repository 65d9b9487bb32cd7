"""How far two batches of validation agree on V's direction: measured exactly, and without a trace in training."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from autoloss_jax import autoloss, report, settings, signal, train
from tests.test_autoloss import problem
from tests.test_train import digest


def test_it_is_the_cosine_between_the_gradients_of_the_outer_loss():
    with jax.enable_x64(True):
        al, state, batch, val = problem(model="fm", hidden=(8,))
        halves = [jax.tree.map(lambda a, k=k: a[k::2], val) for k in range(2)]

        def gradient(number, half):
            """As `outer_loss` has it, with noise of its own in the batch of val."""
            W, key = state.drs.params, autoloss.stream(state.key, state.step, "train")
            own = state.replace(key=autoloss.stream(state.key, number, "signal"))

            def outer_loss(V):
                grad_W = jax.grad(autoloss.objective, argnums=1, has_aux=True)
                g, _ = grad_W(al, W, V, state, batch, key, detach=al.detach)
                W_star, _ = autoloss.virtual_step(al, W, g, state.drs.opt_state)
                return autoloss.val_objective(al, W_star, V, own, half)

            leaves = jax.tree.leaves(jax.grad(outer_loss)(state.controller.params))
            return jnp.concatenate([jnp.ravel(g) for g in leaves])

        stacked = jax.tree.map(lambda *a: jnp.stack(a), *halves)
        a, b = np.asarray(jax.jit(jax.vmap(gradient))(jnp.arange(2), stacked))
        want = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
        got = jax.jit(functools.partial(signal.cosine, al))(state, batch, *halves)
        assert 0 < abs(want) < 1
        assert float(got) == pytest.approx(want, rel=1e-6)


def test_the_batches_of_val_share_no_row(monkeypatch):
    seen = []
    monkeypatch.setattr(signal, "cosine", lambda al, state, *batches: seen.extend(batches) or jnp.zeros(()))
    rows = {"x": np.arange(50)[:, None].astype(np.int32), "y": np.zeros(50, np.int32)}
    state = autoloss.TrainState(jnp.asarray(3), jax.random.key(0), None, None, None, None)
    monkeypatch.setattr(jax, "jit", lambda f: f)
    signal.meter(None, jax.make_mesh((1,), ("data",)), (rows,), (rows,), 40)(state)
    of_train, first, second = (set(np.asarray(batch["x"]).ravel().tolist()) for batch in seen)
    assert (len(of_train), len(first), len(second)) == (40, 25, 25)
    assert not first & second


def test_measuring_it_changes_no_bit_of_training(finished, tmp_path):
    cfg, workdir, _ = finished
    train.train(settings.with_keys(cfg, {"run.signal": True}), tmp_path, lambda _: None)
    assert digest(tmp_path) == digest(workdir)
    records = report.read_log(tmp_path / "metrics.jsonl")
    assert all(("signal" in r) == ("val" in r) for r in records)
    assert all(-1 <= r["signal"] <= 1 for r in records if "val" in r)
    assert not any("signal" in r for r in report.read_log(workdir / "metrics.jsonl"))
