"""What several processes need of JAX's runtime and JAX has no public name for. All of it is
here.

- The coordinator: processes must tell each other words (who failed, what the chief decided)
  without their devices, as a device may be what failed. `jax.distributed` starts the service that
  does it and keeps its client to itself (`jax._src.distributed`).
- Its output: when process 0 dies, or a process is silent, the runtime ends the others from C++,
  with a page of addresses, and no Python runs any more. Only a filter on the file descriptors can
  turn that into one line.
- Its errors: a lost connection has no error type of its own, so that its words must be read.
"""

import os
import subprocess
import sys
from typing import Any


def coordinator() -> Any:
    """The connection to process 0, a store of keys and values with barriers."""
    from jax._src import distributed

    return distributed.global_state.client


def joined() -> tuple[int, int]:
    """(How many processes there are, which one this is); JAX's public functions start devices."""
    from jax._src import distributed

    return distributed.global_state.num_processes, distributed.global_state.process_id


def blames_the_connection(said: str) -> bool:
    """Whether an error of the runtime says that another process cannot be reached."""
    signs = (
        "gloo",
        "nccl",
        "coordinationservice",
        "connection closed by peer",
        "connection reset by peer",
    )
    return any(sign in said.lower() for sign in signs)


def filter_native_output(line: str, known: str) -> None:
    """Let Python alone write to stdout and stderr, and what C++ writes go through `sed` to
    stderr.

    `sed` says `line` in the place of the runtime's last words, once; or not at all if a line
    with `known` in it has come from Python before. It leaves out what is no news.
    """
    script = rf"""
        /^\[Gloo\] Rank/d
        /^error: .*{known}/{{p;b rest}}
        /coordination_service.*error\|JAX distributed service detected fatal/!{{p;d}}
        s|.*|{line}|p
        :rest
        n
        b rest
    """
    stdout, stderr = os.dup(1), os.dup(2)
    sed = subprocess.Popen(
        ["sed", "-un", script], stdin=subprocess.PIPE, stdout=stderr, start_new_session=True
    )
    assert sed.stdin is not None
    for native in (1, 2):
        os.dup2(sed.stdin.fileno(), native)
    sys.stdout, sys.stderr = os.fdopen(stdout, "w"), os.fdopen(stderr, "w", buffering=1)
