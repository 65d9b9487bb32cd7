"""AutoLoss (Zhao et al., KDD 2021) in JAX: a loss function for every training example.

These names are the public API, described in docs/api.md. They are imported when they are first
used, so that `import autoloss_jax` is quick. Everything else is private and may move.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from autoloss_jax import config, models
    from autoloss_jax.algorithm import losses
    from autoloss_jax.algorithm.autoloss import (
        AutoLoss,
        controller_step,
        outer_loss,
        train_step,
        virtual_step,
    )
    from autoloss_jax.algorithm.controller import Controller
    from autoloss_jax.algorithm.gumbel import annealed_temperature, gumbel_softmax
    from autoloss_jax.algorithm.networks import CandidateLosses, ControllerFn, RecommenderFn
    from autoloss_jax.algorithm.state import TrainState
    from autoloss_jax.api.estimators import Classifier, Regressor
    from autoloss_jax.api.runs import TrainedRun, evaluate, load, predict, train
    from autoloss_jax.config import Config
    from autoloss_jax.config.errors import UserError
    from autoloss_jax.models import interactions
    from autoloss_jax.training import callbacks, metrics

_HOMES = {  # name -> the module that holds it; a name that is its own module's has no other
    "AutoLoss": "algorithm.autoloss",
    "CandidateLosses": "algorithm.networks",
    "Classifier": "api.estimators",
    "Config": "config",
    "Controller": "algorithm.controller",
    "ControllerFn": "algorithm.networks",
    "RecommenderFn": "algorithm.networks",
    "Regressor": "api.estimators",
    "TrainState": "algorithm.state",
    "TrainedRun": "api.runs",
    "UserError": "config.errors",
    "annealed_temperature": "algorithm.gumbel",
    "callbacks": "training.callbacks",
    "config": "config",
    "controller_step": "algorithm.autoloss",
    "evaluate": "api.runs",
    "gumbel_softmax": "algorithm.gumbel",
    "interactions": "models.interactions",
    "load": "api.runs",
    "losses": "algorithm.losses",
    "metrics": "training.metrics",
    "models": "models",
    "outer_loss": "algorithm.autoloss",
    "predict": "api.runs",
    "train": "api.runs",
    "train_step": "algorithm.autoloss",
    "virtual_step": "algorithm.autoloss",
}
__all__ = [
    "AutoLoss",
    "CandidateLosses",
    "Classifier",
    "Config",
    "Controller",
    "ControllerFn",
    "RecommenderFn",
    "Regressor",
    "TrainState",
    "TrainedRun",
    "UserError",
    "annealed_temperature",
    "callbacks",
    "config",
    "controller_step",
    "evaluate",
    "gumbel_softmax",
    "interactions",
    "load",
    "losses",
    "metrics",
    "models",
    "outer_loss",
    "predict",
    "train",
    "train_step",
    "virtual_step",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_HOMES[name]}")
    return module if _HOMES[name].split(".")[-1] == name else getattr(module, name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
