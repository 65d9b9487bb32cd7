"""A recommender of the user's own: any Flax module from rows [B, F, R] to logits [B, C].

Linen: `__call__(rows, *, train)`, with dropout from the stream "dropout". NNX: the same, or
`__call__(rows)`, whose Dropout and BatchNorm are told the mode as by `train()` and `eval()`.
Parameters learn, batch statistics are kept, and there may be no other state. Either may define
`columns(num_fields)`, as `Recommender` does; else R = embed_dim. From Python:
`Own(num_outputs=1, module=..., row=(D, 0))`, the module of an NNX class being
`bridge.bridged(kind, arguments)`.
"""

import inspect
from typing import Any

import jax
from flax import linen as nn

from autoloss_jax.config import import_string, specs
from autoloss_jax.config.errors import UserError
from autoloss_jax.models.recommender import Recommender

FILLED = (
    "num_outputs",
    "num_fields",
    "embed_dim",
    "hidden",
    "dropout",
    "batch_norm",
    "dtype",
    "members",
)
CARRIED = {"params", "batch_stats"}


class Own(Recommender):
    """A Linen module in the place of ours, parameters and noise as without it. Mistakes in it
    are told in one line.
    """

    module: Any = None  # a Linen one
    row: tuple[int, int] = (16, 0)  # its columns
    where: str = "own model"

    def columns(self, num_fields: int) -> tuple[int, int]:
        """Those of its rows."""
        return self.row

    def least_fields(self) -> int:
        """Its own."""
        return self.module.least_fields() if isinstance(self.module, Recommender) else 1

    def check(self, num_fields: int) -> None:
        """Its own."""
        if isinstance(self.module, Recommender):
            self.module.check(num_fields)

    def setup(self) -> None:
        """Its parameters are at the top."""
        nn.share_scope(self, self.module)

    def __call__(self, rows: jax.Array, *, train: bool) -> jax.Array:
        """[B, F, R] -> logits [B, C], in the type of `rows`."""
        with import_string.blamed(self.where):
            logits = self.module(rows, train=train)
        wanted = f"logits [B, C] for rows {list(rows.shape)}"
        logits = import_string.floats(self.where, logits, (rows.shape[0], self.num_outputs), wanted)
        if others := sorted(set(self.variables) - CARRIED):
            raise UserError(
                f"{self.where}: keeps state in {', '.join(others)}; only parameters and batch "
                "statistics are carried from step to step"
            )
        return logits.astype(rows.dtype)


def make(where: str, kind: type, filled: dict[str, Any], options: dict[str, Any]) -> Own:
    """The module of a user's class: `filled` holds what a config gives to the arguments in
    FILLED, `options` the rest.

    UserError if an argument is missing, if the class is not called as it should be, or fails.
    """
    takes = _arguments(kind)
    arguments = {name: value for name, value in filled.items() if name in takes} | options
    for name, parameter in takes.items():
        if name not in arguments and parameter.default is parameter.empty:
            mend = (
                f"as in {kind.__name__}({name}=...)"
                if specs.readable(parameter.annotation)
                else "in the class"
            )
            raise UserError(f"{where}: {kind.__name__} wants {name}: give it, or a default, {mend}")
    linen = issubclass(kind, nn.Module)
    _check_call(where, kind, linen)
    with import_string.blamed(where):
        if linen:
            module = kind(**arguments)
        else:
            from autoloss_jax.models import nnx_module

            module = nnx_module.bridged(kind, arguments)
        row = (
            module.columns(filled["num_fields"])
            if hasattr(kind, "columns")
            else (filled["embed_dim"], 0)
        )
    pair = (
        isinstance(row, tuple) and len(row) == 2 and all(isinstance(n, int) and n >= 0 for n in row)
    )
    if not pair or not sum(row):
        raise UserError(
            f"{where}: columns({filled['num_fields']}) returned {row!r}; it wants how many numbers "
            "of a row are embeddings, and how many first-order weights, as (embed_dim, 0)"
        )
    return Own(filled["num_outputs"], filled["embed_dim"], module=module, row=row, where=where)


def options(where: str, kind: Any) -> dict[str, tuple[Any, Any]]:
    """(Type, default) of each argument that a spec can give a class; UserError if it is not a
    Flax module's.
    """
    if not _is_flax(kind):
        raise UserError(
            f"{where}: {getattr(kind, '__name__', kind)!r} is not a Flax module; it wants a class "
            "of flax.linen or flax.nnx"
        )
    with import_string.blamed(where):
        takes = _arguments(kind)
    return {
        name: (p.annotation, p.default)
        for name, p in takes.items()
        if name not in FILLED and specs.readable(p.annotation)
    }


def _is_flax(kind: Any) -> bool:
    if not isinstance(kind, type):
        return False
    if issubclass(kind, nn.Module):
        return True
    from flax import nnx

    return issubclass(kind, nnx.Module)


def _arguments(kind: type) -> dict[str, inspect.Parameter]:
    """What a class's constructor takes by name, but for what Flax itself gives."""
    _, *parameters = inspect.signature(kind.__init__, eval_str=True).parameters.values()
    flax = ("parent", "name") if issubclass(kind, nn.Module) else ("rngs",)
    return {
        p.name: p
        for p in parameters
        if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name not in flax
    }


def _check_call(where: str, kind: type, linen: bool) -> None:
    call = next((vars(c)["__call__"] for c in kind.__mro__ if "__call__" in vars(c)), lambda: None)
    for mode in [{"train": True}] if linen else [{"train": True}, {}]:
        try:
            inspect.signature(call).bind(None, None, **mode)
        except TypeError:
            continue
        return
    wanted = (
        "__call__(self, rows, *, train)"
        if linen
        else "__call__(self, rows), or (self, rows, *, train)"
    )
    raise UserError(
        f"{where}: {kind.__name__} cannot be called with rows{' and train' if linen else ''}; it "
        f"wants {wanted}"
    )
