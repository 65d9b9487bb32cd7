"""K recommenders in one W, whose mean logit is the prediction.

In training they give K logits an example, which stand one after another, member by member, as if
they were examples of their own: K B in all.
"""

import jax
import jax.numpy as jnp

from autoloss_jax.algorithm.state import Batch


def repeated(batch: Batch, members: int) -> Batch:
    """A batch whose examples stand once for each member, whose number is in `member` [K B]."""
    if members == 1:
        return batch
    every = {n: jnp.tile(a, (members, *(1,) * (a.ndim - 1))) for n, a in batch.items()}
    return every | {"member": jnp.repeat(jnp.arange(members), len(batch["y"]))}


def mean(logits: jax.Array, members: int) -> jax.Array:
    """The prediction of the members together. [K B, C] -> [B, C]."""
    return jnp.mean(logits.reshape(members, -1, logits.shape[-1]), axis=0)
