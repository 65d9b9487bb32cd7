"""Candidates that bring L2 with them: against the optimiser's own L2, against numpy, and badly
written ones.
"""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from autoloss_jax.algorithm import candidates
from autoloss_jax.config.errors import UserError
from autoloss_jax.models.embeddings import lookup
from tests.support import devices


def trained(name, **keys):
    """The table after twenty steps on batches whose ids repeat."""
    keys |= {"model__embed_init_std": 0.4, "optimizer__learning_rate": 0.01}
    return devices.trained(devices.grid(1, 1), 20, method__name=name, **keys)[1]


@pytest.mark.slow
@pytest.mark.parametrize("embedding", ["adam", "sparse_adam"])
def test_one_candidate_with_l2_is_the_optimisers_l2_on_the_rows_of_the_batch(embedding):
    with jax.enable_x64(True):
        brought = trained("ce(l2=0.05)", optimizer__embedding=embedding)
        want = trained(
            "ce", optimizer__embedding=embedding, optimizer__l2=0.05, optimizer__l2_scope="batch"
        )
        without = trained("ce", optimizer__embedding=embedding)
    assert np.max(np.abs(brought - want)) < 1e-9
    assert np.max(np.abs(want - without)) > 1e-2


def test_a_row_is_pulled_by_the_mean_weight_of_the_examples_that_read_it():
    rng, table = np.random.default_rng(0), np.random.default_rng(1).standard_normal((9, 4))
    x, v, p = rng.integers(0, 8, (6, 3)), rng.integers(0, 2, (6, 3)), rng.random(6)
    pull = jax.grad(lambda t: jnp.mean(p * lookup.l2((0.0, 0.3), t, jnp.asarray(x), v)[:, 1]))(
        table
    )
    want = np.zeros_like(table)
    for row in range(9):
        readers = [p[b] for b in range(6) for s in range(3) if x[b, s] == row and v[b, s]]
        want[row] = 0.3 * np.mean(readers) * table[row] if readers else 0
    assert np.count_nonzero(want[:, 0]) > 3 and np.allclose(pull, want, atol=1e-6)
    assert not np.any(np.asarray(lookup.l2((0.0, 0.3), jnp.asarray(table), jnp.asarray(x)))[:, 0])


def test_every_candidate_takes_l2_and_no_other_loss_does():
    assert candidates.candidate("ce") == (candidates.parse("ce"), 0.0, "")
    for spec in ("missing_ce(rate=searched, l2=0.1)", "missing_ce(l2=0.1, rate=searched)"):
        searched = candidates.candidate(spec)
        assert (searched.l2, searched.searched) == (0.1, "missing")
    assert candidates.candidate("focal(gamma=1.0,l2=0.05)").l2 == 0.05
    assert candidates.candidate("tests.support.user_code:brier(weight=2,l2=0.1)").l2 == 0.1
    for spec, message in (
        ("ce(l2=-1)", "wants l2 >= 0"),
        ("ce(l3=1)", "ce takes l2; did you mean 'l2'"),
        ("missing_ce(rate=sought)", "'sought' is not a finite number, or one of searched"),
        ("missing_ce(rate=0.1,rate=searched)", "rate is given twice"),
    ):
        with pytest.raises(UserError, match=re.escape(message)):
            candidates.candidate(spec)
    with pytest.raises(UserError, match="ce takes no parameters"):
        candidates.parse("ce(l2=1)")
