"""What torchfm (PyPI) computes, for tests/test_parity.py: live where torch is installed, else
from the files here.

python -m tests.golden.reference        writes NAME.npz beside itself; needs torch and torchfm
"""

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

FOLDER = Path(__file__).parent


class Case(NamedTuple):
    """One of our models, and torchfm's that computes the same."""

    spec: str
    torchfm: str
    arguments: Callable  # (D, hidden) -> what follows field_dims


CASES = {
    "afm": Case(
        "afm(width=5)",
        "afm.AttentionalFactorizationMachineModel",
        lambda d, hidden: (d, 5, (0.0, 0.0)),
    ),
    "afn": Case(
        "afn(neurons=5,form=shifted,wide=true)",
        "afn.AdaptiveFactorizationNetwork",
        lambda d, hidden: (d, 5, hidden, (0.0,)),
    ),
    "autoint": Case(
        "autoint(form=plain,heads=2,layers=2,width=6,wide=true)",
        "afi.AutomaticFeatureInteractionModel",
        lambda d, hidden: (d, 6, 2, 2, hidden, (0.0, 0.0, 0.0)),
    ),
    "dcn": Case(
        "dcn(layers=2)", "dcn.DeepCrossNetworkModel", lambda d, hidden: (d, 2, hidden, 0.0)
    ),
    "deepfm": Case(
        "deepfm", "dfm.DeepFactorizationMachineModel", lambda d, hidden: (d, hidden, 0.0)
    ),
    "ffm": Case("ffm", "ffm.FieldAwareFactorizationMachineModel", lambda d, hidden: (d,)),
    "fm": Case("fm", "fm.FactorizationMachineModel", lambda d, hidden: (d,)),
    "fnfm": Case(
        "fnfm",
        "fnfm.FieldAwareNeuralFactorizationMachineModel",
        lambda d, hidden: (d, hidden, (0.0, 0.0)),
    ),
    "fnn": Case(
        "fnn", "fnn.FactorizationSupportedNeuralNetworkModel", lambda d, hidden: (d, hidden, 0.0)
    ),
    "ipnn": Case("ipnn", "pnn.ProductNeuralNetworkModel", lambda d, hidden: (d, hidden, 0.0)),
    "lr": Case("lr", "lr.LogisticRegressionModel", lambda d, hidden: ()),
    "ncf": Case(
        "ncf(user=2,item=0)",
        "ncf.NeuralCollaborativeFiltering",
        lambda d, hidden: (2, 0, d, hidden, 0.0),
    ),
    "nfm": Case(
        "nfm", "nfm.NeuralFactorizationMachineModel", lambda d, hidden: (d, hidden, (0.0, 0.0))
    ),
    "opnn": Case(
        "opnn", "pnn.ProductNeuralNetworkModel", lambda d, hidden: (d, hidden, 0.0, "outer")
    ),
    "wide_deep": Case("wide_deep", "wd.WideAndDeepModel", lambda d, hidden: (d, hidden, 0.0)),
    "xdeepfm": Case(
        "xdeepfm(cin=4x6,activation=relu)",
        "xdfm.ExtremeDeepFactorizationMachineModel",
        lambda d, hidden: (d, hidden, 0.0, (4, 6), False),
    ),
    "xdeepfm_split": Case(
        "xdeepfm(cin=4x6,activation=relu,split=true)",
        "xdfm.ExtremeDeepFactorizationMachineModel",
        lambda d, hidden: (d, hidden, 0.0, (4, 6), True),
    ),
}
TRAINED = "deepfm"


