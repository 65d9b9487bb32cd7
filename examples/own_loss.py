"""A loss of your own among the candidates: the controller learns when to use it.

    .venv/bin/python -m examples.own_loss

trains DeepFM on made-up clicks with `soft_hinge` beside cross-entropy and focal loss, and prints
the mean weight that the controller came to give each. On the command line:

    bash launch/run.sh --config=configs/quickstart.py:quick \\
        --config.method.pool='ce,examples.own_loss:soft_hinge(margin=2)'
"""

import tempfile
from pathlib import Path

import jax

from autoloss_jax import config
from autoloss_jax.data import synthetic
from autoloss_jax.search import train
from autoloss_jax.training import report


def soft_hinge(logits: jax.Array, labels: jax.Array, *, margin: float = 1.0) -> jax.Array:
    """A hinge without a kink: log(1 + exp(margin - s z)), s = +-1. Logits [B, 1], labels int32[B]
    -> [B].
    """
    return jax.nn.softplus(margin - (2 * labels - 1) * logits[:, 0])


def main() -> None:
    """Train with it, and look at what the controller preferred."""
    with tempfile.TemporaryDirectory() as folder:
        cfg = config.Config(
            data=config.Data(
                name="made-up", format="criteo", generate=8000, min_count=3, cache=folder
            ),
            model=config.Model(embed_dim=8, hidden=(32,)),
            method=config.Method(
                pool=("ce", "focal", "examples.own_loss:soft_hinge(margin=2)"), every=1
            ),
            temperature=config.Temperature(horizon=0),
            optimizer=config.Optimizer(learning_rate=0.003, controller_learning_rate=0.01),
            train=config.Train(batch_size=200, epochs=2),
        )
        workdir = Path(folder) / "run"
        train.train(synthetic.generated(cfg, workdir, print), workdir)
        last = report.read_log(workdir / "metrics.jsonl")[-1]
    for name, weight in last["alpha"].items():
        print(f"{name}: mean weight {weight:.3f}")


if __name__ == "__main__":
    main()
