"""What TensorBoard shows of a run beside its figures: hyperparameters, to sort and colour runs by,
and as text its config, command and versions.
"""

import shlex
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.plugins.hparams import summary_v2 as hparams
from tensorboard.plugins.text import metadata as text
from tensorboard.summary.writer.event_file_writer import EventFileWriter
from tensorboard.util import tensor_util

from autoloss_jax.config import Config, settings


def describe(folder: Path, cfg: Config, versions: Mapping[str, str]) -> None:
    """Write them to a file of events of their own; the folder's other files are of figures."""
    writer = EventFileWriter(str(folder))
    pages = {
        "config": settings.to_json(cfg),
        "command": shlex.join(sys.orig_argv),
        "versions": "\n".join(f"{name} {version}" for name, version in versions.items()),
    }
    values = settings.plain(cfg)
    # TensorBoard tells runs of the same values apart by the folder's name
    for summary in (hparams.hparams_pb(values, trial_id=str(folder.absolute())), _text(pages)):
        event = event_pb2.Event(summary=summary, step=0, wall_time=time.time())  # type: ignore
        writer.add_event(event)
    writer.close()


def _text(pages: Mapping[str, str]) -> Any:
    """Pages of text, each set as it is: TensorBoard takes it for Markdown."""
    summary = summary_pb2.Summary()  # type: ignore
    for name, page in pages.items():
        code = "".join(f"    {line}\n" for line in page.splitlines())
        value = tensor_util.make_tensor_proto(np.array(code.encode(), object))
        shape = text.create_summary_metadata(display_name=name, description="")
        summary.value.add(tag=name, tensor=value, metadata=shape)
    return summary
