"""Ids come from train alone, the same every time, and a dataset is whole or absent."""

import collections
import random
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import polars as pl
import pytest

from autoloss_jax.config import Data
from autoloss_jax.config.errors import UserError
from autoloss_jax.data import store
from autoloss_jax.data.prepare import pipeline, stages
from autoloss_jax.data.read import text


def quiet(_):
    pass


def table(path, rows, seed=0):
    """A CSV of a skewed category, a small one and a number."""
    r = random.Random(seed)
    lines = [
        f"{r.randrange(2)},{'abcdefghij'[min(int(r.expovariate(0.6)), 9)]},"
        f"{r.choice('xyz')},{r.choice(['', r.random()])}"
        for _ in range(rows)
    ]
    path.write_text("\n".join(["click,letter,kind,age", *lines]) + "\n")
    return [line.split(",") for line in lines]


def data(path, cache, **values):
    base = {
        "name": "t",
        "format": "tabular",
        "label": "click",
        "categorical": ("letter", "kind"),
        "numeric": ("age",),
        "num_buckets": 4,
        "min_count": 3,
    }
    return Data(path=str(path), cache=str(cache), **base | values)


@pytest.fixture
def folder(tmp_path):
    """Given splits, with a value in test that train never saw."""
    (tmp_path / "d").mkdir()
    content = {
        name: table(tmp_path / "d" / f"{name}.csv", n, seed=n)
        for name, n in {"train": 60, "valid": 20, "test": 21}.items()
    }
    with (tmp_path / "d" / "test.csv").open("a") as file:
        file.write("1,unseen,x,0.5\n")
    content["test"].append(["1", "unseen", "x", "0.5"])
    return tmp_path / "d", content


def test_ids_follow_a_plain_reference(folder, tmp_path):
    path, content = folder
    prepared = pipeline.prepare(data(path, tmp_path / "cache"), quiet)
    ages = [float(r[3]) for r in content["train"] if r[3]]
    cuts = np.quantile(ages, [0.25, 0.5, 0.75])
    offset, columns = 0, []
    for i in (1, 2):
        counts = collections.Counter(r[i] for r in content["train"])
        kept = sorted((v for v in counts if counts[v] >= 3), key=lambda v: (-counts[v], v))
        columns.append((i, offset, {v: n + 1 for n, v in enumerate(kept)}))
        offset += len(kept) + 1
    for split, name in {"train": "train", "val": "valid", "test": "test"}.items():
        x, y = prepared.split(split).values()
        assert y.tolist() == [int(r[0]) for r in content[name]]
        for f, (i, begin, ids) in enumerate(columns):
            assert x[:, f].tolist() == [begin + ids.get(r[i], 0) for r in content[name]]
        assert x[:, 2].tolist() == [
            offset + (2 + np.searchsorted(cuts, float(r[3]), side="right") if r[3] else 1)
            for r in content[name]
        ]
    schema = prepared.schema
    assert schema.fields == ("letter", "kind", "age")
    assert schema.num_rows == offset + 6
    assert prepared.split("test")["x"][-1][0] == 0
    assert schema.oov_rate["test"][0] == pytest.approx(
        np.mean(prepared.split("test")["x"][:, 0] == 0)
    )


def test_prepared_twice_is_byte_identical_and_found_again(folder, tmp_path):
    path, _ = folder
    said = []
    a, b = (pipeline.prepare(data(path, tmp_path / cache), said.append) for cache in "ab")
    names = sorted(p.name for p in a.path.iterdir())
    assert names == [
        "schema.json",
        "sha256.json",
        "test-00002.x.npy",
        "test-00002.y.npy",
        "train-00000.x.npy",
        "train-00000.y.npy",
        "val-00001.x.npy",
        "val-00001.y.npy",
        "vocabulary.parquet",
    ]
    assert all((a.path / n).read_bytes() == (b.path / n).read_bytes() for n in names)
    count = len(said)
    assert pipeline.prepare(data(path, tmp_path / "a"), said.append).path == a.path
    assert len(said) == count


def test_settings_and_content_make_the_fingerprint(folder, tmp_path):
    path, _ = folder
    seen = {
        pipeline.prepare(data(path, tmp_path / "c", **v), quiet).path
        for v in ({}, {"min_count": 4}, {"num_buckets": 3}, {"name": "../../x"})
    }
    with (path / "valid.csv").open("a") as file:
        file.write("0,a,x,\n")
    seen.add(pipeline.prepare(data(path, tmp_path / "c"), quiet).path)
    assert len(seen) == 5
    assert all(p.parent == tmp_path / "c" for p in seen)


@pytest.mark.parametrize("step", ["read", "count", "encode"])
def test_an_interrupted_prepare_is_not_taken_for_a_dataset_and_goes_on_to_the_same_bytes(
    folder, tmp_path, monkeypatch, step
):
    """Stretches of 100 bytes, of which the fifth task of one pass never comes to its end."""
    path, _ = folder
    monkeypatch.setattr(stages, "STRETCH", 100)
    whole, calls = getattr(stages, step), []

    def breaks(job, task):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return whole(job, task)

    monkeypatch.setattr(stages, step, breaks)
    with pytest.raises(KeyboardInterrupt):
        pipeline.prepare(data(path, tmp_path / "c"), quiet)
    assert all(p.name.startswith(".") for p in (tmp_path / "c").iterdir())
    monkeypatch.setattr(stages, step, whole)
    again = pipeline.prepare(data(path, tmp_path / "c"), quiet)
    assert not [p for p in (tmp_path / "c").iterdir() if p.name.endswith(".partial")]
    target = pipeline.prepare(data(path, tmp_path / "other"), quiet).path
    assert {p.name: p.read_bytes() for p in again.path.iterdir()} == {
        p.name: p.read_bytes() for p in target.iterdir()
    }


