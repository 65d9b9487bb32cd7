"""xDeepFM (Lian et al., KDD 2018)."""

from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from autoloss_jax.config.errors import UserError
from autoloss_jax.models.interactions import compressed
from autoloss_jax.models.recommender import Recommender


class XDeepFM(Recommender):
    """First-order terms + the compressed interaction network + MLP(E), Eq. (6)-(9).

    `activation=identity`, the default, is what the paper found best for CIN; torchfm has relu.
    With `split=true` half of a layer's maps go to the output and the other half to the next
    layer, as in torchfm and the authors' code; by default all of them go both ways, as in the
    paper.
    """

    cin: tuple[int, ...] = (64, 64)  # maps of each layer
    activation: Literal["identity", "relu"] = "identity"
    split: bool = False

    def columns(self, num_fields: int) -> tuple[int, int]:
        """An embedding and its first-order weights."""
        return self.embed_dim, self.num_outputs

    def check(self, num_fields: int) -> None:
        """What is split in half is even."""
        if self.split and any(width % 2 for width in self.cin[:-1]):
            raise UserError(
                "--config.model.name=xdeepfm: split=true wants even widths before the last, as "
                f"cin=64x64, not cin={'x'.join(map(str, self.cin))}"
            )

    @nn.compact
    def __call__(self, rows: jax.Array, *, train: bool) -> jax.Array:
        """[B, F, D + C] -> logits [B, C]."""
        x = e = rows[..., : self.embed_dim]
        pooled = []
        for i, width in enumerate(self.cin):
            init = nn.initializers.glorot_normal(in_axis=(1, 2), out_axis=0)
            x = compressed(
                e, x, self.param(f"cin_kernel_{i}", init, (width, e.shape[1], x.shape[1]))
            )
            x = x + self.param(f"cin_bias_{i}", nn.initializers.zeros, (width, 1))
            x = nn.relu(x) if self.activation == "relu" else x
            last = i == len(self.cin) - 1
            out, x = jnp.split(x, 2, axis=1) if self.split and not last else (x, x)
            pooled.append(jnp.sum(out, axis=-1))
        return self.linear(rows) + self.output(*pooled, self.mlp(rows, train=train))
