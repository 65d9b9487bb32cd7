"""Ours: python -m benchmarks.ours NAME WORKLOAD speaks the protocol of `worker.py`; it needs
jax, flax, optax and numpy.
"""

import sys
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from autoloss_jax import config
from autoloss_jax.algorithm import scan
from autoloss_jax.config import settings
from autoloss_jax.data.load import device
from autoloss_jax.data.load.shuffle import Order
from autoloss_jax.distributed import sharding
from autoloss_jax.models.embeddings.lookup import Table
from autoloss_jax.training.run import Run
from benchmarks import worker, workload
from benchmarks.workload import Workload

CONFIGS = {  # name -> config keys; the last word of a name may be a number of members
    "forward": {},
    "ce": {"method.name": "ce"},
    "ce-dense": {"method.name": "ce", "optimizer.embedding": "adam"},
    "ce-lazy": {"method.name": "ce", "optimizer.embedding": "lazy_adam"},
    "ce-adagrad": {"method.name": "ce", "optimizer.embedding": "rowwise_adagrad"},
    "ce-bfloat16": {"method.name": "ce", "model.compute": "bfloat16"},
    "al1": {"method.name": "al1"},
    "autoloss": {},
    "autoloss-dense": {"optimizer.embedding": "adam"},
    "autoloss-sgd": {"method.virtual_step": "sgd"},
    "autoloss-first-order": {"method.xi": 0.0, "method.val_objective": "mixture"},
    "autoloss-bfloat16": {"model.compute": "bfloat16"},
    "autoloss-paper": {"method.implementation": "paper"},
}
_device_bytes = []


def config_of(name: str, work: Workload) -> config.Config:
    """The config of a worker."""
    keys = {
        "model.embed_dim": work.embed_dim,
        "model.hidden": work.hidden,
        "model.dropout": work.dropout,
        "method.every": work.every,
        "train.batch_size": work.batch_size,
    }
    return settings.with_keys(config.Config(), keys | CONFIGS[name])


def build(name: str, work: Workload) -> Callable[[int], None]:
    """A function that does so many steps, all in one dispatch. After an @ comes the model."""
    name, _, spec = name.partition("@")
    cfg = config_of(name, work)
    cfg = settings.with_keys(cfg, {"model.name": spec or cfg.model.name})
    sizes = tuple(workload.field_dims(work).tolist())
    run = Run.of(cfg)
    al = run.build(2, Table(sizes), total_steps=20_000)
    x, y = workload.examples(work)
    mesh = sharding.make_mesh()
    splits = dict.fromkeys(("train", "val"), device.put(mesh, ({"x": x, "y": y},)))
    feed = device.Resident(mesh, {n: Order(n, len(y), work.batch_size) for n in splits}, splits)
    initial = run.initial_state(al)
    if name == "forward":
        full = len(y) // work.batch_size * work.batch_size
        return _forward(
            al, initial, jnp.asarray(x[:full].reshape(-1, work.batch_size, work.num_fields))
        )
    return _training(
        scan.train_block(al, feed, work.every, run.method.step),
        sharding.put_state(mesh, initial),
        feed,
    )


def _training(program, state, feed):
    compiled = program.lower(state, feed.splits, np.int32(0)).compile()
    _measure_memory(compiled)

    def run(steps: int) -> None:
        nonlocal state
        state = compiled(state, feed.splits, np.int32(int(state.step) + steps))
        jax.block_until_ready(state)

    return run


def _forward(al, state, x):
    """In evaluation mode, over batches in the order of the data."""

    @jax.jit
    def forward(state, x, steps):
        def body(i, total):
            W, stats = state.drs.params, state.drs.stats
            output, _ = al.recommender(W, stats, {"x": x[i % len(x)]})
            return total + jnp.sum(output.logits)

        return jax.lax.fori_loop(0, steps, body, 0.0)

    compiled = forward.lower(state, x, np.int32(0)).compile()
    _measure_memory(compiled)
    return lambda steps: jax.block_until_ready(compiled(state, x, np.int32(steps)))


def _measure_memory(compiled) -> None:
    m = compiled.memory_analysis()
    peak = (
        m.argument_size_in_bytes
        + m.output_size_in_bytes
        - m.alias_size_in_bytes
        + m.temp_size_in_bytes
    )
    _device_bytes.append(peak)


if __name__ == "__main__":
    worker.serve(sys.argv[1], sys.argv[2], build, lambda: max(_device_bytes), warm_up=136)
