"""What is shown of a prepared dataset is what plain counting of its rows finds."""

import collections
import json
import random
import sys
from pathlib import Path

import numpy as np
import pytest

from autoloss_jax.cli import inspect
from autoloss_jax.config import Config, Data, settings
from autoloss_jax.config.errors import UserError
from autoloss_jax.data import inspection, store
from autoloss_jax.data.prepare import pipeline
from autoloss_jax.distributed import sums
from tests.support import commands

ROOT = Path(__file__).parent.parent
ROWS = {"train": 90, "valid": 30, "test": 31}


def show(monkeypatch, capsys, *words):
    monkeypatch.setattr(sys, "argv", ["inspect", *map(str, words)])
    inspect.main()
    return capsys.readouterr().out


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """(Its rows per split, the store, the config of a run on it) of a table with a field of each
    kind, three classes.
    """
    folder, r = tmp_path_factory.mktemp("mixed"), random.Random(0)
    rows = {}
    for split, n in ROWS.items():
        rows[split] = [
            {
                "y": str(r.choice([0, 0, 0, 1, 2])),
                "letter": "abcdefghij"[min(int(r.expovariate(0.6)), 9)],
                "tags": "|".join(r.sample(["x", "y", "[z]", "ü\a"], r.randrange(4))),
                "age": r.choice(["", str(r.randrange(90))]),
                "price": r.choice(["", f"{r.lognormvariate(3, 1):.3f}"]),
            }
            for _ in range(n)
        ]
        lines = [",".join(rows[split][0]), *(",".join(row.values()) for row in rows[split])]
        (folder / f"{split}.csv").write_text("\n".join(lines) + "\n")
    data = Data(
        name="mixed",
        path=str(folder),
        cache=str(folder / "cache"),
        label="y",
        num_classes=3,
        categorical=("letter",),
        numeric=("age",),
        num_buckets=3,
        values=("price",),
        bags=("tags",),
        bag_size=3,
        min_count=2,
    )
    return rows, pipeline.prepare(data, lambda _: None), Config(data=data)


@pytest.mark.parametrize("block", [7, 1 << 18])
def test_every_figure_is_that_of_plain_counting(mixed, monkeypatch, block):
    rows, prepared, _ = mixed
    monkeypatch.setattr(inspection, "BLOCK", block)
    found = inspection.describe(prepared, top=2)
    fields = {field["name"]: field for field in found["fields"]}
    train = rows["train"]
    for split, name in {"train": "train", "val": "valid", "test": "test"}.items():
        labels = collections.Counter(row["y"] for row in rows[name])
        assert found["rows"][split] == ROWS[name]
        assert found["labels"][split] == pytest.approx([labels[c] / ROWS[name] for c in "012"])
    letters = collections.Counter(row["letter"] for row in train)
    kept = sorted((c for c in letters if letters[c] >= 2), key=lambda c: (-letters[c], c))
    assert [(v["value"], v["count"]) for v in fields["letter"]["top"]] == [
        (c, letters[c]) for c in kept[:2]
    ]
    assert fields["letter"]["top"][0]["share"] == letters[kept[0]] / 90
    assert fields["letter"]["vocabulary"] == len(kept) + 1
    assert fields["letter"]["oov"]["test"] == pytest.approx(
        sum(row["letter"] not in kept for row in rows["test"]) / 31
    )
    tags = collections.Counter(tag for row in train for tag in row["tags"].split("|"))
    assert {v["value"]: v["count"] for v in fields["tags"]["top"]} == dict(
        sorted(tags.items(), key=lambda item: (-item[1], item[0]))[:2]
    )
    assert fields["tags"]["values_per_row"] == pytest.approx(tags.total() / 90)
    assert fields["age"]["top"][0] == {
        "value": "",
        "count": (n := sum(not r["age"] for r in train)),
        "share": n / 90,
    }
    low, high = map(float, fields["age"]["top"][1]["value"].strip("[)").split(", "))
    assert fields["age"]["top"][1]["count"] == sum(
        low <= float(r["age"]) < high for r in train if r["age"]
    )
    prices = np.array([float(r["price"]) for r in train if r["price"]])
    scaled = (prices - prices.mean()) / prices.std()
    assert list(fields["price"]["scale"].values()) == pytest.approx(
        [prices.mean(), prices.std(), scaled.min(), scaled.max()], rel=1e-6
    )
    assert [(f["kind"], f["slots"]) for f in found["fields"]] == [
        ("category", 1),
        ("bucket", 1),
        ("value", 1),
        ("bag", 3),
    ]


