"""python -m tests.faults [--minutes=M] [--seed=S] [--workdir=DIR] [--only=KIND]: try faults of
every kind, and write docs/reliability.md. The same command goes on where it was stopped.
"""

import argparse
import collections
import json
import platform
import random
import signal
import sys
import tempfile
import time
import traceback
from importlib import metadata
from pathlib import Path

from tests.faults.kinds import KINDS

OUTPUT = Path(__file__).parents[2] / "docs" / "reliability.md"
PACKAGES = ("polars", "numpy", "absl-py", "ml_collections")


class Hang(BaseException):
    """A trial took too long."""


def tried(name, number, seed):
    """What was wrong with one trial, or None."""

    def hangs(*_):
        raise Hang

    KINDS[name].ready()
    signal.signal(signal.SIGALRM, hangs)
    signal.alarm(KINDS[name].seconds)
    try:
        with tempfile.TemporaryDirectory() as at:
            return KINDS[name].trial(random.Random(f"{seed} {name} {number}"), Path(at))
    except Hang:
        return f"a hang of {KINDS[name].seconds} s"
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return f"{type(error).__name__}: {traceback.format_exc()}"
    finally:
        signal.alarm(0)


def run(names, minutes, seed, state):
    """Trials of each kind in turn until the time is over; the counts so far are kept in `state`."""
    counts = json.loads(state.read_text()) if state.exists() else {}
    seconds = collections.Counter({name: counts.get(name, {}).get("seconds", 0) for name in names})
    end = time.monotonic() + 60 * minutes
    while time.monotonic() < end:
        name = min(names, key=lambda n: seconds[n])
        found = counts.setdefault(name, {"tried": 0, "failed": [], "seconds": 0.0})
        started = time.monotonic()
        for _ in range(20):
            if wrong := tried(name, found["tried"], seed):
                print(f"FAILED {name} {found['tried']}: {wrong}", file=sys.stderr, flush=True)
                found["failed"].append(found["tried"])
            found["tried"] += 1
        found["seconds"] += time.monotonic() - started
        seconds[name] = found["seconds"]
        state.write_text(json.dumps(counts))
    return counts


def page(counts, seed):
    """docs/reliability.md."""
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)
    lines = [
        "# Reliability",
        "",
        "Faults, tried by the thousand. Each trial has a seed, so that it can be tried again.",
        "",
        f"    python -m tests.faults --seed={seed}",
        "",
        f"python {platform.python_version()}, {versions}. A trial that takes more "
        "than 10 s, of damage 60, counts as failed.",
        "",
        "| fault | what must follow | tried | failed | minutes |",
        "|---|---|---|---|---|",
    ]
    for name, kind in KINDS.items():
        found = counts.get(name, {"tried": 0, "failed": [], "seconds": 0})
        lines.append(
            f"| {kind.fault} | {kind.holds} | {found['tried']:,} | {len(found['failed']):,} | "
            f"{found['seconds'] / 60:.0f} |"
        )
    return "\n".join(lines) + "\n"


def main():
    """Try, and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workdir", type=Path, default=Path("runs/faults"))
    parser.add_argument("--only", choices=KINDS, action="append")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    asked = parser.parse_args()
    asked.workdir.mkdir(parents=True, exist_ok=True)
    names = asked.only or list(KINDS)
    counts = run(names, asked.minutes, asked.seed, asked.workdir / f"seed{asked.seed}.json")
    asked.output.write_text(page(counts, asked.seed))
    failed = sum(len(found["failed"]) for found in counts.values())
    print(f"{sum(found['tried'] for found in counts.values()):,} tried, {failed:,} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
