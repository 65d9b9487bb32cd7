"""`python -m MODULE WORDS`, in a process that is forked from one which holds what the package
imports: the seconds of that are spent once, not for each command line.
"""

import multiprocessing
import os
import runpy
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from tests.support.runs import ROOT

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["autoloss_jax.search.train", "tests.support.commands"])


class Done(NamedTuple):
    """What a program left."""

    returncode: int | None
    stdout: str
    stderr: str


def call(module, *words, cwd=ROOT):
    """Run it to its end."""
    with tempfile.TemporaryDirectory() as folder:
        files = [f"{folder}/{name}" for name in ("stdout", "stderr")]
        process = FORKS.Process(target=_main, args=(module, words, str(cwd), files))
        process.start()
        process.join()
        return Done(process.exitcode, *(Path(file).read_text() for file in files))


def _main(module, words, cwd, files):
    for number, (name, file) in enumerate(zip(("stdout", "stderr"), files, strict=True), 1):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), number)
        setattr(sys, name, os.fdopen(number, "w", buffering=1, closefd=False))
    os.chdir(cwd)
    sys.argv, sys.path[:0] = [module, *words], [cwd]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
