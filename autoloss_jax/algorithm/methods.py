"""Methods: every way of choosing a loss is a row of one table.

A row says how weights are made, whose alpha they are made of, and which batch teaches V. It
says, too, what a method needs before its own training begins, and how programs are to treat it.
No other file knows a method by its name.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

from flax import linen as nn

from autoloss_jax import config
from autoloss_jax.algorithm import autoloss, candidates, fused, gumbel, losses, melu
from autoloss_jax.algorithm.candidates import Candidate
from autoloss_jax.algorithm.controller import Controller, Ensemble, SharedVector, Static, Uniform
from autoloss_jax.config.errors import UserError, nearest


@dataclasses.dataclass(frozen=True)
class Method:
    """One row of the table of methods (docs/architecture.md has it in words)."""

    loss: str  # what the recommender learns from, as a phrase
    weights: Callable = gumbel.alpha_weights  # p from log alpha
    controller: type[nn.Module] = Uniform  # whose alpha
    taught_by: str = "never"  # the batch that teaches V: "val", "train" (as W), or "never"
    step: Callable = fused.train_step
    pool: tuple[str, ...] = ()  # its candidates; empty: those of the config
    # What its loss is corrected for: "rates" of label noise that trusted rows tell, or a "matrix"
    # that they and a first model do, or rates that are "learned" with W; empty: nothing.
    noise: str = ""
    frozen: bool = False  # the controller is another run's (method.transfer_from)
    policy: str = "sample"  # of a frozen controller, where method.policy is auto
    # A function that finds config keys in trainings before its own, as package.module:function.
    search: str = ""
    searched_as: str = ""  # the method of the trainings in that search
    per_seed: bool = True  # whether what it finds belongs to a seed; else one search serves all
    given: str = ""  # the method that it is once its search has found its weights; empty: itself
    # A function that trains other methods in its stead, or what is no recommender, as
    # package.module:function.
    trains: str = ""
    contenders: tuple[str, ...] = ()  # the methods and losses that this function trains
    yardsticks: tuple[str, ...] = ()  # and those that it compares them with
    tuned_as: str = ""  # the method whose training is tuned for it; empty: itself
    trainings: Callable[[config.Method], int] = lambda method: 1  # the fewest that it takes
    more_trials: bool = False  # whether its search makes use of any number of further trainings

    @property
    def searches(self) -> bool:
        """Whether V learns on the controller's share of validation."""
        return self.taught_by == "val"

    @property
    def sees_context(self) -> bool:
        """Whether its weights may depend on the context fields."""
        return self.controller is Controller

    @property
    def has_controller(self) -> bool:
        """Whether weights come from something learned, here or elsewhere; else they are given."""
        return self.controller in (Controller, SharedVector)


METHODS = {
    "al1": Method("the even mixture of the candidate losses"),
    "al2": Method(
        "candidate losses, weighed for each example by a controller that trusted rows teach",
        controller=Controller,
        taught_by="val",
    ),
    "darts": Method(
        "candidate losses under one vector of weights that trusted rows teach",
        controller=SharedVector,
        taught_by="val",
    ),
    "slf": Method(
        "candidate losses, weighed for each example by a controller that learns on train itself",
        gumbel.gumbel_softmax,
        Controller,
        taught_by="train",
    ),
    "autoloss": Method(
        "candidate losses, weighed for each example by a controller that trusted rows teach",
        gumbel.gumbel_softmax,
        Controller,
        taught_by="val",
    ),
    "static": Method("candidate losses under weights that the config gives", controller=Static),
    "corrected": Method(
        "cross-entropy, corrected for wrong labels by rates that trusted rows tell",
        pool=("ce",),
        noise="rates",
    ),
    "glc": Method(
        "cross-entropy, corrected for wrong labels by matrices that trusted rows tell",
        pool=("ce",),
        noise="matrix",
    ),
    "noise_layer": Method(
        "cross-entropy, corrected for wrong labels by rates that are learned with it",
        pool=("ce",),
        noise="learned",
        taught_by="train",
    ),
    "bohb": Method(
        "candidate losses under weights that trials of whole trainings found",
        controller=Static,
        search="autoloss_jax.search.bohb:weights",
        searched_as="static",
        per_seed=False,
        tuned_as="al1",
        trainings=lambda method: 3,
        more_trials=True,
    ),
    "melu": Method(  # the row of its search
        "candidate losses under one vector of weights that a search found",
        controller=SharedVector,
        taught_by="val",
        step=melu.train_step,
        search="autoloss_jax.search.melu:weights",
        searched_as="melu",
        given="static",
        trainings=lambda method: 2,
    ),
    "transfer": Method(
        "candidate losses, weighed for each example by the frozen controller of another run",
        gumbel.gumbel_softmax,
        Controller,
        frozen=True,
    ),
    "retrain": Method(
        "candidate losses, weighed for each example by a controller that was searched first",
        gumbel.gumbel_softmax,
        Controller,
        frozen=True,
        policy="replay",  # searched on the same data it is worth most so (docs/research.md)
        search="autoloss_jax.search.retrain:controller",
        searched_as="autoloss",
        tuned_as="autoloss",
        trainings=lambda method: 1 + method.folds,
    ),
    "auto": Method(
        "whichever loss was best on validation",
        trains="autoloss_jax.search.auto:train",
        contenders=("ce", "al1", "retrain", "bohb"),
        yardsticks=("constant", "logistic", "lightgbm", "catboost"),
    ),
} | {
    name: Method(
        f"{what}, as a yardstick", pool=("ce",), trains=f"autoloss_jax.search.baselines:{name}"
    )
    for name, what in {
        "constant": "one probability for all rows",
        "logistic": "a logistic regression (scikit-learn)",
        "lightgbm": "gradient boosting (LightGBM)",
        "catboost": "gradient boosting (CatBoost)",
    }.items()
}
MEMBERS = 4  # that `auto` tries where a config has one recommender
ONE_LOSS = dataclasses.replace(METHODS["al1"], loss="one loss")  # a pool of one, of weight 1


