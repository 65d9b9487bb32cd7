"""What is read of a run or a dataset is what was written there, or one line."""

import json

import numpy as np
import pytest

from autoloss_jax import Config
from autoloss_jax.config.errors import UserError
from autoloss_jax.data import store
from autoloss_jax.data.prepare import pipeline
from autoloss_jax.distributed import documents, sums
from autoloss_jax.distributed.documents import COUNT, Number
from autoloss_jax.training import (
    checkpoint,
    controller_checkpoints,
    loop,
    prediction,
    report,
    workdirs,
)
from tests.support.runs import copied, digest, quiet

SHAPE = {
    "name": str,
    "rate": (None, Number(0, 1)),
    "counts": [COUNT],
    "more?": {"deep": bool},
}
RIGHT = {"name": "a", "rate": 0.5, "counts": [0, 3], "more": {"deep": True}, "else": []}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, ""),
        ({"rate": None}, ""),
        ({"name": None}, "name is null"),
        ({"rate": 7.5}, "rate is 7.5"),
        ({"rate": "x" * 100}, f'rate is "{"x" * 36}...'),
        ({"rate": True}, "rate is true"),
        ({"rate": 10**400}, "rate is 1000"),
        ({"counts": [0, -1]}, r"counts\[1\] is -1"),
        ({"counts": [0.5]}, r"counts\[0\] is 0.5"),
        ({"counts": {}}, "counts is {}, not a list"),
        ({"more": {}}, "more lacks 'deep'"),
        ({"more": [1]}, r"more is \[1\], not an object"),
        ({"more": {"deep": 1}}, "more.deep is 1"),
    ],
)
def test_a_document_has_its_shape(tmp_path, changes, said):
    path = tmp_path / "document.json"
    path.write_text(json.dumps(RIGHT | changes))
    if not said:
        assert documents.read(path, SHAPE) == RIGHT | changes
        return
    with pytest.raises(UserError, match=f"document.json: {said}"):
        documents.read(path, SHAPE)


@pytest.mark.parametrize(
    "text", ["", "{", "[1]", "NaN", '{"name": Infinity}', "[" * 100_000, "\xff"]
)
def test_what_is_no_document_is_one_line(tmp_path, text):
    path = tmp_path / "document.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=r"document.json: ") as error:
        documents.read(path)
    assert "\n" not in str(error.value)


def test_a_document_is_what_was_written_there(tmp_path):
    path = tmp_path / "document.json"
    documents.write(path, RIGHT)
    assert documents.read(path, SHAPE) == RIGHT
    path.write_text(json.dumps(RIGHT | {"rate": 0.25}))
    with pytest.raises(UserError, match=r"document.json: damaged"):
        documents.read(path, SHAPE)
    documents.write(path, RIGHT | {"rate": 0.25})
    assert documents.read(path)["rate"] == 0.25
    (tmp_path / sums.NAME).write_text('{"document.json": 3}')
    with pytest.raises(UserError, match=r"sha256.json: cannot be read"):
        documents.read(path)


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("test", "auc"), 7.5),
        (("calibration", "scale"), None),
        (("num_examples", "train"), -1),
        (("best_step",), "last"),
        (("config",), []),
        (("seed",), None),
    ],
)
def test_a_result_that_none_could_have_is_refused_without_its_sums_too(
    finished, tmp_path, where, value
):
    workdir = copied(finished[1], tmp_path)
    result = json.loads((workdir / "result.json").read_text())
    *before, last = where
    inner = result
    for name in before:
        inner = inner[name]
    inner[last] = value
    (workdir / "result.json").write_text(json.dumps(result))
    for said in ("damaged", rf"{'.'.join(where)} is "):
        with pytest.raises(UserError, match=said):
            workdirs.read_result(workdir)
        sums.drop(workdir, "result.json")


