"""Training and using runs from Python: what the command line does, as functions.

import autoloss_jax as al

run = al.train(al.Config(...), "runs/clicks")     # or go on where it was stopped
run = al.load("runs/clicks")                      # later, in another process
run.evaluate()                                    # {"auc": ..., "logloss": ..., ...}
run.predict(frame)                                # probabilities, float32[n]
"""

import dataclasses
import functools
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import jax
import numpy as np
import polars as pl

from autoloss_jax import config
from autoloss_jax.config import Config, import_string
from autoloss_jax.config.errors import UserError, first_line
from autoloss_jax.data import frames
from autoloss_jax.distributed import processes
from autoloss_jax.search import train as search
from autoloss_jax.training import defaults, metrics, prediction, workdirs
from autoloss_jax.training.callbacks import Callback

F = TypeVar("F", bound=Callable[..., Any])

if TYPE_CHECKING:
    from autoloss_jax.analysis.explanation import Explanation


def _in_float32(function: F) -> F:
    """What a run computes is in float32, also where a program of the caller's is in float64."""

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        with jax.enable_x64(False):
            return function(*args, **kwargs)

    return cast(F, wrapped)


@dataclasses.dataclass(frozen=True)
class TrainedRun:
    """A finished run in its folder.

    Attributes:
        workdir: the folder.
        result: the content of its result.json: figures of "test" and "val", "config", and more.

    Source: the recommender is that of the best evaluation on the early-stopping rows.
    """

    workdir: Path
    result: Mapping[str, Any]

    @property
    def config(self) -> Config:
        """The config that it was trained with."""
        return config.from_dict(self.result["config"])

    @_in_float32
    def evaluate(
        self,
        path: str | Path | None = None,
        *,
        split: str = "",
        calibrated: bool = False,
        group: str = "",
    ) -> dict[str, Any]:
        """Figures of the recommender on labelled rows.

        Args:
            path: a file, folder or glob of labelled rows; None is the data of the training.
            split: "train", "val", "test" or "all"; "" is test for the data of the training, and
                all rows of any other file.
            calibrated: correct the probabilities as the early-stopping rows say.
            group: a column, as the user, within whose values rows are ranked too.

        Returns:
            {"data", "split", "num_examples", "trained_on", "auc", "logloss"}. AUC is one-vs-rest
            for several classes, and None where it is undefined. Logloss is in nats. With a group
            also "pr_auc", "gauc", "ndcg@10" and "groups".

        Raises:
            UserError: for rows that cannot be read.
        """
        overrides = {} if path is None else {"data.path": str(path)}
        loaded = prediction.load(self.workdir, None, overrides)
        calibration = prediction.calibration(self.workdir) if calibrated else metrics.IDENTITY
        return prediction.evaluate_run(loaded, self.workdir, split, _quiet, calibration, group)

    @_in_float32
    def predict(self, rows: Any, *, calibrated: bool = False) -> np.ndarray:
        """Probabilities of rows without labels.

        Args:
            rows: a DataFrame of polars or pandas with the columns of the training's table, a dict
                of columns, or another table of `data/frames.py`; or the path of a file, folder or
                glob in the format of the training, or its URL.
            calibrated: correct the probabilities as the early-stopping rows say.

        Returns:
            float32[n], the probability of label 1, or float32[n, C] for C classes, in the order of
            the rows.

        Raises:
            UserError: for rows that cannot be read.
        """
        calibration = prediction.calibration(self.workdir) if calibrated else metrics.IDENTITY
        with tempfile.TemporaryDirectory() as folder:
            path = rows if isinstance(rows, str | Path) else self._written(rows, Path(folder))
            strictly = {"data.path": str(path), "data.on_bad_row": "error"}
            loaded = prediction.load(self.workdir, None, strictly)
            scores = Path(folder) / "scores.parquet"
            prediction.predict(loaded, self.workdir, scores, calibration)
            found = pl.read_parquet(scores).select(pl.col("^score.*$")).to_numpy()
        return found[:, 0] if found.shape[1] == 1 else found

    @_in_float32
    def explain(self, *others: "TrainedRun", progress: bool = False) -> "Explanation":
        """How good the run is, and what it learned, as numbers: all that is in its report.

        Args:
            others: runs of the same config with other seeds; the spread over seeds is shown.
            progress: tell on stderr what takes long.

        Returns:
            An `Explanation`: figures beside those of two yardsticks, label rates by value of the
            context, learning curves, calibration, permutation importance, and what the controller
            learned, as polars DataFrames; its docstring lists them. What could not be made is
            empty, and its `missing` says why.

        Raises:
            UserError: if the configs differ in more than the seed.
        """
        from autoloss_jax.analysis import explanation  # SciPy's second, for this alone

        folders = [run.workdir for run in (self, *others)]
        return explanation.of(folders, processes.say if progress else _quiet)

    def report(self, output: str | Path, *others: "TrainedRun") -> None:
        """Write what `explain` gives as one HTML page that opens without a network.

        Args:
            output: the file.
            others: runs of the same config with other seeds.

        Raises:
            UserError: if the configs differ in more than the seed, or the file cannot be written.
        """
        from autoloss_jax.analysis import sections

        sections.write(self.explain(*others), Path(output))

    def _written(self, frame: Any, folder: Path) -> Path:
        """A DataFrame as a file that the run reads."""
        if self.config.data.format != "tabular":
            raise UserError(
                f"predict: a DataFrame is a table, and this run reads {self.config.data.format} "
                "files; give the path of such a file"
            )
        path = folder / "rows.parquet"
        try:
            frames.table(frame).write_parquet(path)
        except (TypeError, ValueError, pl.exceptions.PolarsError) as error:
            raise UserError(f"predict: {first_line(error)}") from error
        return path


