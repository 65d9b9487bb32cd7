"""NCF, neural collaborative filtering: NeuMF (He et al., WWW 2017)."""

import jax
from flax import linen as nn

from autoloss_jax.config.errors import UserError
from autoloss_jax.config.specs import Index
from autoloss_jax.models.recommender import Recommender


class NCF(Recommender):
    """A dense layer over [e_user * e_item; MLP], Eq. (12).

    The paper has two fields, and an embedding for the product apart from that for the MLP:
    `separate=true`, at the cost of a table twice as wide. The default is torchfm's: one
    embedding serves both. With more than two fields the MLP sees them all, or, with
    `context=false`, the user and the item alone.
    """

    user: Index = 0  # the positions of both fields
    item: Index = 1
    separate: bool = False
    context: bool = True

    def columns(self, num_fields: int) -> tuple[int, int]:
        """An embedding, or two."""
        return (1 + self.separate) * self.embed_dim, 0

    def check(self, num_fields: int) -> None:
        """There are two fields, a user's and an item's."""
        if self.user == self.item or max(self.user, self.item) >= num_fields:
            raise UserError(
                f"--config.model.name=ncf: user={self.user} and item={self.item} must be two of "
                f"the data's {num_fields} fields, counted from 0, as in ncf(user=0,item=1)"
            )

    @nn.compact
    def __call__(self, rows: jax.Array, *, train: bool) -> jax.Array:
        """[B, F, D] or [B, F, 2 D] -> logits [B, C]."""
        d, pair = self.embed_dim, (self.user, self.item)
        deep = rows[..., d:] if self.separate else rows
        if not self.context:
            deep = deep[:, pair, :]
        product = rows[:, self.user, :d] * rows[:, self.item, :d]
        return self.output(product, self.mlp(deep, train=train))
