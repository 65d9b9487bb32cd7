"""A model of train's labels as they are, and what it says about how noisy they are."""

import functools
from pathlib import Path

import numpy as np

from autoloss_jax.config.errors import UserError
from autoloss_jax.data.load import host
from autoloss_jax.data.schema import Schema
from autoloss_jax.training import checkpoint, evaluation, metrics
from autoloss_jax.training.run import Run


def guesses(
    run: Run, schema: Schema, train: host.Split, trusted: host.Split
) -> tuple[np.ndarray, np.ndarray]:
    """The chance that the true label is 1, of each row of train and each trusted one.

    The model ranks the rows; how much its logits mean is what the trusted labels say (Platt).
    """
    logits = _logits(run, schema, train, trusted)
    calibration = metrics.calibrate(logits[1], np.asarray(trusted["y"]))
    of_train, of_trusted = (metrics.apply(calibration, z)[:, 0] for z in logits)
    return 1 / (1 + np.exp(-of_train)), 1 / (1 + np.exp(-of_trusted))


def chances(run: Run, schema: Schema, train: host.Split, trusted: host.Split) -> np.ndarray:
    """The chances of the classes that a trusted row would read in train, float64[m, C]."""
    of_train, of_trusted = _logits(run, schema, train, trusted)
    calibration = metrics.calibrate(of_train, np.asarray(train["y"]))
    return np.exp(metrics.log_probabilities(metrics.apply(calibration, of_trusted)))


def _logits(run: Run, schema: Schema, *splits: host.Split) -> list[np.ndarray]:
    folder = Path(run.cfg.method.first_model)
    if not (folder / "result.json").exists():
        raise UserError(
            f"--config.method.first_model={folder}: no finished run is there; leave it out, and "
            "one is trained"
        )
    loaded = checkpoint.load(checkpoint.best(folder))
    if loaded.schema.fingerprint != schema.fingerprint:
        raise UserError(
            f"--config.method.first_model={folder}: it was trained on data prepared otherwise; "
            "leave it out, and one is trained"
        )
    forward = functools.partial(
        evaluation.predictions,
        evaluation.program(loaded.al, loaded.mesh),
        loaded.mesh,
        loaded.state,
        batch_size=loaded.cfg.train.eval_batch_size,
    )
    inputs = ("x", "y", "v")
    return [forward({n: a for n, a in split.items() if n in inputs})[0] for split in splits]
