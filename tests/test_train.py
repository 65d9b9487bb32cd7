"""A run leaves what its contract says, resumes to the same bits, and refuses what it cannot do,
in one line.
"""

import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from autoloss_jax import config
from autoloss_jax.algorithm import methods
from autoloss_jax.config import settings
from autoloss_jax.config.errors import UserError
from autoloss_jax.data import store
from autoloss_jax.data.prepare import pipeline
from autoloss_jax.training import checkpoint, loop, metrics, prediction, report
from autoloss_jax.training.run import Run
from autoloss_jax.training.splits import divide
from tests.support.nightly import further
from tests.support.runs import copied, digest, log, on_devices, optimised, quiet, started

ROOT = Path(__file__).parent.parent


def test_result_json_keeps_its_contract(finished):
    cfg, workdir, result = finished
    saved = json.loads((workdir / "result.json").read_text())
    assert saved == result
    assert saved["schema"] == 1
    assert config.from_dict(saved["config"]) == cfg
    assert (saved["method"], saved["model"], saved["dataset"], saved["seed"]) == (
        "autoloss",
        "deepfm",
        "small",
        0,
    )
    assert saved["num_examples"].keys() == {"train", "val", "test"}
    assert sum(saved["num_examples"].values()) == 4000
    assert saved["num_params"].keys() == {"embedding", "dense", "controller"}
    assert 0.5 < saved["test"]["auc"] < 1
    assert saved["test"].keys() >= {"auc", "logloss", "logloss_calibrated"}
    assert saved["val"].keys() >= {"auc", "logloss", "loss"}
    assert math.isclose(sum(saved["selection"].values()), 1, abs_tol=1e-6)
    assert saved["selection"].keys() == {"focal", "kl", "hinge", "ce"}
    assert saved["best_step"] <= saved["steps"]
    assert saved["calibration"].keys() == {"scale", "shift"}
    assert saved["examples_per_second"] > 0
    assert 0 < saved["compile_seconds"] < saved["wall_seconds"]
    assert saved["versions"].keys() >= {"python", "jax"}


def test_metrics_are_logged_at_intervals_and_evaluations_and_to_tensorboard(finished):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    _, workdir, result = finished
    records = report.read_log(workdir / "metrics.jsonl")
    per_epoch = result["num_examples"]["train"] // 200
    expected = sorted(
        {*range(5, result["steps"] + 1, 5), *(per_epoch * e for e in range(1, 4))}
        - {s for s in range(5, 100, 5) if s > result["steps"]}
    )
    assert [r["step"] for r in records] == expected
    assert all(
        r.keys() >= {"epoch", "loss", "tau", "alpha", "share", "entropy", "examples_per_second"}
        for r in records
    )
    assert [r["step"] for r in records if "val" in r] == [
        per_epoch * e for e in range(1, result["steps"] // per_epoch + 1)
    ]
    events = EventAccumulator(str(workdir / "tensorboard"))
    events.Reload()
    assert [e.step for e in events.Tensors("loss")] == expected
    for tag in ("alpha/ce", "share/ce", "tau", "entropy", "val/auc", "val/logloss"):
        assert events.Tensors(tag)


def test_a_finished_run_is_not_run_again(finished, capsys):
    cfg, workdir, result = finished
    said = []
    assert loop.train(cfg, workdir, said.append) == result
    assert "complete" in said[0]


def test_another_config_in_the_same_workdir_is_refused(finished):
    cfg, workdir, _ = finished
    with pytest.raises(UserError, match=r"--config.model.embed_dim=4, not 8"):
        loop.train(settings.with_keys(cfg, {"model.embed_dim": 8}), workdir, quiet)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bits_and_another_does_not(finished, small, tmp_path):
    _, workdir, _ = finished
    loop.train(small(), tmp_path / "same", quiet)
    assert digest(tmp_path / "same") == digest(workdir)
    assert log(tmp_path / "same") == log(workdir)
    loop.train(small(run__seed=1), tmp_path / "other", quiet)
    assert digest(tmp_path / "other") != digest(workdir)


@pytest.fixture(scope="module", params=["adam", "sparse_adam"])
def undivided(request, small, tmp_path_factory):
    """Config keys, and the workdir of a run in blocks as long as they come, from the device's
    memory; V stands still half-way.
    """
    keys = {
        "optimizer__embedding": request.param,
        "train__log_every": 4,
        "train__epochs": 2,
        "method__epochs": 1,
    }
    workdir = tmp_path_factory.mktemp("undivided")
    with optimised():
        loop.train(small(**keys), workdir, quiet)
    return keys, workdir


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    further(
        [{"train__block": 1}, {"train__block": 7}, {"data__residence": "host"}],
        daily=[{"train__block": 7}, {"data__residence": "host"}],
    ),
    ids=lambda c: "-".join(f"{k}={v}" for k, v in c.items()),
)
def test_blocks_and_residence_change_no_bit(small, tmp_path, undivided, changes):
    """Steps between words from the host, and where the splits lie: neither divides the intervals
    nor matters.
    """
    keys, workdir = undivided
    with optimised():
        loop.train(small(**keys, **changes), tmp_path, quiet)
    assert digest(tmp_path) == digest(workdir)
    assert log(tmp_path) == log(workdir)


