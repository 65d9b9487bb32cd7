"""A method is a row: how weights are made x whose alpha x which batch teaches V."""

import dataclasses
import functools
from collections.abc import Callable

from flax import linen as nn

from autoloss_jax import config
from autoloss_jax.algorithm import autoloss, candidates, gumbel, losses, melu
from autoloss_jax.algorithm.controller import Controller, Ensemble, SharedVector, Static, Uniform
from autoloss_jax.config import settings
from autoloss_jax.config.errors import UserError
from autoloss_jax.data.schema import Schema


@dataclasses.dataclass(frozen=True)
class Method:
    """One row of the table of methods (docs/architecture.md)."""

    weights: Callable
    controller: type[nn.Module]
    taught_by: str
    step: Callable = autoloss.train_step

    @property
    def searches(self) -> bool:
        """Whether V learns on the controller's share of validation."""
        return self.taught_by == "val"

    @property
    def has_controller(self) -> bool:
        """Whether weights come from something learnt, here or in another run; else they are
        given.
        """
        return self.controller in (Controller, SharedVector)


def resolve(method: config.Method) -> tuple[Method, dict[str, candidates.Candidate]]:
    """The row and the candidates that a config names. A loss's name is a method: a pool of one,
    uniformly weighted.
    """
    if method.name not in METHODS:
        known, name = [*METHODS, *losses.LOSSES], method.name.split("(")[0]
        if name not in losses.LOSSES and ":" not in name:
            raise UserError(
                f"--config.method.name={method.name!r}: not a method or a loss: "
                f"{', '.join(known)}{settings.nearest(method.name, known)}"
            )
        return METHODS["al1"], candidates.parse_pool((method.name,))
    row = METHODS["static" if method.name == "melu" and method.static else method.name]
    if row.searches and val_loss(method) and method.xi == 0:
        raise UserError(
            f"--config.method.xi=0 with val_objective={method.val_objective!r}: the validation "
            "loss then depends on V through nothing, and the "
            "controller's gradient is identically zero; set xi > 0, or val_objective='mixture'"
        )
    if method.name in FROZEN and not method.transfer_from:
        raise UserError(
            f"--config.method.transfer_from: {method.name} wants the workdir of the run whose "
            "controller it takes"
        )
    if method.name in FROZEN and policy(method) in ("mean", "replay"):
        row = dataclasses.replace(row, weights=gumbel.alpha_weights)
    if method.hard and row.weights is gumbel.gumbel_softmax:
        row = dataclasses.replace(row, weights=functools.partial(gumbel.gumbel_softmax, hard=True))
    pool = candidates.parse_pool(method.pool)
    weights = method.static
    if row.controller is Static and (
        len(weights) != len(pool) or min(weights) < 0 or not sum(weights) > 0
    ):
        raise UserError(
            f"--config.method.static={weights!r}: {method.name} wants a weight for each of "
            f"{', '.join(pool)}, none "
            "negative and not all zero"
        )
    return row, pool


def val_loss(method: config.Method) -> autoloss.Loss | None:
    """What V minimises at W*(V); None: the mixture itself. UserError for no such loss."""
    if method.val_objective == "mixture":
        return None
    try:
        return candidates.parse(method.val_objective)
    except UserError as error:
        raise UserError(f"--config.method.val_objective: {error}; or mixture") from error


def policy(method: config.Method) -> str:
    """What a frozen controller does. Searched for the same data it is worth most replayed
    (docs/research.md).
    """
    if method.policy != "auto":
        return method.policy
    return "replay" if method.name == "retrain" else "sample"


def seen(method: config.Method, schema: Schema) -> list[tuple[int, int, int]]:
    """Of the fields that the method's controller sees, (slot, first id, number of rows) each;
    none where it sees no example.
    """
    if resolve(method)[0].controller is not Controller:
        return []
    return [schema.place(name, "--config.method.sees") for name in method.sees]


def controller(
    method: config.Method, row: Method, num_losses: int, sees: tuple[int, ...] = ()
) -> nn.Module:
    """The controller module of a row, which sees fields of so many values."""
    if row.controller is Controller:
        one = Controller(
            num_losses, hidden=method.hidden, dropout=method.dropout, start=method.start, sees=sees
        )
        return Ensemble(one, method.folds) if method.name in FROZEN and method.folds > 1 else one
    if row.controller is Static:
        return Static(method.static)
    if row.controller is SharedVector:
        return SharedVector(num_losses, method.start)
    return row.controller(num_losses)


METHODS = {
    "al1": Method(gumbel.alpha_weights, Uniform, "never"),
    "al2": Method(gumbel.alpha_weights, Controller, "val"),
    "darts": Method(gumbel.alpha_weights, SharedVector, "val"),
    "static": Method(gumbel.alpha_weights, Static, "never"),
    "bohb": Method(gumbel.alpha_weights, Static, "never"),  # searched by search/bohb.py
    # this row is its search; with the weights that it found it is `static`
    "melu": Method(gumbel.alpha_weights, SharedVector, "val", melu.train_step),
    "slf": Method(gumbel.gumbel_softmax, Controller, "train"),
    "autoloss": Method(gumbel.gumbel_softmax, Controller, "val"),
    "transfer": Method(gumbel.gumbel_softmax, Controller, "never"),
    "retrain": Method(gumbel.gumbel_softmax, Controller, "never"),  # searched by search/retrain.py
}
FROZEN = ("transfer", "retrain")  # whose controller comes from another run
