"""Candidates that bring L2 with them: against the optimiser's own L2, against numpy, and badly written ones."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from autoloss_jax import autoloss, candidates, config, rows
from autoloss_jax import state as states
from autoloss_jax.rows import Table
from autoloss_jax.settings import UserError

SIZES = (40, 60, 7)


def trained(name, embedding, **optimizer):
    """The table after twenty steps on batches whose ids repeat."""
    cfg = config.Config(
        model=config.Model(embed_dim=3, embed_init_std=0.4, hidden=(8,)),
        method=config.Method(name=name),
        optimizer=config.Optimizer(embedding=embedding, learning_rate=0.01, **optimizer),
    )
    al = states.build(cfg, 2, Table(SIZES), total_steps=20)
    state, rng = states.initial(al, cfg), np.random.default_rng(0)
    first = np.cumsum((0, *SIZES[:-1]))
    step = jax.jit(functools.partial(autoloss.train_step, al))
    for _ in range(20):
        x, y = first + rng.integers(0, np.minimum(SIZES, 30), (16, 3)), rng.integers(0, 2, 16)
        state = step(state, {"x": jnp.asarray(x, jnp.int32), "y": jnp.asarray(y, jnp.int32)})
    return np.asarray(jax.jit(functools.partial(autoloss.settle, al))(state).drs.params["rows"])


@pytest.mark.usefixtures("compiled_fast")
@pytest.mark.parametrize("embedding", ["adam", "sparse_adam"])
def test_one_candidate_with_l2_is_the_optimisers_l2_on_the_rows_of_the_batch(embedding):
    with jax.enable_x64(True):
        brought = trained("ce(l2=0.05)", embedding)
        want = trained("ce", embedding, l2=0.05, l2_scope="batch")
        without = trained("ce", embedding)
    assert np.max(np.abs(brought - want)) < 1e-9
    assert np.max(np.abs(want - without)) > 1e-2


def test_a_row_is_pulled_by_the_mean_weight_of_the_examples_that_read_it():
    rng, table = np.random.default_rng(0), np.random.default_rng(1).standard_normal((9, 4))
    x, v, p = rng.integers(0, 8, (6, 3)), rng.integers(0, 2, (6, 3)), rng.random(6)
    pull = jax.grad(lambda t: jnp.mean(p * rows.l2((0.0, 0.3), t, jnp.asarray(x), v)[:, 1]))(table)
    want = np.zeros_like(table)
    for row in range(9):
        readers = [p[b] for b in range(6) for s in range(3) if x[b, s] == row and v[b, s]]
        want[row] = 0.3 * np.mean(readers) * table[row] if readers else 0
    assert np.count_nonzero(want[:, 0]) > 3 and np.allclose(pull, want, atol=1e-6)
    assert not np.any(np.asarray(rows.l2((0.0, 0.3), jnp.asarray(table), jnp.asarray(x)))[:, 0])


def test_every_candidate_takes_l2_and_no_other_loss_does():
    assert candidates.candidate("ce") == (candidates.parse("ce"), 0.0)
    assert candidates.candidate("focal(gamma=1.0,l2=0.05)").l2 == 0.05
    assert candidates.candidate("tests.theirs:brier(weight=2,l2=0.1)").l2 == 0.1
    for spec, message in (("ce(l2=-1)", "wants l2 >= 0"), ("ce(l3=1)", "ce takes l2; did you mean 'l2'")):
        with pytest.raises(UserError, match=re.escape(message)):
            candidates.candidate(spec)
    with pytest.raises(UserError, match="ce takes no parameters"):
        candidates.parse("ce(l2=1)")
