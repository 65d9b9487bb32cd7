"""A logistic regression beside a recommender: what is linear in a row, learned by itself."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct


class Regression(struct.PyTreeNode):
    """Logits that are linear in a row's values, and how much of the prediction is theirs.

    Training leaves it as it is: it was fitted before the first step.
    """

    rows: jax.Array  # float32[V, C], the weight of each value of each field
    intercept: jax.Array  # float32[C]
    share: jax.Array  # float32[], of the prediction's logits; the rest is the recommender's

    @classmethod
    def empty(cls, num_rows: int, num_outputs: int) -> "Regression":
        """Of no weight and no share."""
        shapes = (num_rows, num_outputs), (num_outputs,), ()
        return cls(*(jnp.zeros(shape, jnp.float32) for shape in shapes))

    def with_share(self, share: float) -> "Regression":
        """The same with another share of the prediction."""
        where = self.share.sharding
        return self.replace(share=jax.device_put(jnp.float32(share), where))

    def logits(self, batch: dict[str, jax.Array]) -> jax.Array:
        """Its own, of x [B, S] and, if a batch has them, the weights v [B, S]. -> [B, C]."""
        terms = self.rows.at[batch["x"]].get(mode="promise_in_bounds")
        if "v" in batch:
            terms = batch["v"][..., None] * terms
        return jnp.sum(terms, axis=1) + self.intercept

    def blended(self, logits: jax.Array, batch: dict[str, jax.Array]) -> jax.Array:
        """The prediction's logits, from those of the recommender. [B, C] -> [B, C]."""
        return blend(logits, self.logits(batch), self.share)


def blend(of_recommender: Any, of_regression: Any, share: Any) -> Any:
    """The mean of both logits, arrays of JAX or NumPy, by the regression's share; to the bit those
    of one where it has all of it.
    """
    return (1 - share) * of_recommender + share * of_regression