@pytest.mark.slow
def test_a_profile_is_written_on_demand(small, tmp_path):
    loop.train(small(run__profile=True, train__epochs=1), tmp_path, quiet)
    traces = [p.name for p in (tmp_path / "profile").rglob("*") if p.is_file() and p.stat().st_size]
    assert any(name.endswith(".xplane.pb") for name in traces)
    assert "perfetto_trace.json.gz" in traces


@pytest.mark.slow
def test_evaluation_in_a_new_process_gives_the_same_figures(finished):
    _cfg, workdir, result = finished
    command = [sys.executable, "-m", "autoloss_jax.main", "--mode=evaluate", f"--workdir={workdir}"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    figures = json.loads(done.stdout)
    assert abs(figures["auc"] - result["test"]["auc"]) < 1e-9
    assert abs(figures["logloss"] - result["test"]["logloss"]) < 1e-9
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, check=True, env=on_devices(4)
    )
    assert abs(json.loads(done.stdout)["auc"] - result["test"]["auc"]) < 1e-6
    assert abs(json.loads(done.stdout)["logloss"] - result["test"]["logloss"]) < 1e-6


@pytest.mark.slow
def test_prediction_scores_unlabelled_rows_in_the_files_order(finished, tmp_path):
    import polars as pl

    cfg, workdir, _result = finished
    lines = Path(cfg.data.path).read_text().splitlines()[:700]
    labelled, unlabelled = tmp_path / "labelled.txt", tmp_path / "unlabelled.txt"
    labelled.write_text("\n".join(lines) + "\n")
    unlabelled.write_text("\n".join(line.partition("\t")[2] for line in lines) + "\n")
    loaded = prediction.load(workdir, None, {"data.path": str(unlabelled)})
    assert prediction.predict(loaded, workdir, tmp_path / "scores.parquet") == 700
    scores = pl.read_parquet(tmp_path / "scores.parquet")["score"].to_numpy().astype(np.float64)
    labels = np.array([int(line[0]) for line in lines])
    figures = prediction.evaluate_run(
        prediction.load(workdir, None, {"data.path": str(labelled)}), workdir, "", quiet
    )
    assert figures["num_examples"] == 700
    assert (
        abs(-np.mean(np.where(labels == 1, np.log(scores), np.log1p(-scores))) - figures["logloss"])
        < 1e-5
    )


@pytest.mark.slow
def test_calibrated_figures_are_those_of_the_result_and_scores_agree(finished, tmp_path):
    import polars as pl

    cfg, workdir, result = finished
    calibration = prediction.calibration(workdir)
    figures = prediction.evaluate_run(
        prediction.load(workdir, None, {}), workdir, "", quiet, calibration
    )
    assert figures["logloss"] == pytest.approx(result["test"]["logloss_calibrated"], rel=1e-6)
    assert figures["auc"] == pytest.approx(result["test"]["auc"], abs=1e-9)
    path = tmp_path / "new.txt"
    lines = Path(cfg.data.path).read_text().splitlines()[:100]
    path.write_text("\n".join(line.partition("\t")[2] for line in lines) + "\n")
    loaded, logits = prediction.load(workdir, None, {"data.path": str(path)}), []
    for out, corrects in (("raw", metrics.IDENTITY), ("calibrated", calibration)):
        prediction.predict(loaded, workdir, tmp_path / out, corrects)
        p = pl.read_parquet(tmp_path / out)["score"].to_numpy().astype(np.float64)
        logits.append(np.log(p / (1 - p)))
    assert np.allclose(logits[1], calibration.scale * logits[0] + calibration.shift, atol=1e-4)
    older = {name: value for name, value in result.items() if name != "calibration"}
    (tmp_path / "result.json").write_text(json.dumps(older))
    with pytest.raises(UserError, match="holds no calibration"):
        prediction.calibration(tmp_path)


