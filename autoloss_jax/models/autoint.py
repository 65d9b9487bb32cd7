"""AutoInt, feature interaction by self-attention (Song et al., CIKM 2019)."""

from typing import Literal

import jax
from flax import linen as nn

from autoloss_jax.config.errors import UserError
from autoloss_jax.config.specs import Count
from autoloss_jax.models.interactions import attention
from autoloss_jax.models.recommender import Recommender


class AutoInt(Recommender):
    """Self-attention among fields; with an MLP beside it (`deep`: AutoInt+) and first-order
    terms (`wide`).

    `form=paper`, the default, is Eq. (5)-(8): no biases, no scale, and a residual and a ReLU in
    every layer. `form=plain`, torchfm's: a projection, then layers of plain multi-head attention
    (biases, scores over the root of their width, an output projection), and one residual from
    the embeddings and one ReLU after the last.
    """

    heads: Count = 2
    layers: Count = 3
    width: Count = 64  # of a layer, all heads together
    form: Literal["paper", "plain"] = "paper"
    deep: bool = True
    wide: bool = False

    def columns(self, num_fields: int) -> tuple[int, int]:
        """An embedding, and first-order weights if `wide`."""
        return self.embed_dim, self.num_outputs if self.wide else 0

    def check(self, num_fields: int) -> None:
        """The heads share the width evenly."""
        if self.width % self.heads:
            raise UserError(
                f"--config.model.name=autoint: heads={self.heads} must divide width={self.width}, "
                "as in "
                f"autoint(heads={self.heads},width={self.heads * max(1, self.width // self.heads)})"
            )

    @nn.compact
    def __call__(self, rows: jax.Array, *, train: bool) -> jax.Array:
        """[B, F, D] or [B, F, D + C] -> logits [B, C]."""
        e = rows[..., : self.embed_dim]
        if self.form == "paper":
            x = e
            for i in range(self.layers):
                layer = Attention(self.heads, self.width, False, name=f"Attention_{i}")
                x = nn.relu(layer(x) + _dense(self.width, False, f"residual_{i}")(x))
        else:
            x = _dense(self.width, True, "projection")(e)
            for i in range(self.layers):
                x = Attention(self.heads, self.width, True, name=f"Attention_{i}")(x)
                x = _dense(self.width, True, f"output_{i}")(x)
            x = nn.relu(x + _dense(self.width, True, "residual")(e))
        parts = [x.reshape(x.shape[0], -1)]
        if self.deep:
            parts.append(self.mlp(rows, train=train))
        logits = self.output(*parts)
        return logits + self.linear(rows) if self.wide else logits


class Attention(nn.Module):
    """Multi-head self-attention among fields, Eq. (5)-(6). [B, F, any] -> [B, F, width]."""

    heads: int
    width: int
    plain: bool  # with biases, and scores over the root of their width

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, F, any] -> [B, F, width]."""
        q, k, v = (
            _dense(self.width, self.plain, name)(x).reshape(*x.shape[:-1], self.heads, -1)
            for name in ("query", "key", "value")
        )
        scale = q.shape[-1] ** -0.5 if self.plain else 1
        return attention(q * scale, k, v).reshape(*x.shape[:-1], self.width)


def _dense(width: int, use_bias: bool, name: str) -> nn.Dense:
    return nn.Dense(width, use_bias, kernel_init=nn.initializers.glorot_normal(), name=name)