def test_the_table_is_aligned_in_a_pipe_and_no_value_bends_it(mixed, monkeypatch, capsys):
    _, prepared, _ = mixed
    lines = show(monkeypatch, capsys, prepared.path, "--top=9").splitlines()
    fields = lines[next(i for i, line in enumerate(lines) if line.startswith("field")) :]
    assert len(fields) == 5 and "\x1b" not in "".join(lines)
    column = fields[0].index("kind")
    assert [line[column - 2 :].split()[0] for line in fields[1:]] == [
        "category",
        "bucket",
        "value",
        "bag",
    ]
    assert "[z]" in fields[4] and "\\x07" in fields[4] and "values a row" in fields[4]
    assert "(blank)" in fields[2] and "deviation" in fields[3]


def test_json_holds_the_same_and_no_nan(mixed, monkeypatch, capsys):
    _, prepared, _ = mixed
    text = show(monkeypatch, capsys, prepared.path, "--json")
    assert json.loads(text, parse_constant=lambda name: pytest.fail(name)) == inspection.describe(
        prepared
    )


def test_a_column_without_a_number_has_no_scale_to_show(tmp_path, monkeypatch, capsys):
    for split in ROWS:
        (tmp_path / f"{split}.csv").write_text("label,n\n" + "0,\n1,\n" * 5)
    prepared = pipeline.prepare(
        Data(path=str(tmp_path), cache=str(tmp_path / "c"), values=("n",)), lambda _: None
    )
    assert "blank in all of train" in show(monkeypatch, capsys, prepared.path)
    assert (
        json.loads(show(monkeypatch, capsys, prepared.path, "--json"))["fields"][0]["scale"][
            "fed_to"
        ]
        is None
    )


def test_the_workdir_of_a_run_shows_its_dataset(mixed, tmp_path, monkeypatch, capsys):
    _, prepared, cfg = mixed
    prepared.copy_to(tmp_path)
    (tmp_path / "config.json").write_text(settings.to_json(cfg))
    assert inspection.find(tmp_path).path == prepared.path
    assert show(monkeypatch, capsys, tmp_path) == show(monkeypatch, capsys, prepared.path)


def test_what_is_no_store_is_one_line_and_exit_code_2(mixed, tmp_path, monkeypatch, capsys):
    _, prepared, _ = mixed
    done = commands.call("autoloss_jax.cli.inspect", str(tmp_path))
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert "no prepared dataset and no run" in done.stderr
    for name, change, message in (
        ("config.json", '{"data": {"name": "gone"}}', "prepares it again"),
        ("config.json", "{", "cannot be read"),
        (store.SCHEMA, "{}", "not a dataset's schema"),
    ):
        folder = tmp_path / message
        folder.mkdir()
        prepared.copy_to(folder)
        (folder / name).write_text(change)
        with pytest.raises(UserError, match=message):
            show(monkeypatch, capsys, folder)


def test_ids_and_labels_outside_the_schema_are_one_line(mixed, tmp_path, monkeypatch, capsys):
    _, prepared, _ = mixed
    for part, message in (("y", "labels outside 0..2"), ("x", "ids outside its vocabulary")):
        for file in prepared.path.iterdir():
            (tmp_path / file.name).write_bytes(file.read_bytes())
        array = np.load(tmp_path / f"train-00000.{part}.npy")
        array[5] = 10**6
        np.save(tmp_path / f"train-00000.{part}.npy", array)
        sums.keep(tmp_path, f"train-00000.{part}.npy")
        with pytest.raises(UserError, match=message):
            show(monkeypatch, capsys, tmp_path)
