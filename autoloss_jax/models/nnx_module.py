"""NNX modules as Linen ones, which the algorithm calls: parameters and batch statistics out,
keys in.
"""

import inspect
from collections.abc import Callable
from typing import Any

import jax
from flax import linen as nn
from flax import nnx
from flax.nnx.bridge import ToLinen


class Bridged(ToLinen):
    """An NNX class. nnx.Param is the collection "params", nnx.BatchStat "batch_stats", a
    Dropout's stream "dropout".
    """

    @nn.nowrap
    def columns(self, num_fields: int) -> Any:
        """What the class says of its rows."""
        module: Any = nnx.eval_shape(lambda: self.nnx_class(rngs=nnx.Rngs(0), **self.kwargs))
        return module.columns(num_fields)

    def __call__(self, rows: jax.Array, *, train: bool) -> jax.Array:
        """[B, F, R] -> logits [B, C]."""
        return super().__call__(rows, nnx_method=_in_mode, train=train)


def bridged(kind: type[nnx.Module], arguments: dict[str, Any]) -> Bridged:
    """The Linen module of `kind(**arguments, rngs=...)`."""
    return Bridged(_constructor(kind), kwargs=arguments, metadata_fn=None)


def _constructor(kind: type[nnx.Module]) -> Callable[..., nnx.Module]:
    takes_rngs = "rngs" in inspect.signature(kind.__init__).parameters

    def construct(*, rngs: nnx.Rngs, **arguments: Any) -> nnx.Module:
        if "default" not in rngs:  # where Linen initialises, it has one key, for parameters
            rngs = nnx.Rngs(rngs.params())
        return kind(**arguments, **({"rngs": rngs} if takes_rngs else {}))

    return construct


def _in_mode(module: nnx.Module, rows: jax.Array, *, train: bool) -> jax.Array:
    module.set_attributes(  # what train() and eval() do
        deterministic=not train, use_running_average=not train, raise_if_not_found=False
    )
    takes_train = "train" in inspect.signature(type(module).__call__).parameters
    return module(rows, train=train) if takes_train else module(rows)