def test_a_random_split_has_its_shares_and_depends_on_its_seed_alone(tmp_path):
    table(tmp_path / "t.csv", 4000)
    a, b, c = (
        pipeline.prepare(data(tmp_path / "t.csv", tmp_path / k, split_seed=s), quiet)
        for k, s in (("a", 0), ("b", 0), ("c", 1))
    )
    assert sum(a.schema.num_examples.values()) == 4000
    assert a.schema.num_examples["train"] == pytest.approx(3200, abs=120)
    assert a.schema.num_examples["val"] == pytest.approx(400, abs=90)
    assert np.array_equal(a.split("test")["x"], b.split("test")["x"])
    assert not np.array_equal(a.split("test")["y"][:100], c.split("test")["y"][:100])


def test_the_split_and_the_ids_do_not_depend_on_where_files_are_cut(tmp_path, monkeypatch):
    table(tmp_path / "t.csv", 500)
    whole = pipeline.prepare(data(tmp_path / "t.csv", tmp_path / "a"), quiet)
    monkeypatch.setattr(text, "BLOCK_BYTES", 97)
    monkeypatch.setattr(stages, "STRETCH", 701)
    pieces = pipeline.prepare(data(tmp_path / "t.csv", tmp_path / "b"), quiet)
    for name in store.SPLITS:
        assert jax.tree.all(jax.tree.map(np.array_equal, pieces.split(name), whole.split(name)))


def test_skipped_rows_are_counted_in_the_schema(folder, tmp_path):
    path, _ = folder
    with (path / "train.csv").open("a") as file:
        file.write("1,a\n2,a,x,\n")
    said = []
    prepared = pipeline.prepare(data(path, tmp_path / "c", on_bad_row="skip"), said.append)
    assert prepared.schema.num_skipped == 2
    assert prepared.schema.num_examples["train"] == 60
    assert "2 rows left out" in said[-1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: (p / "test.csv").write_text("click,letter,kind,age\n"), "no rows for test"),
        (lambda p: (p / "test.csv").write_text(""), "empty"),
        (
            lambda p: (p / "train.csv").write_text("click,letter,kind,age\n" + "1,a,x,\n" * 9),
            "every training label is the same",
        ),
    ],
)
def test_unusable_splits_are_one_line(folder, tmp_path, change, message):
    path, _ = folder
    change(path)
    with pytest.raises(UserError, match=message):
        pipeline.prepare(data(path, tmp_path / "c"), quiet)
    assert not [p for p in (tmp_path / "c").iterdir() if p.is_dir()]


def test_another_file_is_encoded_in_the_known_vocabulary(folder, tmp_path):
    path, _ = folder
    d = data(path, tmp_path / "c")
    prepared = pipeline.prepare(d, quiet)
    schema, vocabulary = store.load_vocabulary(prepared.path)
    test = prepared.split("test")
    (block,) = pipeline.encode(path / "test.csv", d, schema, vocabulary, labelled=True)
    assert jax.tree.all(jax.tree.map(np.array_equal, block.rows, test))
    unlabelled = tmp_path / "new.csv"
    pl.read_csv(path / "test.csv", infer_schema=False).drop("click").write_csv(unlabelled)
    (block,) = pipeline.encode(unlabelled, d, schema, vocabulary, labelled=False)
    assert block.rows.keys() == {"x"} and np.array_equal(block.rows["x"], test["x"])


def test_the_real_datasets_have_their_published_sizes(real_data, tmp_path):
    frappe = pipeline.prepare(
        Data(
            name="frappe", format="libsvm", path=str(real_data / "frappe_x1"), cache=str(tmp_path)
        ),
        quiet,
    ).schema
    assert frappe.num_examples == {"train": 202_027, "val": 57_722, "test": 28_860}
    assert frappe.num_fields == 10
    assert frappe.num_rows <= 5382 + 10
    ratings = str(real_data / "movielens1m" / "ratings.dat.gz")
    prepared = pipeline.prepare(
        Data(name="ml", format="ratings", num_classes=5, path=ratings, cache=str(tmp_path)), quiet
    )
    stars = sum(np.bincount(prepared.split(s)["y"], minlength=5) for s in store.SPLITS)
    assert stars.tolist() == [56_174, 107_557, 261_197, 348_971, 226_310]
    criteo = pipeline.prepare(
        Data(name="c", format="criteo", path=str(real_data / "criteo_sample"), cache=str(tmp_path)),
        quiet,
    ).schema
    assert (criteo.num_examples, criteo.num_fields) == (
        {"train": 7200, "val": 409, "test": 391},
        39,
    )
    avazu = pipeline.prepare(
        Data(name="a", format="avazu", path=str(real_data / "avazu_sample"), cache=str(tmp_path)),
        quiet,
    ).schema
    assert (avazu.num_examples, avazu.num_fields) == ({"train": 8087, "val": 480, "test": 432}, 22)


def test_a_full_disk_is_one_line_and_leaves_nothing(folder, tmp_path):
    """With files limited to 1 kB, as a quota would, in a process of its own."""
    path, _ = folder
    (path / "train.csv").write_text(
        "click,letter,kind,age\n" + "".join(f"{i % 2},a,x,{i}\n" for i in range(2000))
    )
    script = (
        "import resource, signal\nfrom autoloss_jax import config\n"
        "from autoloss_jax.data.prepare import pipeline\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        f"pipeline.prepare(config.{data(path, tmp_path / 'c')!r}, print)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent.parent,
    )
    assert "UserError" in done.stderr.splitlines()[-1]
    assert "cannot be written (File too large" in done.stderr
    assert not [p for p in (tmp_path / "c").iterdir() if p.is_dir()]
