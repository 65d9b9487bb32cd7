"""AFN, the adaptive factorisation network (Cheng et al., AAAI 2020)."""

from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from autoloss_jax.config.specs import Count
from autoloss_jax.models.recommender import Recommender


class AFN(Recommender):
    """MLP over `neurons` products of powers of the embeddings, exp(sum_i w_i ln |e_i|), Eq.
    (5)-(7).

    `form=paper`, the default: |e| is at least 1e-5, and the logarithms and the products are
    normalised, each field and each neuron over batch and D. `form=shifted`, torchfm's: exp(sum_i
    w_i ln(1 + |e_i|)) - 1 and a ReLU, without either normalisation. `deep=true` is AFN+: an MLP
    over embeddings of its own beside. `wide=true` adds first-order terms.
    """

    neurons: Count = 256
    form: Literal["paper", "shifted"] = "paper"
    deep: bool = False
    wide: bool = False

    def columns(self, num_fields: int) -> tuple[int, int]:
        """An embedding, one more if `deep`, and first-order weights if `wide`."""
        return (1 + self.deep) * self.embed_dim, self.num_outputs if self.wide else 0

    @nn.compact
    def __call__(self, rows: jax.Array, *, train: bool) -> jax.Array:
        """[B, F, R] -> logits [B, C]."""
        num_rows, num_fields, _ = rows.shape
        e = jnp.abs(rows[..., : self.embed_dim])
        init = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
        kernel = self.param("kernel", init, (num_fields, self.neurons))
        if self.form == "paper":
            x = self.norm(jnp.log(jnp.maximum(e, 1e-5)), train=train, axis=1)
            x = self.norm(jnp.exp(jnp.einsum("bfd,fn->bnd", x, kernel)), train=train, axis=1)
        else:
            x = nn.relu(jnp.expm1(jnp.einsum("bfd,fn->bnd", jnp.log1p(e + 1e-7), kernel)))
        parts = [self.mlp(x.reshape(num_rows, -1), train=train)]
        if self.deep:
            parts.append(self.mlp(rows[..., self.embed_dim :], train=train))
        logits = self.output(*parts)
        return logits + self.linear(rows) if self.wide else logits