def row(method: config.Method) -> Method:
    """The row that a config names; UserError for neither a method nor a loss.

    A search's result in the config makes its method what the row calls `given`.
    """
    if method.name in METHODS:
        found = METHODS[method.name]
        return METHODS[found.given] if found.given and method.static else found
    name = method.name.split("(")[0]
    if name not in losses.LOSSES and ":" not in name:
        known = [*METHODS, *losses.LOSSES]
        raise UserError(
            f"--config.method.name={method.name!r}: not a method or a loss: {', '.join(known)}"
            f"{nearest(method.name, known)}"
        )
    return ONE_LOSS


def must_search(method: config.Method) -> bool:
    """Whether the method's search comes first: it has one, and its result is not given."""
    return bool(row(method).search) and not (method.static or method.transfer_from)


def contenders(cfg: config.Config) -> dict[str, dict[str, Any]]:
    """Name -> config keys of what `auto` trains, in order, the first being cross-entropy.

    With context fields or a file of trusted rows somebody doubts train's labels: then corrections
    are among them, too, for each kind of noise, that of the config first.
    """
    first, *others = row(cfg.method).contenders
    found: dict[str, dict[str, Any]] = {first: {"method.name": first}}
    if cfg.data.context or cfg.data.trusted:
        if cfg.data.num_classes == 2:
            kinds = sorted(losses.MOST, key=lambda kind: kind != cfg.method.noise)
            rates = {"method.rates": "model"}
            learned = {"optimizer.controller_learning_rate": 0.02}
            for name, keys in (("corrected", rates), ("noise_layer", learned)):
                for kind in kinds:
                    of_kind = {"method.name": name, "method.noise": kind}
                    found[f"{name}_{kind}"] = of_kind | keys
            pool = (*(f"{kind}_ce(rate=searched)" for kind in kinds), first)
            search = {"method.name": "retrain", "method.pool": pool, "method.start": 0.9}
            found["retrain_from_rates"] = search | rates
        else:
            found["glc"] = {"method.name": "glc"}
    if cfg.model.members == 1:
        found["members"] = {"method.name": first, "model.members": MEMBERS}
    return found | {name: {"method.name": name} for name in others}


def recommended(num_classes: int, trusted: bool) -> dict[str, Any]:
    """Config keys of the method for whoever names none: one that corrects for label noise where
    there are trusted rows, else cross-entropy.
    """
    if not trusted:
        return {"method.name": "ce"}
    if num_classes == 2:
        return {"method.name": "corrected", "method.rates": "model"}
    return {"method.name": "glc"}


def wants_trusted_rows(method: config.Method) -> bool:
    """Whether trusted rows teach a method something, beside the recommender."""
    found = row(method)
    return bool(found.searches or found.frozen or found.search or found.contenders or found.noise)


