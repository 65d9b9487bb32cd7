"""Recommenders: Flax modules from rows [B, F, R] to logits [B, C], one file a paper."""

import dataclasses
from typing import Any

import jax.numpy as jnp

from autoloss_jax import config, settings, specs
from autoloss_jax.models.afm import AFM
from autoloss_jax.models.afn import AFN
from autoloss_jax.models.autoint import AutoInt
from autoloss_jax.models.dcn import DCN
from autoloss_jax.models.dcnv2 import DCNv2
from autoloss_jax.models.deepfm import DeepFM
from autoloss_jax.models.dlrm import DLRM
from autoloss_jax.models.ffm import FFM
from autoloss_jax.models.fibinet import FiBiNET
from autoloss_jax.models.finalmlp import FinalMLP
from autoloss_jax.models.finalnet import FinalNet
from autoloss_jax.models.fm import FM
from autoloss_jax.models.fnfm import FNFM
from autoloss_jax.models.fnn import FNN
from autoloss_jax.models.gdcn import GDCN
from autoloss_jax.models.hofm import HOFM
from autoloss_jax.models.ipnn import IPNN
from autoloss_jax.models.lr import LR
from autoloss_jax.models.masknet import MaskNet
from autoloss_jax.models.ncf import NCF
from autoloss_jax.models.nfm import NFM
from autoloss_jax.models.opnn import OPNN
from autoloss_jax.models.recommender import Recommender
from autoloss_jax.models.wide_deep import WideDeep
from autoloss_jax.models.xdeepfm import XDeepFM


def make(model: config.Model, num_outputs: int, num_fields: int) -> Recommender:
    """The module that `model` names, with `num_outputs` logits.

    UserError for an unknown name or option, and for a model that cannot be built for so many fields.
    """
    kind, options = specs.parse(f"--config.model.name={model.name!r}", model.name, MODELS, _options)
    drs = kind(
        num_outputs=num_outputs,
        embed_dim=model.embed_dim,
        hidden=model.hidden,
        dropout=model.dropout,
        batch_norm=model.batch_norm,
        dtype=jnp.bfloat16 if model.compute == "bfloat16" else None,
        **options,
    )
    if num_fields < drs.least_fields():
        raise settings.UserError(
            f"--config.model.name={model.name!r}: wants at least {drs.least_fields()} fields, and the data has "
            f"{num_fields}; fnn, lr and others do with one"
        )
    drs.check(num_fields)
    return drs


def _options(kind: type[Recommender]) -> dict[str, tuple[Any, Any]]:
    common = {f.name for f in dataclasses.fields(Recommender)}
    return {f.name: (f.type, f.default) for f in dataclasses.fields(kind) if f.name not in common}


MODELS: dict[str, type[Recommender]] = {
    "afm": AFM,
    "afn": AFN,
    "autoint": AutoInt,
    "dcn": DCN,
    "dcnv2": DCNv2,
    "deepfm": DeepFM,
    "dlrm": DLRM,
    "ffm": FFM,
    "fibinet": FiBiNET,
    "finalmlp": FinalMLP,
    "finalnet": FinalNet,
    "fm": FM,
    "fnfm": FNFM,
    "fnn": FNN,
    "gdcn": GDCN,
    "hofm": HOFM,
    "ipnn": IPNN,
    "lr": LR,
    "masknet": MaskNet,
    "ncf": NCF,
    "nfm": NFM,
    "opnn": OPNN,
    "wide_deep": WideDeep,
    "xdeepfm": XDeepFM,
}
