"""Large data: files in stretches, stores in shards, any engine; the store is the same bytes
whoever made it, and however often it was killed.
"""

import collections
import dataclasses
import importlib.util
import shutil
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path

import jax
import numpy as np
import polars as pl
import pytest

from autoloss_jax.config import Data
from autoloss_jax.config.errors import UserError
from autoloss_jax.data import inspection, store, synthetic
from autoloss_jax.data.load import device, host
from autoloss_jax.data.prepare import pipeline, stages
from autoloss_jax.data.shards import Picked, Shards
from autoloss_jax.distributed.sharding import make_mesh


def quiet(_):
    pass


@pytest.fixture(scope="module")
def criteo(tmp_path_factory):
    path = tmp_path_factory.mktemp("raw") / "day.txt"
    synthetic.write_criteo(path, 3000, seed=0)
    return path


def data(path, cache, **keys):
    return Data(
        name="c", format="criteo", path=str(path), cache=str(cache), **{"min_count": 2} | keys
    )


def content(prepared):
    return {p.name: p.read_bytes() for p in prepared.path.iterdir()}


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(stages, "STRETCH", 100_000)  # of 770 kB


@pytest.mark.slow
@pytest.mark.spark
@pytest.mark.skipif(
    not (importlib.util.find_spec("pyspark") and shutil.which("java")),
    reason="wants pyspark and Java",
)
def test_spark_makes_the_bytes_that_threads_make(criteo, tmp_path, monkeypatch, short):
    monkeypatch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
    monkeypatch.setenv(
        "PYSPARK_SUBMIT_ARGS", "--master local[2] --conf spark.ui.enabled=false pyspark-shell"
    )
    keys = {"hash": ("C3",), "hash_size": 64}
    ours, theirs = (
        pipeline.prepare(data(criteo, tmp_path / e, executor=e, **keys), quiet)
        for e in ("local", "spark")
    )
    assert len(list(ours.path.glob("train-*.x.npy"))) == 8
    assert content(ours) == content(theirs)
    (tmp_path / "bad.txt").write_bytes(criteo.read_bytes() + b"1\tx\n")
    with pytest.raises(UserError, match=r"bad\.txt:3001: 2 columns where 40 are expected"):
        pipeline.prepare(data(tmp_path / "bad.txt", tmp_path / "b", executor="spark"), quiet)


