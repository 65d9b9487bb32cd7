"""How far two batches of validation agree on V's direction: measured exactly, and without a
trace in training.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from autoloss_jax.algorithm import autoloss
from autoloss_jax.config import settings
from autoloss_jax.training import controller_checkpoints, gradient_agreement, loop, report
from tests.support.nightly import further
from tests.support.proof import problem
from tests.support.runs import digest

pytestmark = pytest.mark.slow


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
                g, _ = grad_W(al, W, V, state, batch, key)
                W_star, _ = autoloss.virtual_step(al, W, g, state.drs.opt_state)
                return autoloss.val_objective(al, W_star, V, own, half)

            leaves = jax.tree.leaves(jax.grad(outer_loss)(state.controller.params))
            return jnp.concatenate([jnp.ravel(g) for g in leaves])

        stacked = jax.tree.map(lambda *a: jnp.stack(a), *halves)
        a, b = np.asarray(jax.jit(jax.vmap(gradient))(jnp.arange(2), stacked))
        want = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
        got = jax.jit(functools.partial(gradient_agreement.cosine, al))(state, batch, *halves)
        assert 0 < abs(want) < 1
        assert float(got) == pytest.approx(want, rel=1e-6)


def test_the_two_batches_of_val_share_no_row(monkeypatch):
    seen = []
    monkeypatch.setattr(gradient_agreement, "PAIRS", 1)
    monkeypatch.setattr(
        gradient_agreement,
        "cosine",
        lambda al, state, *batches: seen.extend(batches) or jnp.zeros(()),
    )
    rows = {"x": np.arange(50)[:, None].astype(np.int32), "y": np.zeros(50, np.int32)}
    state = autoloss.TrainState(jnp.asarray(3), jax.random.key(0), None, None, None, None)
    monkeypatch.setattr(jax, "jit", lambda f: f)
    gradient_agreement.meter(None, jax.make_mesh((1,), ("data",)), (rows,), (rows,), 40)(state)
    of_train, first, second = (set(np.asarray(batch["x"]).ravel().tolist()) for batch in seen)
    assert (len(of_train), len(first), len(second)) == (40, 25, 25)
    assert not first & second


def test_measuring_it_changes_no_bit_of_training(finished, tmp_path):
    cfg, workdir, _ = finished
    loop.train(settings.with_keys(cfg, {"run.gradient_agreement": True}), tmp_path, lambda _: None)
    assert digest(tmp_path) == digest(workdir)
    records = report.read_log(tmp_path / "metrics.jsonl")
    assert all(("gradient_agreement" in r) == ("val" in r) for r in records)
    assert all(-1 <= r["gradient_agreement"] <= 1 for r in records if "val" in r)
    assert not any("gradient_agreement" in r for r in report.read_log(workdir / "metrics.jsonl"))


@pytest.fixture
def fading(small, monkeypatch):
    """A config whose signal is below its bound at evaluations 2, 4 and 5, and one that never
    looks.
    """
    heard = (0.9, 0.4, 0.6, 0.3, 0.2, 0.9, 0.9)
    steps = []

    def meter(*_):
        def measure(state):
            steps.append(int(state.step))
            return heard[steps[-1] // 10 - 1]

        return measure

    monkeypatch.setattr(gradient_agreement, "meter", meter)
    keys = {
        "train__epochs": 7,
        "train__patience": 9,
        "train__evaluate_every": 10,
        "method__every": 3,
    }
    return small(**keys, method__min_agreement=0.5), small(**keys), steps


def test_a_controller_whose_signal_is_lost_twice_in_a_row_stands_still(fading, tmp_path):
    cfg, deaf, steps = fading
    loop.train(cfg, tmp_path / "heard", lambda _: None)
    assert steps == [10, 20, 30, 40, 50]  # and after that nobody asks
    loop.train(deaf, tmp_path / "deaf", lambda _: None)
    left, other = (
        list(controller_checkpoints.read(tmp_path / name).items()) for name in ("heard", "deaf")
    )
    for (step, (V, _)), (_, (theirs, _)) in zip(left, other, strict=True):
        assert jax.tree.all(jax.tree.map(np.array_equal, V, theirs)) == (step <= 50)
        assert jax.tree.all(jax.tree.map(np.array_equal, V, dict(left)[50][0])) == (step >= 50)


@pytest.mark.parametrize("evaluation", further([4, 5], daily=[5]), ids=["faint once", "lost"])
def test_a_run_killed_about_the_moment_ends_in_the_same_bits(fading, tmp_path, evaluation):
    cfg, *_ = fading
    loop.train(cfg, tmp_path / "whole", lambda _: None)

    def kill(number, _):
        if number == evaluation:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loop.train(cfg, tmp_path / "killed", lambda _: None, kill)
    loop.train(cfg, tmp_path / "killed", lambda _: None)
    assert digest(tmp_path / "killed") == digest(tmp_path / "whole")
