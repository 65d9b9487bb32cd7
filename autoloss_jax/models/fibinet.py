"""FiBiNET, feature importance and bilinear interaction (Huang et al., RecSys 2019)."""

from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from autoloss_jax.config.specs import Count
from autoloss_jax.models.interactions import bilinear, pairs
from autoloss_jax.models.recommender import Recommender


class FiBiNET(Recommender):
    """First-order terms + MLP([bilinear pairs of E; of E weighted by field]), Eq. (3)-(9).

    The weights of the fields squeeze and excite: ReLU(W2 ReLU(W1 mean_D E)), over F //
    `reduction` hidden numbers. A pair is e_i W * e_j, where W is one for `all`, one for `each`
    first field, or one an `interaction`.
    """

    bilinear: Literal["all", "each", "interaction"] = "interaction"
    reduction: Count = 3

    def columns(self, num_fields: int) -> tuple[int, int]:
        """An embedding and its first-order weights."""
        return self.embed_dim, self.num_outputs

    def least_fields(self) -> int:
        """Two make a pair."""
        return 2

    @nn.compact
    def __call__(self, rows: jax.Array, *, train: bool) -> jax.Array:
        """[B, F, D + C] -> logits [B, C]."""
        num_rows, num_fields, _ = rows.shape
        e = rows[..., : self.embed_dim]
        init = nn.initializers.glorot_normal()
        squeezed = nn.Dense(
            max(1, num_fields // self.reduction), use_bias=False, kernel_init=init, name="squeeze"
        )
        excited = nn.Dense(num_fields, use_bias=False, kernel_init=init, name="excite")
        weights = nn.relu(excited(nn.relu(squeezed(jnp.mean(e, axis=-1)))))
        both = [self.pairs(e, "kernel"), self.pairs(e * weights[..., None], "weighted_kernel")]
        x = jnp.concatenate(both, axis=1).reshape(num_rows, -1)
        return self.linear(rows) + self.output(self.mlp(x, train=train))

    def pairs(self, e: jax.Array, name: str) -> jax.Array:
        """e_i W * e_j for i < j. [B, F, D] -> [B, P, D]."""
        num_fields, d = e.shape[1:]
        init = nn.initializers.glorot_normal(batch_axis=() if self.bilinear == "all" else 0)
        if self.bilinear == "interaction":
            return bilinear(e, self.param(name, init, (num_fields * (num_fields - 1) // 2, d, d)))
        if self.bilinear == "each":
            return pairs(
                jnp.einsum("bfd,fde->bfe", e, self.param(name, init, (num_fields, d, d))), e
            )
        return pairs(e @ self.param(name, init, (d, d)), e)