@pytest.mark.slow
def test_a_killed_prepare_goes_on_where_it_was_to_the_same_bytes(criteo, tmp_path, short):
    whole = content(pipeline.prepare(data(criteo, tmp_path / "whole"), quiet))
    given = data(criteo, tmp_path / "killed", memory_limit=0.5)
    script = (
        "import time\nfrom autoloss_jax.config import Data\n"
        "from autoloss_jax.data.prepare import chunk, pipeline, stages\n"
        "stages.STRETCH, write = 100_000, chunk.write\n"
        "made = []\n"
        "def three(*args):\n    write(*args)\n    made.append(args)\n"
        "    time.sleep(3600 if len(made) == 3 else 0)\n"  # until it is killed, however late
        "chunk.write = three\n"
        f"pipeline.prepare({given!r}, print)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], cwd=Path(__file__).parent.parent)
    while len(done := list((tmp_path / "killed").glob(".*.partial/chunks/*-00002"))) < 1:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    made = {p: p.stat().st_ino for p in done[0].parent.iterdir()}
    assert 3 <= len(made) < 8
    finished = {p: inode for p, inode in made.items() if not p.name.startswith(".")}
    kept, plain = {}, pipeline.division.divide

    def divide(parts, given):
        kept.update({part.folder: part.folder.stat().st_ino for part in parts})
        return plain(parts, given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline.division, "divide", divide)
        again = pipeline.prepare(given, quiet)
    assert finished.items() <= kept.items()  # what was read is not read again
    assert content(again) == whole


def test_a_glob_is_one_dataset_in_the_order_of_its_names(criteo, tmp_path):
    lines = criteo.read_bytes().splitlines(keepends=True)
    for name, part in {"day_1": lines[900:], "day_0": lines[:900]}.items():
        (tmp_path / name).write_bytes(b"".join(part))
    one = pipeline.prepare(data(criteo, tmp_path / "c"), quiet)
    many = pipeline.prepare(data(tmp_path / "day_*", tmp_path / "c"), quiet)
    for split in store.SPLITS:
        assert jax.tree.all(
            jax.tree.map(
                lambda a, b: np.array_equal(a[:], b[:]), one.split(split), many.split(split)
            )
        )
    with pytest.raises(UserError, match="no such file or folder"):
        pipeline.prepare(data(tmp_path / "week_*", tmp_path / "c"), quiet)


def test_a_bad_line_is_named_by_its_number_in_the_file_in_any_stretch(criteo, tmp_path, short):
    lines = criteo.read_bytes().splitlines(keepends=True)
    (tmp_path / "bad.txt").write_bytes(b"".join([*lines[:2500], b"2\n", *lines[2500:2900], b"3\n"]))
    with pytest.raises(UserError, match=r"bad\.txt:2501: 1 columns"):
        pipeline.prepare(data(tmp_path / "bad.txt", tmp_path / "c"), quiet)


def murmur(x):
    """The finaliser of MurmurHash3, in whole numbers of Python."""
    x = (x ^ (x >> 16)) * 0x85EBCA6B % 2**32
    x = (x ^ (x >> 13)) * 0xC2B2AE35 % 2**32
    return x ^ (x >> 16)


def test_a_hashed_field_has_a_row_for_each_value_that_ever_comes(criteo, tmp_path):
    plain = pipeline.prepare(data(criteo, tmp_path / "c"), quiet)
    hashed = pipeline.prepare(data(criteo, tmp_path / "c", hash=("C3",), hash_size=1000), quiet)
    f = hashed.schema.fields.index("C3")
    assert hashed.schema.vocab_sizes[f] == 1001
    assert (
        np.delete(hashed.schema.vocab_sizes, f).tolist()
        == np.delete(plain.schema.vocab_sizes, f).tolist()
    )
    words = [line.split("\t")[f + 1] for line in criteo.read_text().splitlines()]
    split = np.searchsorted(
        [0.8, 0.9], np.random.Generator(np.random.Philox(0)).random(3000), side="right"
    )
    for i, name in enumerate(store.SPLITS):
        places = hashed.split(name)["x"][:, f] - hashed.schema.offsets[f]
        wanted = [
            1 + murmur(zlib.crc32(w.encode())) % 1000
            for w, drawn in zip(words, split, strict=True)
            if drawn == i
        ]
        assert places.tolist() == wanted
    assert hashed.schema.oov_rate["test"][f] == 0
    _, vocabulary = store.load_vocabulary(hashed.path)
    assert "C3" not in vocabulary["field"].to_list()
    (field,) = [f for f in inspection.describe(hashed)["fields"] if f["name"] == "C3"]
    most, count = collections.Counter(hashed.split("train")["x"][:, f].tolist()).most_common(1)[0]
    assert field["kind"] == "hash" and field["vocabulary"] == 1001
    assert field["top"][0]["value"] == f"row {most - hashed.schema.offsets[f]}"
    assert field["top"][0]["count"] == count
    with pytest.raises(UserError, match="'C99' is not a field of words"):
        pipeline.prepare(data(criteo, tmp_path / "c", hash=("C99",)), quiet)


def test_shards_are_read_as_the_arrays_that_they_were_cut_from():
    random = np.random.default_rng(0)
    whole = random.integers(0, 9, (1000, 3))
    shards = Shards(tuple(np.split(whole, [1, 400, 400, 777])))
    rows, mask = random.integers(0, 1000, 5000), random.random(1000) < 0.3
    for asked in (rows, mask, slice(350, 800), slice(None), np.zeros(0, np.int32)):
        assert np.array_equal(shards[asked], whole[asked])
    assert (shards.shape, shards.dtype, shards.nbytes) == (whole.shape, whole.dtype, whole.nbytes)
    assert np.array_equal(np.asarray(shards), whole)
    picked, of = Picked(shards, np.flatnonzero(mask)), whole[mask]
    for asked in (rows % len(of), slice(7, 90), np.arange(len(of)) % 3 == 0):
        assert np.array_equal(picked[asked], of[asked])
    assert np.array_equal(picked.take(rows % len(of)), of[rows % len(of)]) and np.array_equal(
        np.asarray(picked), of
    )
    assert (picked.shape, picked.dtype, picked.nbytes, len(picked)) == (
        of.shape,
        of.dtype,
        of.nbytes,
        len(of),
    )


def test_batches_do_not_know_of_shards(criteo, tmp_path, monkeypatch):
    one = pipeline.prepare(data(criteo, tmp_path / "a"), quiet)
    monkeypatch.setattr(stages, "STRETCH", 100_000)
    many = pipeline.prepare(data(criteo, tmp_path / "b"), quiet)
    assert isinstance(many.split("train")["x"], Shards)
    rows = np.random.default_rng(1).integers(0, len(one.split("train")["y"]), 500)
    for gather in (
        lambda s: host.gather((s.split("train"), s.split("val")), rows),
        lambda s: host.halve(s.split("val"), 0.5, 0)[0],
        lambda s: next(host.padded(s.split("test"), 64))[0],
        lambda s: device.put(make_mesh(), (s.split("train"),)),
    ):
        assert jax.tree.all(jax.tree.map(np.array_equal, gather(one), gather(many)))


def test_a_changed_byte_of_a_store_is_found(criteo, tmp_path):
    prepared = pipeline.prepare(data(criteo, tmp_path), quiet)
    assert prepared.damaged() == []
    path = prepared.path / "train-00000.x.npy"
    changed = bytearray(path.read_bytes())
    changed[-1] ^= 1
    path.write_bytes(changed)
    assert prepared.damaged() == [path.name]


def test_the_limit_of_memory_decides_how_many_read_at_once(criteo, tmp_path):
    few, many = (pipeline.EXECUTORS["local"](Data(memory_limit=gib)) for gib in (0.5, 1000.0))
    assert few.threads == 1 <= many.threads


def test_a_field_of_all_rows_alike_has_what_parquet_and_text_have(tmp_path):
    frame = pl.DataFrame({"label": [0, 1] * 50, "a": ["x"] * 100, "n": [1.5] * 100})
    frame.write_csv(tmp_path / "t.csv")
    frame.write_parquet(tmp_path / "t.parquet")
    found = [
        pipeline.prepare(
            Data(
                path=str(tmp_path / f"t.{kind}"),
                cache=str(tmp_path / "c"),
                categorical=("a",),
                numeric=("n",),
            ),
            quiet,
        )
        for kind in ("csv", "parquet")
    ]
    same = {"fingerprint": "", "name": ""}
    assert dataclasses.replace(found[0].schema, **same) == dataclasses.replace(
        found[1].schema, **same
    )