def train_command(cfg_path, workdir, *flags):
    return [
        sys.executable,
        "-m",
        "autoloss_jax.main",
        f"--config={cfg_path}",
        f"--workdir={workdir}",
        *flags,
    ]


@pytest.fixture(scope="module")
def steady(small):
    """A config with checkpoints between evaluations, which goes on to its last step."""
    return small(train__epochs=6, train__patience=6, train__checkpoint_every=4, train__log_every=3)


@pytest.fixture
def config_file(steady, tmp_path):
    """The same as a file."""
    path = tmp_path / "config.py"
    path.write_text(
        "import json\nfrom autoloss_jax import config\n"
        "def get_config(variant=''):\n    return "
        f"config.from_dict(json.loads({settings.to_json(steady)!r}))\n"
    )
    return path


@pytest.fixture(scope="module")
def whole(steady, tmp_path_factory):
    """The workdir of a run that nothing stopped."""
    workdir = tmp_path_factory.mktemp("whole")
    loop.train(steady, workdir, quiet)
    return workdir


@pytest.mark.slow
def test_killed_at_ten_random_moments_a_run_resumes_to_the_same_bits(steady, whole, tmp_path):
    expected, moments, last = digest(whole), random.Random(0), log(whole)[-1]["step"]
    codes = []
    for trial in range(2):  # five kills on the way to each end
        killed = tmp_path / f"killed-{trial}"
        for step in sorted(moments.sample(range(last // 2), 5)):
            process = started(steady, killed, until=step)
            process.join(moments.uniform(0, 0.5))
            process.kill()
            process.join()
            codes.append(process.exitcode)
        loop.train(steady, killed, quiet)
        assert digest(killed) == expected
        assert log(killed) == log(whole)
    # a machine that is quick may be through before the last blows
    assert set(codes) <= {-signal.SIGKILL, 0} and codes.count(-signal.SIGKILL) >= 4


@pytest.mark.slow
def test_sigterm_saves_and_the_run_goes_on_to_the_same_bits(config_file, whole, tmp_path):
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    stopped = tmp_path / "stopped"
    process = subprocess.Popen(
        train_command(config_file, stopped), env=env, stderr=subprocess.PIPE, text=True
    )
    while not (stopped / "metrics.jsonl").exists() or not (stopped / "metrics.jsonl").read_text():
        time.sleep(0.05)
    process.terminate()
    _, errors = process.communicate()
    assert process.returncode in (143, 0), errors
    assert process.returncode == 0 or "goes on from here" in errors
    subprocess.run(train_command(config_file, stopped), env=env, check=True, capture_output=True)
    assert digest(stopped) == digest(whole)


def test_a_second_process_in_the_same_workdir_is_refused(small, tmp_path):
    from autoloss_jax.training import workdirs

    with (
        workdirs.locked(tmp_path),
        pytest.raises(UserError, match=f"process {os.getpid()} is training here"),
    ):
        loop.train(small(), tmp_path, quiet)


def test_one_flipped_bit_in_any_file_of_a_checkpoint_is_found(finished, tmp_path):
    workdir = copied(finished[1], tmp_path)
    step = checkpoint.newest(workdir / "best")
    files = [p for p in step.rglob("*") if p.is_file() and p.stat().st_size]
    assert len(files) > 3
    for file in files:
        whole = file.read_bytes()
        position = random.Random(str(file.name)).randrange(len(whole))
        file.write_bytes(whole[:position] + bytes([whole[position] ^ 4]) + whole[position + 1 :])
        assert not checkpoint.is_whole(step), file
        file.write_bytes(whole)
    assert checkpoint.is_whole(step)
    files[0].unlink()
    assert not checkpoint.is_whole(step)


@pytest.mark.slow
def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(finished, tmp_path):
    cfg, _, result = finished
    workdir = copied(finished[1], tmp_path)
    (workdir / "result.json").unlink()
    newest = checkpoint.newest(workdir / "checkpoints")
    file = max((p for p in newest.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    file.write_bytes(file.read_bytes()[:-1])
    again = loop.train(cfg, workdir, quiet)
    assert again["test"] == result["test"]
    assert digest(workdir) == digest(finished[1])


def test_a_damaged_best_checkpoint_is_refused_in_one_line(finished, tmp_path):
    workdir = copied(finished[1], tmp_path)
    for file in (workdir / "best").rglob("_METADATA"):
        file.write_text("{")
    with pytest.raises(UserError, match="damaged"):
        prediction.load(workdir, None, {})


@pytest.mark.slow
def test_any_checkpoint_can_be_evaluated_by_its_path(finished):
    _, workdir, result = finished
    last = prediction.load(workdir, workdir / "checkpoints", {})
    assert int(last.state.step) == result["steps"]
    best = prediction.load(workdir, workdir / "best" / str(result["best_step"]), {})
    assert int(best.state.step) == result["best_step"]
    assert prediction.evaluate_run(best, workdir, "", quiet)["auc"] == pytest.approx(
        result["test"]["auc"], abs=1e-9
    )
    with pytest.raises(UserError, match="no checkpoint here"):
        prediction.load(workdir, workdir / "tensorboard", {})


@pytest.mark.slow
def test_transfer_restores_a_controller_and_freezes_it(finished, small, tmp_path):
    _, source, _ = finished
    cfg = small(method__name="transfer", method__transfer_from=str(source), model__name="ipnn")
    loop.train(cfg, tmp_path / "run", quiet)
    theirs = checkpoint.load(checkpoint.newest(source / "best")).state.controller
    ours = checkpoint.load(checkpoint.newest(tmp_path / "run" / "checkpoints")).state.controller
    same = jax.tree.map(np.array_equal, (ours.params, ours.stats), (theirs.params, theirs.stats))
    assert all(jax.tree.leaves(same))
    with pytest.raises(UserError, match="does not fit this run's pool"):
        loop.train(
            settings.with_keys(cfg, {"method.pool": ("ce", "mae")}), tmp_path / "other", quiet
        )


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", further(["ce", "focal(gamma=1.0)", "al1", "al2", "darts", "slf"], daily=["al2", "slf"])
)
def test_every_method_trains(small, tmp_path, name):
    result = loop.train(small(method__name=name, train__epochs=1), tmp_path, quiet)
    assert result["method"] == name
    assert 0.45 < result["test"]["auc"] < 1
    assert sum(result["selection"].values()) == pytest.approx(1)
    learns = methods.resolve(config.Method(name=name))[0].taught_by != "never"
    assert (tmp_path / "controllers").is_dir() == learns


@pytest.mark.slow
@pytest.mark.parametrize("model", further(["deepfm", "ipnn"], daily=["deepfm"]))
def test_ratings_in_five_classes_are_learnt_and_scored(tmp_path, model):
    import polars as pl

    r = np.random.default_rng(0)
    users, movies = r.integers(0, 40, 3000), r.integers(0, 30, 3000)
    taste = r.standard_normal(40)[users] + r.standard_normal(30)[movies]
    stars = np.clip(np.round(3 + taste + 0.3 * r.standard_normal(3000)), 1, 5).astype(int)
    path, new = tmp_path / "ratings.dat", tmp_path / "new.dat"
    path.write_text(
        "".join(f"{u}::{m}::{s}::0\n" for u, m, s in zip(users, movies, stars, strict=True))
    )
    new.write_text("".join(f"{u}::{m}\n" for u, m in zip(users[:50], movies[:50], strict=True)))
    cfg = config.Config(
        data=config.Data(
            name="r", format="ratings", num_classes=5, path=str(path), cache=str(tmp_path)
        ),
        model=config.Model(name=model, embed_dim=4, hidden=(16,), embed_init_std=0.1),
        optimizer=config.Optimizer(learning_rate=0.02),
        train=config.Train(batch_size=100, epochs=8, eval_batch_size=256),
    )
    result = loop.train(cfg, tmp_path / "run", quiet)
    assert result["test"]["auc"] > 0.8
    loaded = prediction.load(tmp_path / "run", None, {"data.path": str(new)})
    assert prediction.predict(loaded, tmp_path / "run", tmp_path / "s.parquet") == 50
    scores = pl.read_parquet(tmp_path / "s.parquet")
    assert scores.columns == [*(f"score_{c}" for c in range(5)), "mean"]
    chances = scores.drop("mean").to_numpy()
    assert np.allclose(chances.sum(axis=1), 1, atol=1e-5)
    assert np.mean(chances.argmax(axis=1) + 1 == stars[:50]) > 0.4
    assert np.allclose(scores["mean"], chances @ np.arange(1, 6), atol=1e-5)
    figures = prediction.evaluate_run(
        prediction.load(tmp_path / "run", None, {}), tmp_path / "run", "test", quiet
    )
    assert figures["rmse"] == pytest.approx(result["test"]["rmse"], rel=1e-5)
    assert 0.3 < figures["mae"] < figures["rmse"] < 0.8 * stars.std()


@pytest.mark.slow
def test_four_devices_train_as_one(steady, config_file, tmp_path):
    """The same losses to rounding: batch statistics and means are over the whole batch, wherever
    its parts are.
    """
    changes = {"train.epochs": 1, "model.dropout": 0.0}
    loop.train(settings.with_keys(steady, changes), tmp_path / "1", quiet)
    env = on_devices(4)
    flags = (f"--config.{name}={value}" for name, value in (changes | {"mesh.model": 2}).items())
    command = train_command(config_file, tmp_path / "4", *flags)
    subprocess.run(command, env=env, check=True, capture_output=True)
    logs = {devices: log(tmp_path / str(devices)) for devices in (1, 4)}
    for one, four in zip(logs[1], logs[4], strict=True):
        assert one["loss"] == pytest.approx(four["loss"], rel=1e-4)
        assert one["alpha"] == pytest.approx(four["alpha"], rel=1e-3)
    assert logs[1][-1]["val"]["logloss"] == pytest.approx(logs[4][-1]["val"]["logloss"], rel=1e-4)


def test_train_on_trusted_trains_on_the_controllers_rows_only_without_a_search(small):
    data = pipeline.prepare(small().data, quiet)
    rows, val = len(data.split("train")["y"]), len(data.split("val")["y"])

    for name, folded in {"ce": True, "al1": True, "autoloss": False}.items():
        cfg = small(method__name=name, data__train_on_trusted=True)
        splits = divide(Run.of(cfg), data)
        assert sum(len(part["y"]) for part in splits.train) == rows + (val // 2 if folded else 0)
        assert len(splits.val["y"]) == val - val // 2
        assert bool(splits.controller) == (not folded)


@pytest.mark.slow
def test_the_learning_rate_falls_and_the_run_stops_when_validation_stalls(small, tmp_path):
    cfg = small(
        method__name="ce",
        train__epochs=30,
        train__patience=3,
        optimizer__decay=0.1,
        optimizer__learning_rate=0.05,
    )
    result = loop.train(cfg, tmp_path, quiet)
    assert result["epochs"] < 30
    aucs = [r["val"]["auc"] for r in report.read_log(tmp_path / "metrics.jsonl") if "val" in r]
    assert max(aucs) == pytest.approx(result["val"]["auc"])
    assert len(aucs) - 1 - int(np.argmax(aucs)) == 3
    last = checkpoint.load(checkpoint.newest(tmp_path / "checkpoints")).state
    stalls = sum(a <= max(aucs[:i], default=-1) + 1e-6 for i, a in enumerate(aucs))
    assert float(last.lr_scale) == pytest.approx(0.1**stalls, rel=1e-5)


@pytest.mark.slow
def test_a_diverging_run_is_one_line(small, tmp_path):
    with pytest.raises(UserError, match="not finite by step"):
        loop.train(small(method__name="ce", optimizer__learning_rate=1e30), tmp_path, quiet)


@pytest.mark.slow
def test_changed_data_is_not_resumed_on(small, tmp_path, criteo_file):
    data = tmp_path / "data.txt"
    data.write_bytes(criteo_file.read_bytes())
    cfg = small(data__path=str(data), train__epochs=1)
    loop.train(cfg, tmp_path / "run", quiet)
    (tmp_path / "run" / "result.json").unlink()
    data.write_bytes(data.read_bytes() + data.read_bytes().splitlines(keepends=True)[0])
    with pytest.raises(UserError, match="the data changed"):
        loop.train(cfg, tmp_path / "run", quiet)


def test_a_store_damaged_on_disk_is_refused(small, tmp_path, criteo_file):
    data = pipeline.prepare(small(data__cache=str(tmp_path)).data, quiet)
    next(data.path.glob("test-*.x.npy")).write_bytes(b"")
    with pytest.raises(UserError, match="delete the folder"):
        store.open_store(data.path)