def trainings(method: config.Method) -> int:
    """The fewest trainings that a method takes."""
    searched = row(method).searched_as if must_search(method) else method.name
    first = wants_first_model(dataclasses.replace(method, name=searched))
    return row(method).trainings(method) + first


def wants_first_model(method: config.Method) -> bool:
    """Whether a model of train's labels as they are must be trained first."""
    found = row(method)
    if found.trains or found.frozen or method.first_model:  # a frozen controller has rates
        return False
    if found.noise == "matrix":
        return method.rates != "known"
    return method.rates == "model" and wants_rates(method)


def wants_rates(method: config.Method) -> bool:
    """Whether rates of label noise matter to a method: to its loss, or to its candidates."""
    searched = any(candidate.searched for candidate in parse_pool(method).values())
    return bool(row(method).noise) or searched


def label(cfg: config.Config) -> str:
    """The name of a config's method, with whatever that matters to it differs from the defaults."""
    method = cfg.method
    if method.name not in METHODS:  # one loss: nothing else is chosen
        return method.name
    found = METHODS[method.name]
    ignored = set() if found.noise else {"noise"}
    changed = [f"{name}={value}" for name, value in _changed(method, found, ignored).items()]
    if _looks_at_context(cfg, found):
        changed.append(f"context={cfg.data.context}")
    return " ".join([method.name, *changed])


def _changed(method: config.Method, found: Method, ignored: set[str]) -> dict[str, Any]:
    """The keys that matter to a row and differ from the defaults, with their values."""
    ignored = ignored | {"name", "implementation", "first_model"}
    if not found.searches:
        ignored |= {"every", "xi", "virtual_step", "val_objective"}
    if found.search:  # found by the run itself, for each seed anew
        ignored |= {"static", "transfer_from"}
    values = {field.name: getattr(method, field.name) for field in dataclasses.fields(method)}
    defaults = config.Method()
    return {
        name: value
        for name, value in values.items()
        if name not in ignored and value != getattr(defaults, name)
    }


def _looks_at_context(cfg: config.Config, found: Method) -> bool:
    return bool(cfg.data.context) and bool(found.noise or found.sees_context)


DETAILS: dict[
    str, Callable[[Any], str]
] = {  # key of `config.Method` -> what its value means, as a phrase
    "pool": lambda names: f"the candidates are {', '.join(names)}",
    "start": lambda share: f"its search begins with a weight of {share:g} on the first of them",
    "epochs": lambda epochs: f"its controller stops after {epochs} epochs",
    "min_agreement": lambda least: (
        f"its controller stops by its signal (an agreement below {least:g})"
    ),
    "folds": lambda count: f"{count} searches, each on another part of the rows",
    "policy": {
        "sample": "it samples from the controller",
        "mean": "it takes the controller's mean policy",
        "replay": "it replays the controller's history",
    }.__getitem__,
    "rates": {
        "model": "a first model tells the rates too",
        "known": "the rates are those that the study made",
    }.__getitem__,
}


def description(cfg: config.Config) -> str:
    """The loss that a config trains with, for people: its phrase, then whatever that matters to it
    differs from the defaults.
    """
    method, found = cfg.method, row(cfg.method)
    if method.name not in METHODS:
        return f"{found.loss}, {method.name}"
    noise = {"missing": "some positives are missing", "flipped": "some labels are flipped"}
    parts = [found.loss]
    if found.noise in ("rates", "learned"):
        parts.append(noise[method.noise])
    if _looks_at_context(cfg, found):
        parts.append(f"by {' and '.join(cfg.data.context)}")
    if not found.pool and not found.trains:
        parts.append(DETAILS["pool"](method.pool))
    changed = _changed(method, found, ignored={"pool", "noise", "hidden", "dropout"})
    parts += [
        DETAILS[name](value) if name in DETAILS else f"{name} {value}"
        for name, value in changed.items()
    ]
    return "; ".join(parts)


def check(method: config.Method) -> None:
    """UserError for what cannot work, before the searches that a method begins with."""
    if row(method).trains or must_search(method):
        parse_pool(method)
    else:
        resolve(method)