@_in_float32
def train(
    config: Config,
    workdir: str | Path,
    *,
    progress: bool = True,
    callbacks: Iterable[Callback] = (),
) -> TrainedRun:
    """Train what a config describes, with all that its method must search first.

    The same call goes on where an earlier one was stopped, and ends in the same bits.

    Args:
        config: the run, as `Config(data=config.Data(path="clicks.csv", ...), ...)`.
        workdir: the run's folder, made if it is not there. What is in it: docs/api.md.
        progress: tell on stderr how far it is.
        callbacks: hear of the training while it runs, as `callbacks.MLflow()`.

    Returns:
        The finished run.

    Raises:
        UserError: for what the user can mend, in one line: what, where, the fix.

    Example:
        >>> import tempfile, autoloss_jax
        >>> from autoloss_jax import config
        >>> small = config.Config(
        ...     data=config.Data(format="criteo", generate=2000, min_count=5),
        ...     model=config.Model(name="lr"),
        ...     method=config.Method(name="ce"),
        ...     train=config.Train(batch_size=200, epochs=1),
        ... )
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     small = small.replace({"data.cache": folder})
        ...     run = autoloss_jax.train(small, folder + "/run", progress=False)
        ...     abs(run.evaluate()["auc"] - run.result["test"]["auc"]) < 1e-6
        True
    """
    say, workdir = processes.say if progress else _quiet, Path(workdir)
    with_data = defaults.resolved(config, workdir, say)
    result = search.train(with_data, workdir, say, shown=progress, callbacks=callbacks)
    return TrainedRun(workdir, result)


def load(workdir: str | Path, *, allow_imports: Iterable[str] = ()) -> TrainedRun:
    """A finished run.

    Args:
        workdir: its folder.
        allow_imports: modules whose code it may use. A run that names a loss or a model of
            somebody's own is opened only where you name its module too, here or in a config.

    Returns:
        The run; its checkpoint is read when it is used.

    Raises:
        UserError: if there is no finished run in the folder.

    Example:
        >>> import autoloss_jax
        >>> autoloss_jax.load("runs/nothing")
        Traceback (most recent call last):
        ...
        autoloss_jax.config.errors.UserError: runs/nothing: no finished run here (no result.json)
    """
    import_string.allow(*allow_imports)
    return TrainedRun(Path(workdir), workdirs.read_result(Path(workdir)))


def evaluate(workdir: str | Path, path: str | Path | None = None, **options: Any) -> dict[str, Any]:
    """`load(workdir).evaluate(path, ...)`: figures of a finished run on labelled rows."""
    return load(workdir).evaluate(path, **options)


def predict(workdir: str | Path, rows: Any, **options: Any) -> np.ndarray:
    """`load(workdir).predict(rows, ...)`: probabilities of rows without labels."""
    return load(workdir).predict(rows, **options)


def _quiet(text: str) -> None:
    del text
