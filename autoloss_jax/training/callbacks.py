"""What a training from Python tells others while it runs: `train(..., callbacks=(MLflow(),))`.

    class Print(autoloss_jax.callbacks.Callback):
        def on_evaluate(self, step, figures):
            print(step, figures["val/auc"])

MLflow and Weights & Biases are imported when their callback is made; `pip install
'autoloss-jax[tracking]'` brings both.
"""

import importlib
from collections.abc import Iterable, Mapping
from typing import Any

from autoloss_jax.config import Config, import_string, settings
from autoloss_jax.config.errors import UserError
from autoloss_jax.distributed import processes

MOST_PARAMS = 100  # that MLflow takes at once


class Callback:
    """Hears of a training; a subclass has those of these methods that it wants.

    What a method raises ends the training, which goes on from its last checkpoint when it is begun
    again; a resumed one tells of the steps from there. A run that was complete tells nothing, and
    of trainings that a method searches with nothing is told. Of several processes the first tells.
    """

    def on_train_begin(self, config: Config) -> None:
        """Before the first step, with what the method's search has found."""

    def on_log(self, step: int, figures: Mapping[str, float]) -> None:
        """Each `train.log_every` steps, and at evaluations: the loss (nats), the temperature, and
        of each candidate its mean weight, by name, as "loss", "tau", "alpha/ce", "share/ce".
        """

    def on_evaluate(self, step: int, figures: Mapping[str, float]) -> None:
        """After each evaluation on the early-stopping rows: "val/auc", "val/logloss" (nats); an
        undefined figure is left out.
        """

    def on_train_end(self, result: Mapping[str, Any]) -> None:
        """After the last step, with the content of result.json."""


class MLflow(Callback):
    """Makes a run of MLflow: the config's keys as parameters, figures by step and those of test.

    A training that goes on after a kill makes another, unless one is open when it begins.

    Args:
        experiment: its name; empty: the one that MLflow takes.
        run: the run's name; empty: MLflow makes one.
        tracking_uri: where runs are kept; empty: as the environment says (MLFLOW_TRACKING_URI).

    Raises:
        UserError: if MLflow is not installed.
    """

    def __init__(self, experiment: str = "", run: str = "", tracking_uri: str = ""):
        self.mlflow, self.run, self.own = _imported("mlflow", "mlflow-skinny"), run, False
        if tracking_uri:
            self.mlflow.set_tracking_uri(tracking_uri)
        if experiment:
            self.mlflow.set_experiment(experiment)

    def on_train_begin(self, config: Config) -> None:
        """Begin a run, unless one is open."""
        self.own = self.mlflow.active_run() is None
        if self.own:
            self.mlflow.start_run(run_name=self.run or None)
        params = list(settings.plain(config).items())
        for first in range(0, len(params), MOST_PARAMS):
            self.mlflow.log_params(dict(params[first : first + MOST_PARAMS]))

    def on_log(self, step: int, figures: Mapping[str, float]) -> None:
        """Figures of training."""
        self.mlflow.log_metrics(_names(figures), step=step)

    def on_evaluate(self, step: int, figures: Mapping[str, float]) -> None:
        """Figures of validation."""
        self.mlflow.log_metrics(_names(figures), step=step)

    def on_train_end(self, result: Mapping[str, Any]) -> None:
        """Figures of test; the run is closed if it was begun here."""
        self.mlflow.log_metrics(_names(_test(result)))
        if self.own:
            self.mlflow.end_run()


class WeightsAndBiases(Callback):
    """Makes a run of Weights & Biases: the config, figures by step, and the test figures.

    Args:
        options: those of `wandb.init`, as project="ctr", mode="offline".

    Raises:
        UserError: if wandb is not installed.
    """

    def __init__(self, **options: Any):
        self.wandb, self.options = _imported("wandb", "wandb"), options

    def on_train_begin(self, config: Config) -> None:
        """Begin a run."""
        self.run = self.wandb.init(config=settings.plain(config), **self.options)

    def on_log(self, step: int, figures: Mapping[str, float]) -> None:
        """Figures of training."""
        self.run.log(dict(figures), step=step)

    def on_evaluate(self, step: int, figures: Mapping[str, float]) -> None:
        """Figures of validation, at the same step."""
        self.run.log(dict(figures), step=step)

    def on_train_end(self, result: Mapping[str, Any]) -> None:
        """Figures of test; the run is closed."""
        self.run.summary.update(_test(result))
        self.run.finish()


class Callbacks(Callback):
    """Several as one; what goes wrong inside one is a UserError that names it."""

    def __init__(self, each: Iterable[Callback]):
        self.each = tuple(each) if processes.is_chief() else ()

    def on_train_begin(self, config: Config) -> None:
        """To each."""
        self._tell("on_train_begin", config)

    def on_log(self, step: int, figures: Mapping[str, float]) -> None:
        """To each."""
        self._tell("on_log", step, figures)

    def on_evaluate(self, step: int, figures: Mapping[str, float]) -> None:
        """To each."""
        self._tell("on_evaluate", step, figures)

    def on_train_end(self, result: Mapping[str, Any]) -> None:
        """To each."""
        self._tell("on_train_end", result)

    def _tell(self, method: str, *args: Any) -> None:
        for callback in self.each:
            with import_string.blamed(f"{type(callback).__name__}.{method}"):
                getattr(callback, method)(*args)


def _imported(module: str, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise UserError(
            f"{module} is not installed: pip install {package}, or 'autoloss-jax[tracking]'"
        ) from error


def _test(result: Mapping[str, Any]) -> dict[str, float]:
    figures = {f"test/{name}": value for name, value in result["test"].items()}
    return {name: value for name, value in figures.items() if isinstance(value, int | float)}


def _names(figures: Mapping[str, float]) -> dict[str, float]:
    """MLflow takes letters, digits and a few signs; a loss may be called focal(gamma=1.0)."""
    allowed = frozenset("_-./ ")
    return {
        "".join(c if c.isalnum() or c in allowed else "_" for c in name).strip(): value
        for name, value in figures.items()
    }