def resolve(method: config.Method) -> tuple[Method, dict[str, Candidate]]:
    """The row as this config has it, and its candidates by name; UserError for what cannot work."""
    found, pool = row(method), parse_pool(method)
    if found.contenders:
        raise UserError(
            f"--config.method.name={method.name}: trains other methods, and is none by itself; "
            f"name one of {', '.join(found.contenders)}"
        )
    if found.searches and val_loss(method) and method.xi == 0:
        raise UserError(
            f"--config.method.xi=0 with val_objective={method.val_objective!r}: the validation "
            "loss then depends on V through nothing, and the controller's gradient is identically "
            "zero; set xi > 0, or val_objective='mixture'"
        )
    if found.frozen and not method.transfer_from:
        raise UserError(
            f"--config.method.transfer_from: {method.name} wants the workdir of the run whose "
            "controller it takes"
        )
    if method.folds > 1 and any(candidate.searched for candidate in pool.values()):
        raise UserError(
            f"--config.method.folds={method.folds}: rates that are searched are those of one "
            "search; set folds to 1, or give the candidates a rate"
        )
    by_counts = method.rates == "counts" and found.noise != "matrix" and wants_rates(method)
    if method.first_model and by_counts:
        raise UserError(
            "--config.method.first_model: with rates=counts no first model is asked; add "
            "--config.method.rates=model, or leave it out"
        )
    if found.controller is Static and not _are_weights(method.static, len(pool)):
        raise UserError(
            f"--config.method.static={method.static!r}: {method.name} wants a weight for each of "
            f"{', '.join(pool)}, none negative and not all zero; or with model.members=K, K times "
            "as many, those of each member in turn"
        )
    return dataclasses.replace(
        found, weights=_weights(found, method), step=_step(found, method)
    ), pool


def _are_weights(static: tuple[float, ...], num_losses: int) -> bool:
    """Whether they are one group, or several, of a weight for each loss."""
    groups = [static[i : i + num_losses] for i in range(0, len(static), num_losses)]
    whole = bool(groups) and len(groups[-1]) == num_losses
    return whole and all(min(group) >= 0 and sum(group) > 0 for group in groups)


def _weights(found: Method, method: config.Method) -> Callable:
    if found.frozen and policy(found, method) != "sample":
        return gumbel.alpha_weights
    if method.hard and found.weights is gumbel.gumbel_softmax:
        return functools.partial(gumbel.gumbel_softmax, hard=True)
    return found.weights


def _step(found: Method, method: config.Method) -> Callable:
    readable = method.implementation == "paper" and found.step is fused.train_step
    return autoloss.step if readable else found.step


def parse_pool(method: config.Method) -> dict[str, Candidate]:
    """The candidates by name: the config's pool, or the one loss that is its method."""
    if method.name not in METHODS:
        return candidates.parse_pool((method.name,))
    return candidates.parse_pool(METHODS[method.name].pool or method.pool)


def policy(found: Method, method: config.Method) -> str:
    """What a frozen controller does: "sample", "mean" or "replay"."""
    return found.policy if method.policy == "auto" else method.policy


def told_apart(cfg: config.Config, found: Method, num_losses: int) -> int:
    """How many members of the recommender may have weights of their own; UserError where the
    config gives those of another number.
    """
    method, members = cfg.method, cfg.model.members
    if found.controller is not Static:
        return members if found.sees_context and method.by_member else 1
    groups = len(method.static) // num_losses
    if groups not in (1, members):
        raise UserError(
            f"--config.method.static={method.static!r}: the weights of {groups} members, and "
            f"--config.model.members={members}"
        )
    return groups


def val_loss(method: config.Method) -> autoloss.Loss | None:
    """What V minimises at W*(V); None: the mixture itself. UserError for no such loss."""
    if method.val_objective == "mixture":
        return None
    try:
        return candidates.parse(method.val_objective)
    except UserError as error:
        raise UserError(f"--config.method.val_objective: {error}; or mixture") from error


def controller(
    method: config.Method,
    found: Method,
    num_losses: int,
    context: tuple[int, ...] = (),
    members: int = 1,
) -> nn.Module:
    """The controller's module of a row; `context`: how many values each field has that it sees;
    `members`: how many recommenders it tells apart.
    """
    if found.controller is Controller:
        one = Controller(
            num_losses,
            hidden=method.hidden,
            dropout=method.dropout,
            start=method.start,
            sees=context,
            members=members,
        )
        return Ensemble(one, method.folds) if found.frozen and method.folds > 1 else one
    if found.controller is Static:
        return Static(method.static, members)
    if found.controller is SharedVector:
        return SharedVector(num_losses, method.start)
    return found.controller(num_losses)
