"""Members that train together in one program end where each would have ended alone; a search
that ends before training does.
"""

import jax
import numpy as np
import pytest

from autoloss_jax import config
from autoloss_jax.algorithm import scan
from autoloss_jax.data.load import device
from autoloss_jax.data.load.shuffle import Order
from autoloss_jax.distributed import sharding
from autoloss_jax.models.embeddings.lookup import Table
from autoloss_jax.training.run import Run

pytestmark = pytest.mark.slow

FIELDS, BATCH, EXAMPLES, EVERY, STEPS = 4, 32, 320, 3, 140


def problem(embedding):
    """(Config, AutoLoss, feed) of made-up data."""
    rng = np.random.default_rng(0)
    x = (rng.zipf(1.4, (EXAMPLES, FIELDS)) % 150 + 150 * np.arange(FIELDS)).astype(np.int32)
    split = {"x": x, "y": rng.integers(0, 2, EXAMPLES).astype(np.int32)}
    cfg = config.Config(
        model=config.Model(embed_dim=3, hidden=(8,)),
        method=config.Method(hidden=(8,), every=EVERY),
        optimizer=config.Optimizer(embedding=embedding),
        train=config.Train(batch_size=BATCH),
    )
    al = Run.of(cfg).build(2, Table((150,) * FIELDS), total_steps=STEPS)
    mesh, order = sharding.make_mesh(), {n: Order(n, EXAMPLES, BATCH) for n in ("train", "val")}
    return cfg, al, device.Resident(mesh, order, dict.fromkeys(order, device.put(mesh, (split,))))


def test_a_controller_that_has_searched_its_steps_stands_still_and_the_recommender_learns_on():
    cfg, al, feed = problem("sparse_adam")
    program = scan.train_block(al, feed, EVERY)
    never = scan.train_block(al, feed, every=10 * STEPS)
    for searched in (49, 51):  # between two controller updates, and at one, which is no longer done
        ended = Run.of(cfg).initial_state(al)
        for stop in (20, 50, STEPS):
            ended = program(ended, feed.splits, np.int32(stop), np.int32(searched))
        half = program(Run.of(cfg).initial_state(al), feed.splits, np.int32(searched))
        theta = jax.tree.map(np.asarray, half.controller.params)
        alone = never(half, feed.splits, np.int32(STEPS))
        assert int(ended.step) == STEPS
        assert jax.tree.all(jax.tree.map(np.array_equal, ended.controller.params, theta))
        assert jax.tree.all(jax.tree.map(np.array_equal, ended.drs, alone.drs))
