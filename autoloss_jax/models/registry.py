"""Recommenders: Flax modules from rows [B, F, R] to logits [B, C], one file a paper."""

import functools

import jax.numpy as jnp

from autoloss_jax import config
from autoloss_jax.config import specs
from autoloss_jax.config.errors import UserError
from autoloss_jax.models import custom
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
from autoloss_jax.models.members import Members
from autoloss_jax.models.ncf import NCF
from autoloss_jax.models.nfm import NFM
from autoloss_jax.models.opnn import OPNN
from autoloss_jax.models.recommender import Recommender
from autoloss_jax.models.wide_deep import WideDeep
from autoloss_jax.models.xdeepfm import XDeepFM


def make(model: config.Model, num_outputs: int, num_fields: int) -> Recommender | Members:
    """The module that `model` names, with `num_outputs` logits, or several as one.

    A name with a colon is a class of the user's own (models/custom.py). UserError for an unknown
    name or option, and for a model that cannot be built for so many fields.
    """
    where = f"--config.model.name={model.name!r}"
    kind, options = specs.parse(where, model.name, MODELS, functools.partial(custom.options, where))
    common = {
        "num_outputs": num_outputs,
        "embed_dim": model.embed_dim,
        "hidden": model.hidden,
        "dropout": model.dropout,
        "batch_norm": bool(model.batch_norm),
        "dtype": jnp.bfloat16 if model.compute == "bfloat16" else None,
        "members": model.members if model.shared else 1,
    }
    if ":" in model.name:
        drs: Recommender = custom.make(where, kind, common | {"num_fields": num_fields}, options)
    else:
        drs = kind(**common, **options)
    if num_fields < drs.least_fields():
        raise UserError(
            f"{where}: wants at least {drs.least_fields()} fields, and the data has "
            f"{num_fields}; fnn, lr and others do with one"
        )
    drs.check(num_fields)
    if model.members == 1:
        return drs
    if not drs.columns(num_fields)[0]:
        raise UserError(
            f"--config.model.members={model.members}: {kind.__name__} has no embeddings, so that "
            "all members would begin, and stay, alike; leave members out"
        )
    return Members(drs, model.members, model.shared)


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
