"""Interactions in closed form equal the double loop over pairs."""

import itertools

import numpy as np
import pytest

from autoloss_jax.models import interactions

E = np.random.default_rng(0).standard_normal((6, 5, 3)).astype(np.float32)
PAIRS = list(itertools.combinations(range(5), 2))


def test_fm_is_the_sum_over_pairs():
    loop = sum(E[:, i] * E[:, j] for i, j in PAIRS)
    assert np.allclose(interactions.bi_interaction(E), loop, atol=1e-5)
    assert np.allclose(interactions.fm(E), loop.sum(-1), atol=1e-5)


def test_inner_products_come_in_the_order_of_pairs():
    loop = np.stack([np.sum(E[:, i] * E[:, j], axis=-1) for i, j in PAIRS], axis=1)
    assert np.allclose(interactions.inner_products(E), loop, atol=1e-5)


def test_pairs_come_in_the_order_of_pairs():
    loop = np.stack([E[:, i] * E[:, j] for i, j in PAIRS], axis=1)
    assert np.allclose(interactions.pairs(E), loop)
    mixed = np.stack([E[:, i] * 2 * E[:, j] for i, j in PAIRS], axis=1)
    assert np.allclose(interactions.pairs(E, 2 * E), mixed)


@pytest.mark.parametrize("order", [2, 3, 4, 5, 6])
def test_anova_is_the_sum_over_all_subsets(order):
    loop = sum(
        (np.prod(E[:, list(s)], axis=1) for s in itertools.combinations(range(5), order)),
        np.zeros((6, 3)),
    )
    assert np.allclose(interactions.anova(E, order), loop, atol=1e-5)


def test_field_aware_is_the_sum_over_pairs():
    v = np.random.default_rng(1).standard_normal((6, 5, 5, 3)).astype(np.float32)
    loop = np.stack([v[:, i, j] * v[:, j, i] for i, j in PAIRS], axis=1)
    assert np.allclose(interactions.field_aware_pairs(v), loop)
    assert np.allclose(interactions.field_aware(v), loop.sum(1), atol=1e-5)


def test_bilinear_has_a_matrix_a_pair():
    kernel = np.random.default_rng(2).standard_normal((len(PAIRS), 3, 3)).astype(np.float32)
    loop = np.stack(
        [E[:, i] @ k * E[:, j] for k, (i, j) in zip(kernel, PAIRS, strict=True)], axis=1
    )
    assert np.allclose(interactions.bilinear(E, kernel), loop, atol=1e-5)


def test_the_outer_product_of_the_sum_holds_all_pairs():
    loop = sum(np.einsum("bd,be->bde", E[:, i], E[:, j]) for i in range(5) for j in range(5))
    assert np.allclose(interactions.outer_of_sum(E), loop.reshape(6, 9), atol=1e-4)


def test_attention_is_a_weighted_mean_of_values():
    q, k, v = np.random.default_rng(3).standard_normal((3, 2, 4, 2, 3))
    for b, h, i in itertools.product(range(2), range(2), range(4)):
        weights = np.exp(k[b, :, h] @ q[b, i, h])
        mean = weights @ v[b, :, h] / weights.sum()
        assert np.allclose(interactions.attention(q, k, v)[b, i, h], mean, atol=1e-5)
