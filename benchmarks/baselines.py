"""The same training in PyTorch: python -m benchmarks.baselines NAME WORKLOAD speaks the protocol of
`worker.py`.

DeepFM is torchfm's, trained as its example trains it, or put together from FuxiCTR's layers and
trained by its `train_step`. AutoLoss over torchfm is written as DARTS writes a bilevel search:
the controller's gradient is a finite difference along the validation gradient, two more passes
of the train batch.
"""

import importlib
import sys
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from benchmarks import worker, workload
from benchmarks.workload import Workload

XI, RATE, TAU = 1e-3, 1e-3, 0.5


def build(name: str, work: Workload) -> Callable[[int], None]:
    """A function that does so many steps."""
    import torch

    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high")  # TF32 on a GPU, as ours
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dims = workload.field_dims(work)
    ids, labels = workload.examples(work)
    order = np.random.default_rng(1).permutation(len(labels))[
        : len(labels) // work.batch_size * work.batch_size
    ]
    ids = (ids - (np.cumsum(dims) - dims))[order].reshape(-1, work.batch_size, work.num_fields)
    x = torch.tensor(ids, dtype=torch.long, device=device)
    y = torch.tensor(labels[order].reshape(-1, work.batch_size), dtype=torch.float32, device=device)
    name, _, kind = name.partition("@")
    model = None if name == "fuxictr" else MODELS[kind or "deepfm"].make(dims, work).to(device)
    fused = name not in ("torchfm", "torch-autoloss")
    if name == "fuxictr":
        step = _fuxictr(dims, work, device)
    elif name == "torchfm-forward":
        step = _forward(model)
    elif name.startswith("torch-autoloss"):
        step = _autoloss(model, work, fused)
    else:
        step = _cross_entropy(model, sparse=name == "torchfm-sparse", fused=fused)
    count = 0

    def run(steps: int) -> None:
        nonlocal count
        for _ in range(steps):
            count += 1
            step(
                count, x[count % len(x)], y[count % len(x)], x[-count % len(x)], y[-count % len(x)]
            )
        if device == "cuda":
            torch.cuda.synchronize()

    return run


class Model(NamedTuple):
    """A model of torchfm, and the spec that makes ours compute the same."""

    spec: str
    path: str  # FILE.CLASS
    arguments: Callable[[Workload], tuple]  # what follows the fields' sizes

    def make(self, dims, work):
        """A torch module."""
        file, kind = self.path.split(".")
        return getattr(importlib.import_module(f"torchfm.model.{file}"), kind)(
            dims, *self.arguments(work)
        )


def _mlp(w: Workload) -> tuple:
    return w.embed_dim, w.hidden, w.dropout


MODELS = {
    "afm": Model(
        "afm(width=16)",
        "afm.AttentionalFactorizationMachineModel",
        lambda w: (w.embed_dim, 16, (w.dropout, w.dropout)),
    ),
    "afn": Model(
        "afn(neurons=256,form=shifted,wide=true)",
        "afn.AdaptiveFactorizationNetwork",
        lambda w: (w.embed_dim, 256, w.hidden, (w.dropout,) * 3),
    ),
    "autoint": Model(
        "autoint(form=plain,heads=2,layers=3,width=64,wide=true)",
        "afi.AutomaticFeatureInteractionModel",
        lambda w: (w.embed_dim, 64, 2, 3, w.hidden, (w.dropout,) * 3),
    ),
    "dcn": Model(
        "dcn(layers=3)",
        "dcn.DeepCrossNetworkModel",
        lambda w: (w.embed_dim, 3, w.hidden, w.dropout),
    ),
    "deepfm": Model("deepfm", "dfm.DeepFactorizationMachineModel", _mlp),
    "ffm": Model("ffm", "ffm.FieldAwareFactorizationMachineModel", lambda w: (w.embed_dim,)),
    "fm": Model("fm", "fm.FactorizationMachineModel", lambda w: (w.embed_dim,)),
    "fnfm": Model(
        "fnfm",
        "fnfm.FieldAwareNeuralFactorizationMachineModel",
        lambda w: (w.embed_dim, w.hidden, (w.dropout, w.dropout)),
    ),
    "fnn": Model("fnn", "fnn.FactorizationSupportedNeuralNetworkModel", _mlp),
    "ipnn": Model("ipnn", "pnn.ProductNeuralNetworkModel", _mlp),
    "lr": Model("lr", "lr.LogisticRegressionModel", lambda w: ()),
    "ncf": Model(
        "ncf(user=0,item=1)",
        "ncf.NeuralCollaborativeFiltering",
        lambda w: (0, 1, w.embed_dim, w.hidden, w.dropout),
    ),
    "nfm": Model(
        "nfm",
        "nfm.NeuralFactorizationMachineModel",
        lambda w: (w.embed_dim, w.hidden, (w.dropout, w.dropout)),
    ),
    "opnn": Model("opnn", "pnn.ProductNeuralNetworkModel", lambda w: (*_mlp(w), "outer")),
    "wide_deep": Model("wide_deep", "wd.WideAndDeepModel", _mlp),
    "xdeepfm": Model(
        "xdeepfm(cin=16x16,activation=relu)",
        "xdfm.ExtremeDeepFactorizationMachineModel",
        lambda w: (*_mlp(w), (16, 16), False),
    ),
}


