"""Programs that are killed, or told to end: they go on, and end in the same bits."""

import functools
import json
import os
import signal
import tempfile
import time
from pathlib import Path

from autoloss_jax.config import settings
from tests.faults import damage
from tests.support import commands
from tests.support.runs import digest

MAIN = "autoloss_jax.main"
MODES = {
    "train": (MAIN, {"method.name": "autoloss", "train.checkpoint_every": 3}),
    "members": (MAIN, {"method.name": "ce", "model.members": 2, "train.block": 2}),
    "regression": (MAIN, {"method.name": "ce", "model.regression": True}),
    "corrected": (MAIN, {"method.name": "corrected", "data.context": ("a",)}),
    "retrain": (MAIN, {"method.name": "retrain"}),
    "tune": (MAIN, {"method.name": "ce", "search.trials": 2}),
    "prepare": ("autoloss_jax.cli.prepare", {"method.name": "ce"}),
}
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
ENDED = {0, 128 + signal.SIGTERM, 128 + signal.SIGINT, *(-number for number in SIGNALS)}


def command(mode, folder):
    """(Module, its flags) of a mode, in a folder."""
    module, keys = MODES[mode]
    data = {"data.path": str(damage.home() / "log.csv"), "data.cache": str(folder / "cache")}
    named = ["--mode=tune"] if mode == "tune" else []
    flags = settings.as_flags(damage.SMALL | {"data.values": ()} | data | keys)
    return module, ["--config=tabular", f"--workdir={folder / 'run'}", *named, *flags]


def started(mode, folder):
    """The program in a process."""
    module, flags = command(mode, folder)
    files = [str(folder / name) for name in ("stdout", "stderr")]
    process = commands.FORKS.Process(
        target=commands._main, args=(module, flags, str(folder), files)
    )
    process.start()
    return process


def outcome(folder):
    """What a program left: figures and bits of every run, and the content of every dataset."""
    found = {}
    for path in sorted((folder / "run").rglob("result.json")):
        result = json.loads(path.read_text())
        bits = digest(path.parent) if (path.parent / "best").is_dir() else ""
        figures = [result[name] for name in ("val", "test", "best_step", "calibration")]
        found[str(path.relative_to(folder))] = [figures, bits]
    for path in sorted((folder / "cache").glob("*/sha256.json")):
        found[str(path.relative_to(folder))] = json.loads(path.read_text())
    return json.loads(json.dumps(found))


@functools.cache
def wanted(mode):
    """(What a program leaves that nothing stops, the seconds that it takes)."""
    folder = Path(tempfile.mkdtemp(dir=damage.home(), prefix=f"{mode}-"))
    began = time.monotonic()
    process = started(mode, folder)
    process.join()
    assert process.exitcode == 0, (folder / "stderr").read_text()
    return outcome(folder), time.monotonic() - began


def trial(random, folder):
    """Up to three blows, and then to the end."""
    mode = random.choice(sorted(MODES))
    expected, seconds = wanted(mode)
    blows = []
    for _ in range(random.randrange(1, 4)):
        process = started(mode, folder)
        process.join(random.uniform(0, seconds))
        number = random.choice(SIGNALS)
        if process.is_alive():
            os.kill(process.pid, number)
        process.join()
        blows.append((number.name, process.exitcode))
        said = (folder / "stderr").read_text()
        if process.exitcode not in ENDED or "Traceback" in said:
            return f"{mode}: {blows}: {said}"
    process = started(mode, folder)
    process.join()
    said = (folder / "stderr").read_text()
    if process.exitcode or "Traceback" in said:
        return f"{mode}, to its end after {blows}: {process.exitcode}: {said}"
    found = outcome(folder)
    left = [str(p) for p in folder.rglob(".*.tmp")]
    if found != expected or left:
        return f"{mode} after {blows}: {found} is not {expected}; left {left}"
    return None


def ready():
    """What all trials compare with."""
    for mode in MODES:
        wanted(mode)
