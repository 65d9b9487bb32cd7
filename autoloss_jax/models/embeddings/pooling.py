"""From the rows of slots to the rows of fields: a bag's values are summed, a number scales its
vector.
"""

import itertools

import jax
import jax.numpy as jnp


def pooled(rows: jax.Array, v: jax.Array, slots: tuple[int, ...]) -> jax.Array:
    """The row of a field: the sum over its slots of v times their rows. [B, S, R], [B, S] -> [B,
    F, R].

    A field has slots[f] of the S slots, which lie in the fields' order. A bag of values has 1
    (their sum) or 1 / count (their mean) on those in use, and 0 on the rest.
    """
    rows, parts, begin = v[..., None] * rows, [], 0
    for width, fields in itertools.groupby(slots):
        end = begin + width * len(list(fields))
        part = rows[:, begin:end].reshape(rows.shape[0], -1, width, rows.shape[-1])
        parts.append(jnp.sum(part, axis=2))
        begin = end
    return jnp.concatenate(parts, axis=1)