def test_the_best_checkpoint_is_that_of_the_result(finished, tmp_path):
    """Another is taken where it is named, and never instead."""
    _, _, result = finished
    workdir = copied(finished[1], tmp_path)
    step = workdir / "best" / str(result["best_step"])
    others = sorted(p for p in (workdir / "best").iterdir() if p != step)
    assert others  # there is something to take instead
    assert checkpoint.best(workdir) == step
    (step / "sha256.json").unlink()
    with pytest.raises(
        UserError, match=rf"is damaged .*; another one is --checkpoint={others[-1]}"
    ):
        prediction.load(workdir, None, {})
    assert int(prediction.load(workdir, others[-1], {}).state.step) == int(others[-1].name)


@pytest.mark.slow
def test_a_best_step_from_before_a_kill_is_found_anew(finished, tmp_path):
    """It was saved, and the kill came before the state that goes on."""
    cfg, _, result = finished
    workdir = copied(finished[1], tmp_path)
    (workdir / "result.json").unlink()
    last = checkpoint.newest(workdir / "checkpoints")
    assert last.name == str(result["steps"])
    for path in sorted(last.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    last.rmdir()
    before = checkpoint.read_meta(checkpoint.newest(workdir / "checkpoints"))["progress"]
    assert before["best_step"] < result["best_step"] == result["steps"]
    again = loop.train(cfg, workdir, quiet)
    assert again["best_step"] == result["best_step"] and digest(workdir) == digest(finished[1])


def test_a_dataset_is_verified_where_it_is_opened(finished, tmp_path):
    """Once, until a file of it has changed; and each time it is evaluated on."""
    cfg, _, _ = finished
    moved = cfg.replace({"data.cache": str(tmp_path / "cache")})
    data = pipeline.prepare(moved.data, quiet)
    assert data.is_verified()
    path = data.path / "test-00000.y.npy"
    whole = path.read_bytes()
    path.write_bytes(whole[:-4] + np.int32(1 - np.frombuffer(whole[-4:], "<i4")).tobytes())
    for _ in range(2):
        with pytest.raises(UserError, match=r"damaged: test-00000.y.npy"):
            pipeline.prepare(moved.data, quiet)
    path.write_bytes(whole)
    assert not data.is_verified()
    pipeline.prepare(moved.data, quiet)
    assert data.is_verified()
    (data.path / "test-00001.y.npy").write_bytes(whole)
    with pytest.raises(UserError, match=r"damaged: test-00001.y.npy"):
        store.open_store(data.path)


def test_lost_and_changed_lines_of_the_log_are_told_when_a_run_goes_on(finished, tmp_path, capsys):
    workdir = copied(finished[1], tmp_path)
    path = workdir / "metrics.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    steps = [json.loads(line)["step"] for line in lines]
    assert report.first_lost(path) is None
    for changed, first in (
        ([*lines[:1], *lines[2:]], steps[2]),
        ([lines[0].replace(b'"step"', b'"step" ').replace(b"0.", b"1.", 1), *lines[1:]], steps[0]),
        ([lines[0], b"\xff\n", *lines[1:]], None),
        ([*lines[:-1], lines[-1][:-9]], None),
    ):
        path.write_bytes(b"".join(changed))
        assert report.first_lost(path) == first
        with pytest.raises(UserError, match=r"metrics.jsonl: damaged"):
            report.read_log(path)
    path.write_bytes(b"".join([*lines[:1], *lines[2:]]))
    report.Log(workdir, steps[-1], Config()).close()
    assert f"lines before step {steps[2]} are lost or were changed" in capsys.readouterr().err
    assert report.first_lost(path) is None and len(report.read_log(path)) == len(lines) - 1


def test_the_snapshots_are_those_that_the_run_left(finished, tmp_path):
    workdir = copied(finished[1], tmp_path)
    names = controller_checkpoints.names(workdir)
    first, second = ((workdir / name).read_bytes() for name in names[:2])
    (workdir / names[0]).unlink()
    with pytest.raises(UserError, match=rf"{names[0]}: is lost"):
        controller_checkpoints.read(workdir)
    (workdir / names[0]).write_bytes(second)
    with pytest.raises(UserError, match=rf"{names[0]}: damaged"):
        controller_checkpoints.read(workdir)
    (workdir / names[0]).write_bytes(first)
    (workdir / "controllers" / "000000001.npz").write_bytes(first)
    with pytest.raises(UserError, match=r"000000001.npz: is not of this run"):
        controller_checkpoints.read(workdir)
