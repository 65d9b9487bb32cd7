"""What torchfm (PyPI) computes, for tests/test_parity.py: live where torch is installed, else from the files here.

python tests/golden/reference.py        writes deepfm.npz and ipnn.npz beside itself; needs torch and torchfm
"""

from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent
MODELS = ("deepfm", "ipnn")


def compute(
    name: str, seed: int = 0, field_dims=(7, 5, 9, 4), embed_dim=4, hidden=(8, 6), batch=64, steps=20
) -> dict[str, np.ndarray]:
    """Weights, logits in both modes, and `steps` steps of Adam on cross-entropy (dropout off) of a torchfm model."""
    import torch
    from torchfm.model.dfm import DeepFactorizationMachineModel
    from torchfm.model.pnn import ProductNeuralNetworkModel

    torch.manual_seed(seed)
    model = {"deepfm": DeepFactorizationMachineModel, "ipnn": ProductNeuralNetworkModel}[name](
        field_dims, embed_dim, hidden, 0.0
    )
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            norm_scale = key in {f"mlp.mlp.{4 * i + 1}.weight" for i in range(len(hidden))}
            parameter.copy_(0.3 * torch.randn_like(parameter) + norm_scale)
        for key, buffer in model.named_buffers():
            if key.endswith("running_mean"):
                buffer.copy_(torch.randn_like(buffer))
            if key.endswith("running_var"):
                buffer.copy_(0.5 + torch.rand_like(buffer))
    rng = np.random.default_rng(seed)
    x = np.stack([rng.integers(0, d, (steps, batch)) for d in field_dims], axis=-1)
    y = rng.integers(0, 2, (steps, batch))
    out = {"x": x, "y": y, "field_dims": np.asarray(field_dims), "hidden": np.asarray(hidden)}
    out |= {f"start/{k}": v.numpy().copy() for k, v in model.state_dict().items()}

    def logits(ids):
        return torch.logit(model(ids).double())

    with torch.no_grad():
        model.eval()
        out["logits_eval"] = logits(torch.tensor(x[0])).numpy()
        model.train()
        saved = {k: v.clone() for k, v in model.state_dict().items()}
        out["logits_train"] = logits(torch.tensor(x[0])).numpy()
        model.load_state_dict(saved)
    out["losses"] = np.asarray(list(_train(model, x, y)))
    return out | {f"end/{k}": v.detach().numpy().copy() for k, v in model.state_dict().items()}


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
    for name in MODELS:
        np.savez_compressed(FOLDER / f"{name}.npz", **compute(name))
