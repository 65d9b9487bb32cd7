"""An order is a permutation for every key, looks random, and is the same in numpy and inside a
compiled program.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from autoloss_jax.data.load.shuffle import Order, permute


def permutations(size, count):
    position = np.arange(size, dtype=np.uint32)
    return np.stack([permute(position, size, np.array([key], np.uint32)) for key in range(count)])


@pytest.mark.parametrize("size", [1, 2, 3, 10, 97, 1000, 4096, 123_457])
def test_every_key_gives_a_permutation(size):
    for order in permutations(size, 20):
        assert np.array_equal(np.sort(order), np.arange(size))


def test_every_row_is_as_likely_in_every_place():
    size, count = 37, 20_000
    orders = permutations(size, count)
    table = np.stack([np.bincount(orders[:, place], minlength=size) for place in range(size)])
    statistic = np.sum((table - count / size) ** 2) / (count / size)
    assert stats.chi2.sf(statistic, (size - 1) ** 2) > 1e-3


def test_neighbours_are_unrelated():
    size = 2000
    rho = [stats.spearmanr(order[:-1], order[1:]).statistic for order in permutations(size, 50)]
    assert abs(np.mean(rho)) < 4 / np.sqrt(50 * size)
    rho = [stats.spearmanr(order, np.arange(size)).statistic for order in permutations(size, 50)]
    assert abs(np.mean(rho)) < 4 / np.sqrt(50 * size)


def test_numpy_and_a_compiled_program_draw_the_same_rows():
    order = Order("train", 12_345, 100)
    root = np.array([7, 2**31 + 5], np.uint32)
    compiled = jax.jit(lambda root, number: order.rows(root, number, jnp))
    for number in (0, 1, 122, 123, 123_456):
        assert np.array_equal(order.rows(root, number), compiled(root, np.int32(number)))


def test_names_roots_and_passes_have_their_own_orders():
    root = np.array([1, 2], np.uint32)
    draws = [
        Order("train", 1000, 500).rows(root, 0),
        Order("val", 1000, 500).rows(root, 0),
        Order("train", 1000, 500).rows(root[::-1], 0),
        Order("train", 1000, 500).rows(root, 2),
    ]
    assert len({d.tobytes() for d in draws}) == 4
