"""A signal ends a program at once, whatever it is doing, and what it wrote is whole or gone."""

import io
import os
import signal
import subprocess
import sys
import time

import pytest
import rich.console

from autoloss_jax.data import synthetic
from autoloss_jax.distributed import atomic
from autoloss_jax.training import report, workdirs
from tests.support.commands import call
from tests.support.nightly import further
from tests.support.runs import ROOT

ENV = {**os.environ, "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def large(once):
    """A file that takes seconds to prepare."""
    folder = once("large", lambda f: synthetic.write_criteo(f / "large.txt", 150_000, seed=0))
    return folder / "large.txt"


def prepare(path, cache):
    words = ["-m", "autoloss_jax.cli.prepare", "--config=criteo"]
    keys = [f"--config.data.path={path}", f"--config.data.cache={cache}"]
    return [sys.executable, *words, *keys]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["INT", "TERM"])
@pytest.mark.parametrize("when", ["starting", "preparing"])
def test_before_there_is_anything_to_save_a_signal_ends_it_at_once(large, tmp_path, number, when):
    cache = tmp_path / "cache"
    process = subprocess.Popen(prepare(large, cache), env=ENV, stderr=subprocess.PIPE, text=True)
    while when == "preparing" and not [*cache.glob(".*.partial/chunks/0*")]:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    if when == "starting":
        time.sleep(0.3)
    process.send_signal(number)
    _, said = process.communicate()
    assert process.returncode in (128 + number, -number), said
    assert "Traceback" not in said and not [p for p in cache.glob("*") if p.is_dir()][1:]
    assert not [*cache.glob("criteo-*")]  # it did not go on to the end


def test_what_is_being_written_is_removed_where_a_process_ends(tmp_path):
    path = tmp_path / "result.json"
    path.write_text("old")
    with pytest.raises(FileNotFoundError), atomic.replacing(path) as temporary:  # noqa: PT012
        temporary.write_text("half")
        atomic.abandon()
    assert [p.name for p in tmp_path.iterdir()] == ["result.json"] and path.read_text() == "old"


def test_no_link_that_somebody_has_planted_is_written_through(tmp_path):
    """Names that are not known before, or are taken by nobody else."""
    target, path = tmp_path / "theirs", tmp_path / "result.json"
    target.write_text("theirs")
    for name in (f".{path.name}.{os.getpid()}.tmp", f".{path.name}.tmp"):
        (tmp_path / name).symlink_to(target)
    path.symlink_to(target)
    atomic.write_text(path, "ours")
    assert target.read_text() == "theirs" and path.read_text() == "ours"
    atomic.sweep(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["result.json", "theirs"]


def test_a_cache_that_others_may_write_is_refused(tmp_path):
    """Where there is no home, it lies in a folder that all users share."""
    code = "from autoloss_jax.data.prepare import pipeline\nfrom autoloss_jax.config import Data\n"
    code += "print(pipeline.cache_folder(Data()))"
    env = {name: value for name, value in ENV.items() if name not in ("HOME", "XDG_CACHE_HOME")}
    env |= {"TMPDIR": str(tmp_path), "JAX_PLATFORMS": "cpu"}

    def run():
        return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)

    folder = tmp_path / f"autoloss_jax-{os.getuid()}"
    assert run().stdout.strip() == str(folder) and folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o777)
    assert "others may write here" in run().stderr
    folder.rmdir()
    folder.symlink_to(tmp_path)
    assert "others may write here" in run().stderr


FULL = 3000  # bytes that a file may have, as on a disk that is full


def full(module, words):
    """The program where no file can be written to its end."""
    code = (
        "import resource, runpy, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({FULL}, {FULL}))\n"
        f"sys.argv = {[module, *words]!r}\n"
        f"runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
    )
    env = ENV | {"JAX_ENABLE_COMPILATION_CACHE": "false", "MPLCONFIGDIR": "/dev/null/none"}
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["csv", "parquet", "arrow"])
def test_a_disk_that_is_full_leaves_the_old_scores(finished, tmp_path, kind):
    cfg, workdir, _ = finished
    output = tmp_path / f"scores.{kind}"
    output.write_text("old")
    words = [f"--workdir={workdir}", f"--config.data.path={cfg.data.path}", f"--output={output}"]
    done = full("autoloss_jax.main", ["--mode=predict", *words])
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 2 and str(output) in last and "File too large" in last, done.stderr
    assert "Traceback" not in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == [output.name] and output.read_text() == "old"


@pytest.mark.slow
@pytest.mark.parametrize("program", further(["report", "plot", "export"], daily=["plot"]))
def test_a_disk_that_is_full_is_one_line_of_every_program(finished, tmp_path, program):
    _, workdir, _ = finished
    copy = tmp_path / "run"
    subprocess.run(["cp", "-r", str(workdir), str(copy)], check=True)
    before = {p for p in tmp_path.rglob("*")}
    words = {
        "report": ("autoloss_jax.report", [str(copy), f"--output={tmp_path / 'page.html'}"]),
        "plot": ("autoloss_jax.cli.plot", [f"--workdir={copy}"]),
        "export": ("autoloss_jax.cli.export_loss", [f"--workdir={copy}", f"--output={tmp_path}/o"]),
    }
    done = full(*words[program])
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert "File too large" in done.stderr.splitlines()[-1]
    new = {p for p in tmp_path.rglob("*")} - before
    assert not [p for p in new if p.is_file()], new


def test_of_two_searches_in_one_folder_one_is_refused(tmp_path):
    with workdirs.locked(tmp_path / "tune"):
        done = call(
            "autoloss_jax.main",
            "--mode=tune",
            "--config=quickstart:quick",
            f"--workdir={tmp_path}",
        )
    assert done.returncode == 2 and "is training here" in done.stderr.splitlines()[-1]


def test_nothing_in_a_file_colours_a_terminal_or_moves_its_cursor(tmp_path):
    """A value is repeated in a message, and a name is the title of a table."""
    path = tmp_path / "log.csv"
    path.write_text("label,a\n0,x\n\x1b[31m1\x07,y\n")
    words = ("--config=tabular", f"--config.data.path={path}", f"--workdir={tmp_path / 'run'}")
    done = call("autoloss_jax.main", *words)
    assert done.returncode == 2 and r"\x1b[31m1\x07 is not what belongs there" in done.stderr
    assert "\x1b[31m" not in done.stderr and "\x07" not in done.stderr
    figures = {"auc": 0.5, "logloss": 0.7, "logloss_calibrated": 0.7}
    result = {"dataset": "[red]d\x1b[31m", "model": "m", "method": "[b]ce[/b]", "epochs": 1}
    result |= {"test": figures, "val": figures, "examples_per_second": 1.0}
    console = rich.console.Console(width=120, force_terminal=True, file=io.StringIO())
    console.print(report.table([result]))
    shown = console.file.getvalue()
    assert "[red]d" in shown and "[b]ce[/b]" in shown and "\x1b[31m" not in shown
