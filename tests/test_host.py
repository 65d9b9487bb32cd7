"""Batches are a function of (seed, step), and one pass sees every row once."""

import numpy as np
import pytest

from autoloss_jax.config import UserError
from autoloss_jax.data import host


def split(rows, first=0, fields=3):
    x = np.repeat(np.arange(first, first + rows, dtype=np.int32)[:, None], fields, axis=1)
    return x, (x[:, 0] % 2).astype(np.int32)


def stream(train, val=(), start=0, stop=20, **kwargs):
    return list(
        host.batches(
            train,
            val,
            **{"batch_size": 10, "every": 3, "seed": 1, "num_rows": 1000, "start": start, "stop": stop}
            | kwargs,
        )
    )


def test_a_pass_sees_each_row_once_and_passes_differ():
    steps = stream((split(50),))
    first, second = (np.concatenate([b["x"][:, 0] for b, _ in steps[i : i + 5]]) for i in (0, 5))
    assert np.array_equal(np.sort(first), np.arange(50))
    assert np.array_equal(np.sort(second), np.arange(50))
    assert not np.array_equal(first, second)


def test_labels_stay_with_their_rows_across_parts():
    for batch, _ in stream((split(30), split(20, first=30))):
        assert np.array_equal(batch["y"], batch["x"][:, 0] % 2)
    seen = np.concatenate([b["x"][:, 0] for b, _ in stream((split(30), split(20, first=30)), stop=5)])
    assert np.array_equal(np.sort(seen), np.arange(50))


def test_a_resumed_stream_continues_with_the_same_batches():
    train, val = (split(57),), (split(23, first=100),)
    whole, rest = stream(train, val), stream(train, val, start=7)
    assert len(rest) == 13
    for (a, va), (b, vb) in zip(whole[7:], rest, strict=True):
        assert np.array_equal(a["x"], b["x"])
        assert (va is None) == (vb is None)
        assert va is None or np.array_equal(va["x"], vb["x"])


def test_the_controllers_batch_comes_on_every_fth_step_from_val_alone():
    steps = stream((split(50),), (split(30, first=100),))
    assert [v is not None for _, v in steps] == [i % 3 == 0 for i in range(20)]
    seen = np.concatenate([v["x"][:, 0] for _, v in steps if v is not None][:3])
    assert np.array_equal(np.sort(seen), np.arange(100, 130))


def test_seeds_give_different_orders_and_train_differs_from_val():
    a, b = (stream((split(50),), seed=s)[0][0]["x"] for s in (1, 2))
    assert not np.array_equal(a, b)
    (batch, val_batch), *_ = stream((split(50),), (split(50),))
    assert not np.array_equal(batch["x"], val_batch["x"])


def test_halves_partition_a_split():
    (ax, ay), (bx, by) = host.halve(split(101), 0.3, seed=0)
    assert len(ay) == 30
    assert np.array_equal(np.sort(np.concatenate([ax[:, 0], bx[:, 0]])), np.arange(101))
    assert np.array_equal(by, bx[:, 0] % 2)


def test_padded_batches_keep_order_and_one_shape():
    batches = list(host.padded(split(25), 10))
    assert [b["x"].shape for b, _ in batches] == [(10, 3)] * 3
    assert np.array_equal(np.concatenate([b["x"][:n, 0] for b, n in batches]), np.arange(25))


def test_ids_outside_the_vocabulary_are_refused():
    with pytest.raises(UserError, match="outside its vocabulary"):
        stream((split(50),), num_rows=40)


def test_a_batch_larger_than_the_data_is_refused():
    with pytest.raises(UserError, match="only 50 rows"):
        host.steps_per_epoch((split(50),), 51)
