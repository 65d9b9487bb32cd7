"""AutoLoss in a loop of your own: arrays in numpy, an optimiser of optax, no config and no
command line.

    .venv/bin/python -m examples.own_loop

An example has F ids, one a field; ids of all fields share one table, each field's after those
before it. A step moves W on a batch of train; where it is given a batch of validation, V moves
first, by the exact hypergradient.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from autoloss_jax.algorithm import fused, gumbel, losses
from autoloss_jax.algorithm.autoloss import AutoLoss
from autoloss_jax.algorithm.controller import Controller
from autoloss_jax.algorithm.networks import CandidateLosses, ControllerFn, RecommenderFn
from autoloss_jax.algorithm.state import Batch
from autoloss_jax.models.deepfm import DeepFM
from autoloss_jax.models.embeddings import optimizers
from autoloss_jax.models.embeddings.lookup import Table
from autoloss_jax.training import evaluation, metrics, states

VOCAB_SIZES, STEPS, BATCH, EVERY = (300, 200, 100), 300, 256, 3


def clicks(rows: int) -> dict[str, np.ndarray]:
    """Made-up examples, x int32[rows, F] and y int32[rows]: every id has its appeal."""
    random = np.random.default_rng(0)
    appeal = random.standard_normal(sum(VOCAB_SIZES))
    x = random.integers(0, VOCAB_SIZES, (rows, len(VOCAB_SIZES))) + np.cumsum(
        (0, *VOCAB_SIZES[:-1])
    )
    y = random.random(rows) < 1 / (1 + np.exp(-appeal[x].sum(axis=1)))
    return {"x": x.astype(np.int32), "y": y.astype(np.int32)}


def main() -> None:
    """Train on some of the examples, teach the controller on others, and test on the rest."""
    pool = (losses.ce, losses.focal, lambda z, y: jnp.square(jax.nn.sigmoid(z[:, 0]) - y))
    lion = optax.lion(optax.cosine_decay_schedule(3e-3, STEPS))
    al = AutoLoss(
        # any Linen module will do, in models.custom.Own
        recommender=RecommenderFn(DeepFM(num_outputs=1, embed_dim=8, hidden=(32,))),
        controller=ControllerFn(Controller(num_losses=3, hidden=(16,))),
        candidates=CandidateLosses(pool),
        weights=gumbel.gumbel_softmax,
        temperature=lambda step: jnp.maximum(0.01, 1 - step / STEPS),
        optimizer=optimizers.Dense(lion, Table(VOCAB_SIZES)),
        controller_optimizer=optax.adam(1e-3),
        val_loss=losses.ce,
    )
    data, random = clicks(40_000), np.random.default_rng(1)

    def rows(chosen: np.ndarray) -> Batch:
        return {name: jnp.asarray(a[chosen]) for name, a in data.items()}

    step = jax.jit(functools.partial(fused.train_step, al))
    state = states.fresh(al)
    for t in range(STEPS):
        val = rows(random.integers(30_000, 35_000, BATCH)) if t % EVERY == 0 else None
        state = step(state, rows(random.integers(0, 30_000, BATCH)), val)
    test = rows(np.arange(35_000, 40_000))
    logits, _ = jax.jit(functools.partial(evaluation.step, al))(state, test)
    print(f"test AUC {metrics.auc(data['y'][35_000:], np.asarray(logits)[:, 0]):.4f}")


if __name__ == "__main__":
    main()
