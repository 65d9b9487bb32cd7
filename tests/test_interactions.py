"""Interactions in closed form equal the double loop over pairs."""

import itertools

import numpy as np

from autoloss_jax import interactions

E = np.random.default_rng(0).standard_normal((6, 5, 3)).astype(np.float32)
PAIRS = list(itertools.combinations(range(5), 2))


def test_fm_is_the_sum_over_pairs():
    loop = sum(E[:, i] * E[:, j] for i, j in PAIRS)
    assert np.allclose(interactions.bi_interaction(E), loop, atol=1e-5)
    assert np.allclose(interactions.fm(E), loop.sum(-1), atol=1e-5)


def test_inner_products_come_in_the_order_of_pairs():
    loop = np.stack([np.sum(E[:, i] * E[:, j], axis=-1) for i, j in PAIRS], axis=1)
    assert np.allclose(interactions.inner_products(E), loop, atol=1e-5)
