"""The pool: from names to candidates, our losses (`losses.py`) and the user's own."""

import functools
import inspect
import re
from typing import Any, Literal, NamedTuple

import jax

from autoloss_jax.algorithm import losses
from autoloss_jax.algorithm.losses import Loss
from autoloss_jax.config import import_string, specs
from autoloss_jax.config.errors import UserError

SEARCHED = {"missing_ce": "missing", "flipped_ce": "flipped"}  # candidates whose rate V may have


class Candidate(NamedTuple):
    """One of the pool: a loss, and lambda of the L2 that it brings with it (`rows.l2`)."""

    loss: Loss
    l2: float = 0.0
    searched: str = ""  # "missing" or "flipped": V has its rates, one for each cell of the context


def parse(spec: str) -> Loss:
    """A loss from its name and parameters, as "ce" or "focal(gamma=1.0)", or the user's own, as
    "package.module:name".

    UserError for an unknown name or parameter (it lists the known), and for a malformed value or
    one out of range.
    """
    return _parse(spec, {}).loss


def candidate(spec: str) -> Candidate:
    """The same with more parameters: "ce(l2=0.05)", and "missing_ce(rate=searched)".

    Every candidate may bring L2 with it. The rate of `missing_ce` and `flipped_ce` may be searched.
    """
    more: dict[str, tuple[Any, Any]] = {"l2": (float, 0.0)}
    noise = SEARCHED.get(spec.split("(")[0].strip(), "")
    if noise:
        more["rate"] = (float | Literal["searched"], "searched")
    return _parse(spec, more, noise)


def _parse(spec: str, more: dict[str, tuple[Any, Any]], noise: str = "") -> Candidate:
    where = f"loss {spec!r}"
    function, values = specs.parse(
        where, spec, losses.LOSSES, lambda loss: _parameters(where, loss) | more
    )
    l2 = values.pop("l2", 0.0)
    if l2 < 0:
        raise UserError(f"{where}: wants l2 >= 0")
    searched = noise if values.get("rate") == "searched" else ""
    if searched:
        del values["rate"]
    loss = functools.partial(function, **values) if values else function
    if ":" in spec:
        return Candidate(_checked(where, loss), l2)
    if values:  # one out of range is said here, not at the first step
        jax.eval_shape(
            loss, jax.ShapeDtypeStruct((1, 1), "float32"), jax.ShapeDtypeStruct((1,), "int32")
        )
    return Candidate(loss, l2, searched)


def _parameters(where: str, loss: Loss) -> dict[str, tuple[Any, Any]]:
    try:
        inspect.signature(loss).bind(None, None)
    except (TypeError, ValueError):
        raise UserError(
            f"{where}: wants a function of (logits [B, C], labels int32[B]) to a loss [B]; "
            "further parameters are for keywords "
            "and have defaults, as gamma in: def focal(logits, labels, *, gamma: float = 2.0)"
        ) from None
    if "l2" in inspect.signature(loss).parameters:
        raise UserError(
            f"{where}: l2 is what any candidate may bring with it; give its own parameter another "
            "name"
        )
    return {
        name: (p.annotation if specs.readable(p.annotation) else float, p.default)
        for name, p in inspect.signature(loss, eval_str=True).parameters.items()
        if p.kind is p.KEYWORD_ONLY
    }


def _checked(where: str, loss: Loss) -> Loss:
    """A loss of the user's own; what is wrong with it is a UserError."""

    def checked(logits: jax.Array, labels: jax.Array) -> jax.Array:
        with import_string.blamed(where):
            values = loss(logits, labels)
        return import_string.floats(
            where, values, labels.shape, "a loss for each example, [B], not their mean"
        )

    return checked


def parse_pool(pool: tuple[str, ...]) -> dict[str, Candidate]:
    """The candidates by name as written, in order; ("ce,mae",) is ("ce", "mae").

    UserError if there is none, one is named twice, or `candidate` refuses one.
    """
    names = [n.strip() for entry in pool for n in re.split(r",(?![^(]*\))", entry) if n.strip()]
    if not names:
        raise UserError("--config.method.pool: wants at least one loss, as ('focal','ce')")
    if len(set(names)) < len(names):
        raise UserError(f"--config.method.pool={tuple(names)!r}: a loss is named twice")
    return {name: candidate(name) for name in names}
