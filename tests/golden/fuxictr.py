"""What FuxiCTR computes, for tests/test_parity.py.

    python -m tests.golden.fuxictr MODEL_ZOO

writes NAME.npz beside itself. MODEL_ZOO is that folder of FuxiCTR's repository (its models are
no part of the package); the package, with what it needs, must be importable.
"""

import importlib.util
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tests.golden import reference

FIELD_DIMS, EMBED_DIM, HIDDEN = (7, 5, 9, 4), 4, (8, 6)


class Case(NamedTuple):
    """One of our models, and FuxiCTR's that computes the same with these arguments."""

    spec: str
    kind: str  # FILE.CLASS in model_zoo
    arguments: dict
    batch_norm: bool = True


DNN = {"dnn_hidden_units": list(HIDDEN), "batch_norm": True}
PARALLEL = {"parallel_dnn_hidden_units": list(HIDDEN), "batch_norm": True, "num_cross_layers": 2}
STACKED = {"stacked_dnn_hidden_units": list(HIDDEN), "batch_norm": True, "num_cross_layers": 2}
TWO_MLPS = {
    "mlp1_hidden_units": list(HIDDEN),
    "mlp2_hidden_units": [10, 4],
    "mlp1_batch_norm": True,
    "mlp2_batch_norm": True,
    "fs_hidden_units": [5],
    "num_heads": 2,
}
BLOCKS = {"block1_hidden_units": list(HIDDEN), "block2_hidden_units": list(HIDDEN)}

CASES = {
    "fuxictr_afn": Case(
        "afn(neurons=5,deep=true)",
        "AFN.AFN",
        {
            "afn_hidden_units": list(HIDDEN),
            "dnn_hidden_units": list(HIDDEN),
            "logarithmic_neurons": 5,
            "ensemble_dnn": True,
        },
    ),
    "fuxictr_autoint": Case(
        "autoint(heads=2,layers=2,width=6,wide=true)",
        "AutoInt.AutoInt",
        DNN | {"attention_layers": 2, "num_heads": 2, "attention_dim": 6, "use_wide": True},
    ),
    "fuxictr_xdeepfm": Case(
        "xdeepfm(cin=4x6)",
        "xDeepFM.xDeepFM",
        {"dnn_hidden_units": list(HIDDEN), "batch_norm": True, "cin_hidden_units": [4, 6]},
    ),
    "dcnv2": Case("dcnv2(layers=2)", "DCNv2.DCNv2", PARALLEL),
    "dcnv2_stacked": Case(
        "dcnv2(layers=2,structure=stacked)", "DCNv2.DCNv2", STACKED | {"model_structure": "stacked"}
    ),
    "dcnv2_mixture": Case(
        "dcnv2(layers=2,cross=mixture,rank=3,experts=2)",
        "DCNv2.DCNv2",
        PARALLEL | {"use_low_rank_mixture": True, "low_rank": 3, "num_experts": 2},
    ),
    "dlrm": Case("dlrm", "DLRM.DLRM", {"top_mlp_units": list(HIDDEN), "batch_norm": True}),
    "fibinet_all": Case(
        "fibinet(bilinear=all)",
        "FiBiNET.FiBiNET",
        {"hidden_units": list(HIDDEN), "batch_norm": True, "bilinear_type": "field_all"},
    ),
    "fibinet_each": Case(
        "fibinet(bilinear=each,reduction=2)",
        "FiBiNET.FiBiNET",
        {
            "hidden_units": list(HIDDEN),
            "batch_norm": True,
            "bilinear_type": "field_each",
            "reduction_ratio": 2,
        },
    ),
    "fibinet": Case(
        "fibinet", "FiBiNET.FiBiNET", {"hidden_units": list(HIDDEN), "batch_norm": True}
    ),
    "finalmlp": Case("finalmlp(second=10x4,heads=2,gate_width=5)", "FinalMLP.FinalMLP", TWO_MLPS),
    "finalmlp_context": Case(
        "finalmlp(second=10x4,heads=2,gate_width=5,context1=2,context2=0)",
        "FinalMLP.FinalMLP",
        TWO_MLPS | {"fs1_context": ["f2"], "fs2_context": ["f0"]},
    ),
    "finalnet": Case(
        "finalnet(gating=true)", "FinalNet.FinalNet", BLOCKS | {"use_feature_gating": True}
    ),
    "finalnet_sum": Case(
        "finalnet(blocks=1,residual=sum,activation=relu)",
        "FinalNet.FinalNet",
        BLOCKS | {"block_type": "1B", "residual_type": "sum", "block1_hidden_activations": "ReLU"},
    ),
    "gdcn": Case("gdcn(layers=2)", "GDCN.GDCNP", DNN | {"num_cross_layers": 2}),
    "gdcn_stacked": Case(
        "gdcn(layers=2,structure=stacked)", "GDCN.GDCN", DNN | {"num_cross_layers": 2}
    ),
    "masknet": Case(
        "masknet(ratio=2)",
        "MaskNet.MaskNet",
        {"dnn_hidden_units": list(HIDDEN), "reduction_ratio": 2},
    ),
    "masknet_parallel": Case(
        "masknet(form=parallel,blocks=2,width=5)",
        "MaskNet.MaskNet",
        {
            "model_type": "ParallelMaskNet",
            "dnn_hidden_units": list(HIDDEN),
            "parallel_num_blocks": 2,
            "parallel_block_dim": 5,
        },
        batch_norm=False,
    ),
}


def compute(name: str, model_zoo: Path, seed: int = 0, batch: int = 16) -> dict[str, np.ndarray]:
    """Weights, and logits in both modes, of a model of FuxiCTR without dropout."""
    import torch
    from fuxictr.features import FeatureMap

    torch.manual_seed(seed)
    features = FeatureMap("golden", ".")
    for i, size in enumerate(FIELD_DIMS):
        features.features[f"f{i}"] = {"source": "", "type": "categorical", "vocab_size": size}
    features.num_fields, features.default_emb_dim, features.labels = (
        len(FIELD_DIMS),
        EMBED_DIM,
        ["label"],
    )
    file, kind = CASES[name].kind.split(".")
    spec = importlib.util.spec_from_file_location(file, model_zoo / file / "src" / f"{file}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    settings = {
        "optimizer": "adam",
        "loss": "binary_crossentropy",
        "metrics": ["AUC"],
        "verbose": 0,
    }
    model = getattr(module, kind)(
        features, embedding_dim=EMBED_DIM, model_root=".", **settings, **CASES[name].arguments
    )
    reference.shake(model)
    rng = np.random.default_rng(seed)
    x = np.stack([rng.integers(0, d, (1, batch)) for d in FIELD_DIMS], axis=-1)
    out = {"x": x, "field_dims": np.asarray(FIELD_DIMS), "hidden": np.asarray(HIDDEN)}
    out |= {
        f"start/{k}": v.numpy().copy() for k, v in model.state_dict().items() if "triu" not in k
    }
    ids = {f"f{i}": torch.tensor(x[0, :, i]) for i in range(len(FIELD_DIMS))}
    return out | reference.both_modes(lambda: model(ids)["y_pred"], model)


if __name__ == "__main__":
    for name in CASES:
        reference.save(name, compute(name, Path(sys.argv[1])))
