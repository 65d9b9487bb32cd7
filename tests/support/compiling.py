"""How tests compile: little, as most programs of theirs run once, on little."""

import mmap
import os
from importlib import util
from pathlib import Path

QUICK = "xla_cpu_use_fusion_emitters"  # without these XLA's compiler takes half the time


def flags():
    """XLA_FLAGS of the tests; what is there already comes last and so decides."""
    ours = ["--xla_gpu_deterministic_ops=true", *([f"--{QUICK}=false"] if known(QUICK) else [])]
    return " ".join(dict.fromkeys([*ours, *os.environ.get("XLA_FLAGS", "").split()]))


def known(flag):
    """Whether this jaxlib has a flag: it would end the process at one that it has not."""
    library = Path(util.find_spec("jaxlib").origin).with_name("libjax_common.so")
    if not library.exists():
        return False
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        # the name of a former flag may be part of another text
        return text.find(b"\0" + flag.encode() + b"\0") >= 0
