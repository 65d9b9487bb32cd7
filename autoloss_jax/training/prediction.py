"""Using a trained run: its figures again, in a new process or on another file, and scores for
new rows.
"""

import functools
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
from polars.io.plugins import register_io_source

from autoloss_jax.algorithm import autoloss
from autoloss_jax.algorithm.state import TrainState
from autoloss_jax.config.errors import UserError
from autoloss_jax.data import store
from autoloss_jax.data.prepare import pipeline
from autoloss_jax.distributed import processes, sharding
from autoloss_jax.training import checkpoint, evaluation, metrics
from autoloss_jax.training.checkpoint import Loaded
from autoloss_jax.training.metrics import Calibration

MAY_CHANGE = (
    "data.path",
    "data.cache",
    "data.on_bad_row",
    "train.eval_batch_size",
    "mesh.data",
    "mesh.model",
)


AS_IT_IS = Calibration(scale=1.0, shift=0.0)


def load(workdir: Path, path: Path | None, overrides: Mapping[str, Any]) -> Loaded:
    """The checkpoint at `path`, or the best one of `workdir`, with the overrides that may change
    after training.
    """
    for name in overrides:
        if name not in MAY_CHANGE:
            raise UserError(
                f"--config.{name}: fixed by the checkpoint; only {', '.join(MAY_CHANGE)} may "
                "change after training"
            )
    return checkpoint.load(checkpoint.newest(path or workdir / "best"), overrides)


def calibration(workdir: Path) -> Calibration:
    """What a finished run's early-stopping rows say of its best logits (Platt; a temperature for
    several classes).
    """
    path = workdir / "result.json"
    try:
        return Calibration(**json.loads(path.read_text())["calibration"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"--calibrated: {path} holds no calibration ({error}); train the run to its end "
            "with "
            "this version"
        ) from error


def evaluate_run(
    loaded: Loaded,
    workdir: Path,
    other_file: bool,
    say: Callable[[str], None],
    calibration: Calibration = AS_IT_IS,
) -> dict[str, Any]:
    """{"auc", "logloss", "num_examples", "data"} of the test split, or of all rows of another
    labelled file.
    """
    data = loaded.cfg.data
    if other_file:
        blocks = list(_encode(loaded, workdir, labelled=True))
        if not blocks:
            raise UserError(
                f"--config.data.path={data.path}: no rows to evaluate on; name another file"
            )
        split = {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
    else:
        prepared = processes.chief_first(lambda: pipeline.prepare(loaded.run.data, say))
        if prepared.schema.fingerprint != loaded.schema.fingerprint:
            raise UserError(
                f"{data.path}: not the data this checkpoint was trained on; name it as "
                "--config.data.path to evaluate another file"
            )
        split = loaded.run.with_context(loaded.schema, prepared.split("test"))
    logits, _ = evaluation.predictions(*_forward(loaded), split, loaded.cfg.train.eval_batch_size)
    what = {
        "data": data.path,
        "split": "all" if other_file else "test",
        "num_examples": len(split["y"]),
    }
    return what | evaluation.figures(split["y"], metrics.apply(calibration, logits))


def predict(
    loaded: Loaded, workdir: Path, output: Path, calibration: Calibration = AS_IT_IS
) -> int:
    """Write scores of the unlabelled rows of data.path, streaming and in the file's order, to a
    Parquet file.

    One column `score` (the probability of label 1) for a binary task, `score_0` .. `score_{C-1}`
    for C classes. Returns the number of rows. The file appears whole or not at all.
    """
    num_classes = loaded.schema.num_classes
    names = ["score"] if num_classes == 2 else [f"score_{c}" for c in range(num_classes)]
    rows = 0

    def frames(*_: Any) -> Iterator[pl.DataFrame]:
        nonlocal rows
        forward = functools.partial(evaluation.predictions, *_forward(loaded))
        for block in _encode(loaded, workdir, labelled=False):
            block["y"] = np.zeros(len(block["x"]), np.int32)
            logits, _losses = forward(block, loaded.cfg.train.eval_batch_size)
            rows += len(block["y"])
            logits = jnp.asarray(metrics.apply(calibration, logits), jnp.float32)
            scores = np.asarray(autoloss.probabilities(logits))
            yield pl.DataFrame(scores, schema=dict.fromkeys(names, pl.Float32))

    temporary = output.with_name(f".{output.name}.tmp")
    try:
        register_io_source(frames, schema=dict.fromkeys(names, pl.Float32)).sink_parquet(temporary)
        temporary.replace(output)
    except OSError as error:
        raise UserError(
            f"{output}: cannot be written ({error}); choose another --output"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    return rows


def _forward(loaded: Loaded) -> tuple[evaluation.Evaluate, jax.sharding.Mesh, TrainState]:
    sharding.check_batch_size(
        loaded.mesh, loaded.cfg.train.eval_batch_size, "train.eval_batch_size"
    )
    return (
        evaluation.program(loaded.al, loaded.mesh),
        loaded.mesh,
        loaded.state,
    )


def _encode(loaded: Loaded, workdir: Path, *, labelled: bool) -> Iterator[dict[str, np.ndarray]]:
    """Blocks of a raw file in the vocabulary of the run."""
    if not loaded.cfg.data.path:
        raise UserError("--config.data.path: name the file")
    schema, vocabulary = store.load_vocabulary(workdir)
    if schema.fingerprint != loaded.schema.fingerprint:
        raise UserError(f"{workdir}: its vocabulary is not the one of the checkpoint")
    if not labelled:  # a row left out would shift all scores after it
        loaded.cfg.data.on_bad_row = "error"
    path, data = Path(loaded.cfg.data.path), loaded.cfg.data
    for block in pipeline.encode(path, data, schema, vocabulary, labelled=labelled):
        yield loaded.run.with_context(schema, block)
