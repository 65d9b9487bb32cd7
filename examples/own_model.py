"""A recommender of your own: any Flax Linen module, trained by AutoLoss as the command line
trains ours.

    .venv/bin/python -m examples.own_model

makes up a file in Criteo's format, trains `Gated` on it in seconds and prints its figures. The
command line takes the class by the same name, with its own options in parentheses; it is looked
for in the current folder and on PYTHONPATH:

    bash launch/run.sh --config=configs/quickstart.py:quick \\
        --config.model.name='examples.own_model:Gated(squeeze=16)'
"""

import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
from flax import linen as nn

from autoloss_jax import config
from autoloss_jax.data import synthetic
from autoloss_jax.search import train


class Gated(nn.Module):
    """Each field's embedding, times a gate that looks at all fields; then an MLP."""

    num_outputs: int  # this and the next three are the config's, by their names
    embed_dim: int
    hidden: tuple[int, ...]
    dropout: float
    squeeze: int = 8  # an option: the width of the gate's hidden layer

    @nn.compact
    def __call__(self, rows: jax.Array, *, train: bool) -> jax.Array:
        """Rows [B, F, D] -> logits [B, C]."""
        summary = nn.relu(nn.Dense(self.squeeze)(jnp.mean(rows, axis=-1)))
        gate = nn.sigmoid(nn.Dense(rows.shape[1])(summary))
        x = (rows * gate[..., None]).reshape(rows.shape[0], -1)
        for width in self.hidden:
            x = nn.relu(nn.Dense(width)(x))
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return nn.Dense(self.num_outputs)(x)


def main() -> None:
    """Train it on made-up clicks."""
    with tempfile.TemporaryDirectory() as folder:
        cfg = config.Config(
            data=config.Data(
                name="made-up", format="criteo", generate=8000, min_count=3, cache=folder
            ),
            model=config.Model(
                name="examples.own_model:Gated(squeeze=4)", embed_dim=8, hidden=(32,)
            ),
            temperature=config.Temperature(horizon=0),
            optimizer=config.Optimizer(learning_rate=0.01),
            train=config.Train(batch_size=200, epochs=2),
        )
        workdir = Path(folder) / "run"
        result = train.train(synthetic.generated(cfg, workdir, print), workdir)
    print(
        f"{result['model']}: test AUC {result['test']['auc']:.4f}, logloss "
        f"{result['test']['logloss']:.4f}"
    )


if __name__ == "__main__":
    main()
