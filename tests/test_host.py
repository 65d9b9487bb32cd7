"""Batches are a function of (seed, step): one pass sees every row once, and host and device draw
the same.
"""

import jax
import numpy as np
import pytest

from autoloss_jax.config.errors import UserError
from autoloss_jax.data.load import device, host
from autoloss_jax.data.load.shuffle import Order
from autoloss_jax.distributed import sharding

BLOCK, EVERY = 4, 3


def split(rows, first=0, fields=3):
    x = np.arange(first, first + rows, dtype=np.int32)[:, None] + 1000 * np.arange(
        fields, dtype=np.int32
    )
    return {"x": x, "y": (x[:, 0] % 2).astype(np.int32)}


def bounds(*sizes):
    ends = np.cumsum(sizes)
    return np.stack([ends - sizes, ends])


def feed(where, train, val=(), seed=1, batch_size=10, vocab_sizes=(1000,) * 3):
    parts = {"train": train} | ({"val": val} if val else {})
    orders = {
        name: Order(name, host.num_rows(p), min(batch_size, host.num_rows(p)))
        for name, p in parts.items()
    }
    mesh, root = sharding.make_mesh(), np.asarray(jax.random.key_data(jax.random.key(seed)))
    if where == "host":
        return host.Stream(mesh, train, val, orders, root, EVERY, BLOCK, bounds(*vocab_sizes))
    return device.Resident(mesh, orders, {name: device.put(mesh, p) for name, p in parts.items()})


def stream(where, *args, start=0, stop=20, seed=1, **kwargs):
    """[(train batch, val batch or None)] of the steps start..stop-1, read block by block as a
    compiled step reads.
    """
    source_of, key = feed(where, *args, seed=seed, **kwargs), jax.random.key(seed)
    bounds = [*range(start, stop, BLOCK), stop]
    batches = []
    for begin, end, source in zip(bounds, bounds[1:], source_of.sources(bounds), strict=False):
        for step in range(begin, end):
            due = "val" in source_of.orders and step % EVERY == 0
            batch = source_of.train_batch(source, key, np.int32(step))
            batches.append(
                (batch, source_of.val_batch(source, key, np.int32(step // EVERY)) if due else None)
            )
    return jax.device_get(batches)


@pytest.fixture(params=["host", "device"])
def where(request):
    return request.param


def test_a_pass_sees_each_row_once_and_passes_differ(where):
    steps = stream(where, (split(50),))
    first, second = (np.concatenate([b["x"][:, 0] for b, _ in steps[i : i + 5]]) for i in (0, 5))
    assert np.array_equal(np.sort(first), np.arange(50))
    assert np.array_equal(np.sort(second), np.arange(50))
    assert not np.array_equal(first, second)


def test_labels_stay_with_their_rows_across_parts(where):
    steps = stream(where, (split(30), split(20, first=30)), stop=5)
    assert all(np.array_equal(batch["y"], batch["x"][:, 0] % 2) for batch, _ in steps)
    assert np.array_equal(np.sort(np.concatenate([b["x"][:, 0] for b, _ in steps])), np.arange(50))


@pytest.mark.parametrize("start", [0, 7])
def test_host_and_device_give_the_same_batches_from_any_step(start):
    train, val = (split(57),), (split(23, first=100),)
    whole = stream("device", train, val)[start:]
    for other in ("host", "device"):
        for one, two in zip(whole, stream(other, train, val, start=start), strict=True):
            assert jax.tree.all(jax.tree.map(np.array_equal, one, two))


def test_the_controllers_batch_comes_on_every_fth_step_from_val_alone(where):
    steps = stream(where, (split(50),), (split(30, first=100),))
    assert [v is not None for _, v in steps] == [i % 3 == 0 for i in range(20)]
    seen = np.concatenate([v["x"][:, 0] for _, v in steps if v is not None][:3])
    assert np.array_equal(np.sort(seen), np.arange(100, 130))


def test_seeds_give_different_orders_and_train_differs_from_val(where):
    a, b = (stream(where, (split(50),), seed=s)[0][0]["x"] for s in (1, 2))
    assert not np.array_equal(a, b)
    (batch, val_batch), *_ = stream(where, (split(50),), (split(50),))
    assert not np.array_equal(batch["x"], val_batch["x"])


def test_halves_partition_a_split():
    a, b = host.halve(split(101), 0.3, seed=0)
    assert len(a["y"]) == 30
    assert np.array_equal(np.sort(np.concatenate([a["x"][:, 0], b["x"][:, 0]])), np.arange(101))
    assert np.array_equal(b["y"], b["x"][:, 0] % 2)


def test_padded_batches_keep_order_and_one_shape():
    batches = list(host.padded(split(25), 10))
    assert [b["x"].shape for b, _ in batches] == [(10, 3)] * 3
    assert np.array_equal(np.concatenate([b["x"][:n, 0] for b, n in batches]), np.arange(25))


def test_ids_outside_the_vocabulary_are_refused():
    with pytest.raises(UserError, match="outside its vocabulary"):
        stream("host", (split(50),), vocab_sizes=(1000, 1000, 40))
    with pytest.raises(UserError, match="outside its vocabulary"):
        host.check({"x": split(50)["x"] + 1000}, bounds(1000, 1000, 3000))


def test_a_batch_larger_than_the_data_is_refused():
    with pytest.raises(UserError, match="only 50 rows"):
        host.steps_per_epoch((split(50),), 51)