def compute(
    name: str, seed: int = 0, field_dims=(7, 5, 9, 4), embed_dim=4, hidden=(8, 6), batch=64, steps=1
) -> dict[str, np.ndarray]:
    """Weights and logits in both modes (dropout off) of a torchfm model; then `steps` steps of
    Adam on cross-entropy.
    """
    import torch

    torch.manual_seed(seed)
    module, kind = CASES[name].torchfm.split(".")
    model = getattr(importlib.import_module(f"torchfm.model.{module}"), kind)(
        field_dims, *CASES[name].arguments(embed_dim, hidden)
    )
    shake(model)
    rng = np.random.default_rng(seed)
    x = np.stack([rng.integers(0, d, (steps, batch)) for d in field_dims], axis=-1)
    y = rng.integers(0, 2, (steps, batch))
    out = {"x": x, "y": y, "field_dims": np.asarray(field_dims), "hidden": np.asarray(hidden)}
    out |= {f"start/{k}": v.numpy().copy() for k, v in model.state_dict().items()}
    out |= both_modes(lambda: model(torch.tensor(x[0])), model)
    if steps == 1:
        return out
    out["losses"] = np.asarray(list(_train(model, x, y)))
    return out | {f"end/{k}": v.detach().numpy().copy() for k, v in model.state_dict().items()}


def save(name: str, data: dict[str, np.ndarray]) -> None:
    """Write NAME.npz; its weights are one array, since as many files in a zip would be four
    times as large.
    """
    weights = {k: v for k, v in data.items() if "/" in k and not k.endswith("num_batches_tracked")}
    layout = json.dumps({k: v.shape for k, v in weights.items()})
    flat = np.concatenate([v.astype(np.float32).ravel() for v in weights.values()])
    rest = {k: v for k, v in data.items() if "/" not in k}
    np.savez_compressed(FOLDER / f"{name}.npz", layout=np.asarray(layout), weights=flat, **rest)


def load(name: str) -> dict[str, np.ndarray]:
    """What `save` wrote."""
    data = dict(np.load(FOLDER / f"{name}.npz"))
    layout, weights, start = json.loads(str(data.pop("layout"))), data.pop("weights"), 0
    for key, shape in layout.items():
        size = int(np.prod(shape))
        data[key] = weights[start : start + size].reshape(shape)
        start += size
    return data


def shake(model) -> None:
    """Random numbers in every parameter and running statistic, around what they start from."""
    import torch

    with torch.no_grad():
        for module in model.modules():
            scale = 1.0 if isinstance(module, torch.nn.BatchNorm1d | torch.nn.LayerNorm) else 0.0
            for key, parameter in module.named_parameters(recurse=False):
                if parameter.is_floating_point():
                    parameter.copy_(0.3 * torch.randn_like(parameter) + scale * (key == "weight"))
        for key, buffer in model.named_buffers():
            if key.endswith("running_mean"):
                buffer.copy_(torch.randn_like(buffer))
            if key.endswith("running_var"):
                buffer.copy_(0.5 + torch.rand_like(buffer))


def both_modes(probabilities, model) -> dict[str, np.ndarray]:
    """The logits of probabilities() with the model in evaluation and in training; it stays as it
    was.
    """
    import torch

    def logits():
        return torch.logit(probabilities().double()).numpy().reshape(-1)

    with torch.no_grad():
        model.eval()
        evaluated = logits()
        model.train()
        saved = {k: v.clone() for k, v in model.state_dict().items()}
        trained = logits()
        model.load_state_dict(saved)
    return {"logits_eval": evaluated, "logits_train": trained}


def _train(model, x, y):
    import torch

    model.linear.bias.requires_grad_(
        False
    )  # beside the output's bias it would make the sum of both move twice as fast
    adam = torch.optim.Adam(model.parameters(), lr=1e-3)
    for ids, labels in zip(x, y, strict=True):
        loss = torch.nn.functional.binary_cross_entropy(
            model(torch.tensor(ids)), torch.tensor(labels, dtype=torch.float32)
        )
        adam.zero_grad()
        loss.backward()
        adam.step()
        yield loss.item()


if __name__ == "__main__":
    for name in CASES:
        size = {"batch": 64, "steps": 20} if name == TRAINED else {"batch": 16}
        save(name, compute(name, **size))
