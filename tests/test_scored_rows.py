"""Which rows are evaluated or scored, and that whoever scores what a run has learned from is
told; a finished run takes the flags that it was trained with, and no others.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from autoloss_jax import config
from autoloss_jax.config import settings
from autoloss_jax.config.errors import UserError
from autoloss_jax.training import loop, prediction

ROOT = Path(__file__).parent.parent


def evaluated(workdir, split="", **data):
    """(Figures, what was said.)"""
    said = []
    keys = {f"data.{name}": str(value) for name, value in data.items()}
    loaded = prediction.load(workdir, None, keys)
    return prediction.evaluate_run(loaded, workdir, split, said.append), said


def test_what_the_run_has_learned_from_is_said(finished):
    cfg, workdir, result = finished
    total = 0
    for split, trained_on in {"train": True, "val": True, "test": False}.items():
        figures, said = evaluated(workdir, split)
        assert (figures["split"], figures["trained_on"]) == (split, trained_on)
        assert len(said) == trained_on and all(f"the {split} rows" in line for line in said)
        total += figures["num_examples"]
    assert total == 4000 and result["num_examples"]["test"] == evaluated(workdir)[0]["num_examples"]
    figures, said = evaluated(workdir, "all")
    assert (figures["num_examples"], figures["trained_on"], len(said)) == (4000, True, 1)
    assert cfg.data.path in said[0]


@pytest.mark.slow
def test_val_of_a_run_without_a_controller_has_only_stopped_it(small, tmp_path):
    for fold, trained_on, words in ((False, False, "when training stopped"), (True, True, "some")):
        cfg = small(method__name="ce", data__train_on_trusted=fold, train__epochs=1)
        workdir = tmp_path / str(fold)
        loop.train(cfg, workdir, lambda _: None, shown=False)
        figures, said = evaluated(workdir, "val")
        assert figures["trained_on"] == trained_on and words in said[0]


def test_the_data_of_the_training_are_known_by_their_content(finished, tmp_path):
    cfg, workdir, result = finished
    copy, part = tmp_path / "copy.txt", tmp_path / "part.txt"
    shutil.copy(cfg.data.path, copy)
    part.write_text("".join(Path(cfg.data.path).read_text().splitlines(True)[:300]))
    for path in (cfg.data.path, copy):
        figures, said = evaluated(workdir, path=path)
        assert (figures["split"], figures["data"], said) == ("test", str(path), [])
        assert figures["auc"] == pytest.approx(result["test"]["auc"], abs=1e-9)
    figures, said = evaluated(workdir, path=part)
    assert (figures["split"], figures["num_examples"], said) == ("all", 300, [])
    with pytest.raises(UserError, match=r"--split=test: .*part.txt is not the data"):
        evaluated(workdir, "test", path=part)


def test_data_that_have_changed_where_they_lay_are_not_taken_for_those_of_the_training(
    small, criteo_file, tmp_path
):
    path = tmp_path / "clicks.txt"
    shutil.copy(criteo_file, path)
    loop.train(small(data__path=str(path), train__epochs=1), tmp_path / "run", lambda _: None)
    with path.open("a") as file:
        file.write(criteo_file.read_text().splitlines(True)[0])
    with pytest.raises(UserError, match=r"not the data this checkpoint.*name a copy of them"):
        evaluated(tmp_path / "run")
    path.unlink()
    with pytest.raises(UserError, match="no such file"):
        evaluated(tmp_path / "run")


@pytest.fixture(scope="module")
def folder(small, tmp_path_factory):
    """(Folder of train, valid and two files of test, workdir of a run on it.)"""
    random, folder = np.random.default_rng(0), tmp_path_factory.mktemp("tables")
    for name, rows in {"train": 800, "valid": 200, "test-0": 100, "test-1": 50}.items():
        taste = random.integers(0, 10, rows)
        label = (random.random(rows) < taste / 10).astype(int)
        pl.DataFrame({"label": label, "taste": taste.astype(str)}).write_csv(folder / f"{name}.csv")
    cfg = small(
        data__format="tabular",
        data__path=str(folder),
        data__categorical=("taste",),
        train__batch_size=100,
        train__epochs=1,
    )
    workdir = tmp_path_factory.mktemp("run")
    loop.train(cfg, workdir, lambda _: None, shown=False)
    return folder, workdir


@pytest.mark.slow
def test_several_files_are_evaluated_and_one_of_the_trainings_own_is_recognised(folder, tmp_path):
    path, workdir = folder
    for files, rows, trained_on in (
        ("test-*.csv", 150, False),
        ("t*.csv", 950, True),
        ("train.csv", 800, True),
        ("valid.csv", 200, True),
    ):
        figures, said = evaluated(workdir, path=path / files)
        assert (figures["num_examples"], figures["trained_on"]) == (rows, trained_on)
        assert len(said) == trained_on
    other = tmp_path / "other"
    shutil.copytree(path, other)
    (other / "test-1.csv").unlink()
    for split, rows in {"": 1100, "all": 1100, "test": 100, "train": 800}.items():
        assert evaluated(workdir, split, path=other)[0]["num_examples"] == rows


def scores(workdir, path, output):
    """(Scores, what was said.)"""
    said, loaded = [], prediction.load(workdir, None, {"data.path": str(path)})
    prediction.predict(loaded, workdir, output, say=said.append)
    return pl.read_parquet(output)["score"].to_numpy(), said


def test_several_files_are_scored_in_the_order_of_their_names(folder, tmp_path):
    (path, workdir), parts = folder, tmp_path / "parts"
    parts.mkdir()
    (parts / "_SUCCESS").touch()
    for name, source in {"b": "test-0", "a": "test-1", "c": "valid"}.items():
        pl.read_csv(path / f"{source}.csv").drop("label").write_csv(parts / f"{name}.csv")
    one, said = scores(workdir, parts / "a.csv", tmp_path / "one")
    three = [scores(workdir, parts / f"{name}.csv", tmp_path / name)[0] for name in "abc"]
    for several in (parts, f"{parts}/*.csv"):
        found, said = scores(workdir, several, tmp_path / "all")
        assert np.array_equal(found, np.concatenate(three)) and said == []
    assert len(one) == 50
    (parts / "empty").mkdir()
    with pytest.raises(UserError, match="no file in this folder"):
        scores(workdir, parts / "empty", tmp_path / "none")


def test_the_trainings_own_file_is_scored_whole_and_that_is_said(finished, tmp_path):
    cfg, workdir, _ = finished
    found, said = scores(workdir, cfg.data.path, tmp_path / "scores")
    assert len(found) == 4000 and len(said) == 1 and "has learned from some of the rows" in said[0]


def test_flags_of_the_training_are_taken_and_others_refused(finished):
    cfg, workdir, _ = finished
    same = {name: value for name, value, _ in settings.keys(cfg)}
    loaded = prediction.load(workdir, None, same | {"run.compare": ("ce",), "train.block": 3})
    assert loaded.trained == loaded.asked == cfg
    for name, value in {"method.every": 4, "data.label": "click", "run.seed": 1}.items():
        with pytest.raises(UserError) as error:
            prediction.load(workdir, None, {name: value})
        for words in (f"--config.{name}={value!r}", f"trained with {same[name]!r}", "leave the"):
            assert words in str(error.value)
    assert prediction.differing(loaded, cfg) == []
    by_rule = {"optimizer.l2": -1.0, "train.batch_size": 0, "data.crosses": ("auto",)}
    assert prediction.differing(loaded, settings.with_keys(cfg, by_rule)) == []
    other = settings.with_keys(cfg, {"model.embed_dim": 9, "data.path": "x", "method.every": 5})
    assert prediction.differing(loaded, other) == ["model.embed_dim", "method.every"]


def test_flags_of_auto_are_those_that_were_asked_for(finished, tmp_path):
    cfg, workdir, _ = finished
    shutil.copytree(workdir, tmp_path / "run")
    asked = settings.with_keys(cfg, {"method.name": "auto", "search.trials": 4})
    (tmp_path / "run" / "search").mkdir()
    (tmp_path / "run" / "search" / "config.json").write_text(settings.to_json(asked))
    with pytest.raises(UserError, match=r"method.name='auto'.*trained with 'autoloss'"):
        prediction.load(tmp_path / "run", None, {"method.name": "auto"})
    (tmp_path / "run" / "auto.md").touch()
    flags = {"method.name": "auto", "search.trials": 4}
    assert prediction.load(tmp_path / "run", None, flags).cfg.method == cfg.method
    with pytest.raises(UserError, match="trained with 'auto'"):
        prediction.load(tmp_path / "run", None, {"method.name": "ce"})


def test_the_command_of_a_training_evaluates_with_one_word_more(finished, tmp_path):
    cfg, workdir, result = finished
    file = tmp_path / "small.py"
    file.write_text(
        "from autoloss_jax import config\n"
        "def get_config():\n"
        f"    return config.from_dict({json.loads(settings.to_json(cfg))!r})\n"
    )
    command = [
        sys.executable, "-m", "autoloss_jax.main", f"--config={file}", "--config.method.every=3",
        f"--config.data.path={cfg.data.path}", "--config.model.hidden=8,", f"--workdir={workdir}",
    ]  # fmt: skip
    options = {"capture_output": True, "text": True, "cwd": ROOT, "env": dict(os.environ)}
    trained = subprocess.run(command, **options)
    assert "this run is complete" in trained.stderr
    done = subprocess.run([*command, "--mode=evaluate"], **options)
    assert done.returncode == 0 and done.stderr == ""
    assert json.loads(done.stdout)["auc"] == pytest.approx(result["test"]["auc"], abs=1e-9)


def test_a_config_cannot_be_assigned_to(finished):
    cfg, *_ = finished
    for part, name in ((cfg, "data"), (cfg.data, "path"), (config.Run(), "seed")):
        with pytest.raises(AttributeError):
            setattr(part, name, None)
