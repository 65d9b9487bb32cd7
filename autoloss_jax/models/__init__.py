"""Recommenders: Flax modules from rows [B, F, R] to logits [B, C], one file a paper."""

import jax.numpy as jnp
from flax import linen as nn

from autoloss_jax import config
from autoloss_jax.models.deepfm import DeepFM
from autoloss_jax.models.ipnn import IPNN


def make(model: config.Model, num_outputs: int) -> nn.Module:
    """The module that `model` names, with `num_outputs` logits; UserError for an unknown name."""
    if model.name not in MODELS:
        raise config.UserError(
            f"--config.model.name={model.name!r}: not one of {', '.join(MODELS)}{config.nearest(model.name, list(MODELS))}"
        )
    return MODELS[model.name](
        num_outputs=num_outputs,
        embed_dim=model.embed_dim,
        hidden=model.hidden,
        dropout=model.dropout,
        batch_norm=model.batch_norm,
        dtype=jnp.bfloat16 if model.compute == "bfloat16" else None,
    )


MODELS = {"deepfm": DeepFM, "ipnn": IPNN}