def _fuxictr(dims, work, device):
    import torch
    from fuxictr.features import FeatureMap
    from fuxictr.pytorch.layers import FactorizationMachine, FeatureEmbedding, MLP_Block
    from fuxictr.pytorch.models import BaseModel

    features = FeatureMap("benchmark", "")
    features.labels = ["y"]
    for i, dim in enumerate(dims.tolist()):
        features.features[f"f{i}"] = {"type": "categorical", "source": "", "vocab_size": dim}
    features.num_fields = work.num_fields
    features.default_emb_dim = work.embed_dim

    class DeepFM(BaseModel):
        def __init__(self):
            super().__init__(
                features,
                gpu=0 if device == "cuda" else -1,
                verbose=0,
                model_root="",
                metrics=["AUC"],
            )
            self.embedding = FeatureEmbedding(features, work.embed_dim)
            self.fm = FactorizationMachine(features)
            self.mlp = MLP_Block(
                input_dim=work.num_fields * work.embed_dim,
                output_dim=1,
                hidden_units=list(work.hidden),
                dropout_rates=work.dropout,
                batch_norm=True,
            )

        def forward(self, inputs):
            x = self.get_inputs(inputs)
            e = self.embedding(x)
            return {
                "y_pred": self.output_activation(self.fm(x, e) + self.mlp(e.flatten(start_dim=1)))
            }

    model = DeepFM()
    model.compile("adam", "binary_crossentropy", RATE)
    model.reset_parameters()
    model.to(device)
    model._max_gradient_norm = torch.inf  # set by its fit()

    def step(count, x, y, val_x, val_y):
        model.train_step({f"f{i}": x[:, i] for i in range(work.num_fields)} | {"y": y})

    return step


def _forward(model):
    import torch

    model.eval()

    def step(count, x, y, val_x, val_y):
        with torch.inference_mode():
            model(x)

    return step


def _cross_entropy(model, *, sparse, fused):
    import torch

    tables = [model.embedding.embedding, model.linear.fc] if sparse else []
    rest = {id(p) for p in model.parameters()} - {id(t.weight) for t in tables} if sparse else None
    dense = [p for p in model.parameters() if rest is None or id(p) in rest]
    optimizers: list[torch.optim.Optimizer] = [torch.optim.Adam(dense, lr=RATE, fused=fused)]
    if sparse:
        for table in tables:
            table.sparse = True
        optimizers.append(torch.optim.SparseAdam([t.weight for t in tables], lr=RATE))

    def step(count, x, y, val_x, val_y):
        loss = torch.nn.functional.binary_cross_entropy(model(x), y)
        model.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()

    return step


def _controller(hidden, dropout, device):
    from torch import nn

    layers, width = [], 2
    for size in hidden:
        layers += [nn.Linear(width, size), nn.BatchNorm1d(size), nn.ReLU(), nn.Dropout(dropout)]
        width = size
    return nn.Sequential(*layers, nn.Linear(width, 4), nn.LogSoftmax(-1)).to(device)


def _candidates(p, y):
    """Focal, KL against smoothed labels, hinge and cross-entropy, each [B], of probabilities."""
    import torch

    p = p.clamp(1e-7, 1 - 1e-7)
    of_label = torch.where(y == 1, p, 1 - p)
    ce = -torch.log(of_label)
    smooth = 0.9 * y + 0.05
    kl = torch.special.xlogy(smooth, smooth / p) + torch.special.xlogy(
        1 - smooth, (1 - smooth) / (1 - p)
    )
    hinge = torch.relu(1 - (2 * y - 1) * torch.logit(p))
    return torch.stack([(1 - of_label) ** 2 * ce, kl, hinge, ce], dim=-1)


def _autoloss(model, work, fused):
    import torch

    controller = _controller((128, 128), 0.2, next(model.parameters()).device)
    W, V = list(model.parameters()), list(controller.parameters())
    of_W = torch.optim.Adam(W, lr=RATE, fused=fused)
    of_V = torch.optim.Adam(V, lr=RATE, fused=fused)

    def mixed(x, y):
        p = model(x)
        log_alpha = controller(torch.stack([y, p.detach()], dim=-1))
        weights = torch.nn.functional.gumbel_softmax(log_alpha, TAU)
        return (weights * _candidates(p, y)).sum(-1).mean()

    def search(x, y, val_x, val_y):
        kept = [w.detach().clone() for w in W]
        gradient = torch.autograd.grad(mixed(x, y), W)
        with torch.no_grad():
            torch._foreach_add_(W, gradient, alpha=-XI)
        val_loss = torch.nn.functional.binary_cross_entropy(model(val_x), val_y)
        v = torch.autograd.grad(val_loss, W)
        size = 0.01 / torch.nn.utils.get_total_norm(v).item()
        sides = []
        for sign in (1, -1):
            with torch.no_grad():
                torch._foreach_copy_(W, kept)
                torch._foreach_add_(W, v, alpha=sign * size)
            sides.append(torch.autograd.grad(mixed(x, y), V))
        with torch.no_grad():
            torch._foreach_copy_(W, kept)
        for p, plus, minus in zip(V, *sides, strict=True):
            p.grad = -XI * (plus - minus) / (2 * size)
        of_V.step()

    def step(count, x, y, val_x, val_y):
        if (count - 1) % work.every == 0:
            search(x, y, val_x, val_y)
        gradient = torch.autograd.grad(mixed(x, y), W)
        for w, g in zip(W, gradient, strict=True):
            w.grad = g
        of_W.step()

    return step


def _peak_bytes() -> int | None:
    import torch

    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None


if __name__ == "__main__":
    worker.serve(sys.argv[1], sys.argv[2], build, _peak_bytes, warm_up=8)
