"""python -m tests.support.devices FOLDER, or models [NAME ...]: trains on eight simulated
devices in grids of many shapes, for tests/test_sharding.py.

Prints, as JSON, how far each grid's losses and rows are from one device's, and the largest
collective of each program.
"""

import functools
import json
import sys
from pathlib import Path

import jax
import numpy as np
from jax.sharding import AxisType

from autoloss_jax import config
from autoloss_jax.algorithm import methods, networks, scan
from autoloss_jax.config import settings
from autoloss_jax.data.load import device
from autoloss_jax.data.load.shuffle import Order
from autoloss_jax.distributed import sharding
from autoloss_jax.models import registry
from autoloss_jax.models.embeddings.lookup import Table
from autoloss_jax.training import checkpoint, evaluation
from autoloss_jax.training.run import Run
from benchmarks.scaling import largest_exchange

FIELDS, BATCH, EXAMPLES, STEPS = 3, 64, 640, 50
SMALL, LARGE = (331, 333, 333), (40_001,) * FIELDS  # values of the fields


def grid(data, model):
    devices = jax.devices()[: data * model]
    return jax.make_mesh(
        (data, model), ("data", "model"), axis_types=(AxisType.Auto,) * 2, devices=devices
    )


def problem(mesh, sizes, slots=(), **keys):
    """(AutoLoss, initial state, program, its source) of a small run; `slots` as of a schema:
    bags, with weights.
    """
    keys = {k.replace("__", "."): v for k, v in keys.items()}
    keys = {
        "model.embed_dim": 4,
        "model.hidden": (8,),
        "method.hidden": (8,),
        "train.batch_size": BATCH,
    } | keys
    cfg = settings.with_keys(config.Config(), keys)
    sees = (7,) * len(cfg.data.context)
    al = Run.of(cfg).build(2, Table(sizes, slots, sharding.Placement(mesh)), STEPS, context=sees)
    rng, first = np.random.default_rng(0), np.cumsum((0, *sizes[:-1]))
    first, of_slot = (np.repeat(a, slots or 1) for a in (first, sizes))
    x = (first + rng.integers(0, of_slot, (EXAMPLES, len(first)))).astype(np.int32)
    y = (rng.random(EXAMPLES) < 0.3).astype(np.int32)
    rows = {"x": x, "y": y} | ({"v": rng.random(x.shape).astype(np.float32)} if slots else {})
    rows |= {"seen": rng.integers(0, sees, (EXAMPLES, 1)).astype(np.int32)} if sees else {}
    source = {name: device.put(mesh, (rows,)) for name in ("train", "val")}
    feed = device.Resident(mesh, {name: Order(name, EXAMPLES, BATCH) for name in source}, source)
    method, _ = methods.resolve(cfg.method)
    state = Run.of(cfg).initial_state(al)
    if jax.config.jax_enable_x64:
        state = jax.tree.map(lambda a: a.astype(np.float64) if a.dtype == np.float32 else a, state)
    return al, state, scan.train_block(al, feed, 3, method.step), source


def trained(mesh, steps=STEPS, **keys):
    """(Losses of five stretches, rows) of a run."""
    al, state, program, source = problem(mesh, SMALL, **keys)
    losses = []
    for stop in np.linspace(0, steps, 6, dtype=np.int32)[1:]:
        state = program(state, source, stop)
        losses.append(float(state.metrics.loss))
    state = jax.jit(functools.partial(networks.settle, al))(state)
    return np.array(losses), np.asarray(state.drs.params["rows"])[: sum(SMALL)]


def gaps(grids, **keys):
    """Grid -> how far a run is from that of one device."""
    losses, rows = trained(grid(1, 1), **keys)
    found = {}
    for shape in grids:
        others, other_rows = trained(grid(*shape), **keys)
        found[f"{shape}"] = [
            float(np.max(np.abs(others / losses - 1))),
            float(np.max(np.abs(other_rows - rows))),
        ]
    return found


def largest_collectives(mesh, **keys):
    """Numbers in the largest array that devices exchange, of the training and of what reads the
    whole table.
    """
    al, state, program, source = problem(mesh, LARGE, **keys)
    settle, forward = (
        jax.jit(functools.partial(f, al)) for f in (networks.settle, evaluation.step)
    )
    batch = sharding.put(
        mesh, "batch", {k: np.asarray(v)[:BATCH] for k, v in source["train"].items()}
    )
    compiled = {
        "train": program.lower(state, source, np.int32(0)),
        "settle": settle.lower(state),
        "evaluate": forward.lower(state, batch),
    }
    return {
        name: largest_exchange(lowered.compile().as_text()) for name, lowered in compiled.items()
    }


def restored(folder):
    """Whether a checkpoint of one grid is on others what it was."""
    _, state, program, source = problem(grid(2, 2), SMALL)
    state = program(state, source, np.int32(5))
    saved = checkpoint.Folder(folder / "checkpoints")
    saved.save(5, state, {"schema": {"vocab_sizes": SMALL}})
    saved.close()
    found = {}
    for shape in [(1, 1), (1, 8), (4, 2)]:
        _, template, _, _ = problem(grid(*shape), SMALL)
        back = checkpoint.restore(folder / "checkpoints" / "5", template)
        same = jax.tree.map(
            _same_bits, jax.random.key_data(state.key), jax.random.key_data(back.key)
        )
        pairs = zip(*(jax.tree.leaves(s.replace(key=None)) for s in (state, back)), strict=True)
        placed = back.drs.params["rows"].sharding == template.drs.params["rows"].sharding
        found[f"{shape}"] = bool(same and placed and all(_same_bits(a, b) for a, b in pairs))
    return found


def _same_bits(a, b):
    a, b = np.asarray(a), np.asarray(b)
    rows = sum(SMALL) if a.ndim and a.shape[0] >= sum(SMALL) else None
    return np.array_equal(a[:rows] if a.ndim else a, b[:rows] if b.ndim else b)


def of_models(names):
    """What `gaps` finds of each."""
    return {name: gaps([(4, 2)], model__name=name, steps=5) for name in names}


EVERYTHING = {  # that changes how a batch is read or weighed, at once
    "slots": (1, 3, 2),
    "data__context": ("field",),
    "method__pool": ("ce", "ce(l2=0.1)", "pairwise", "listwise", "generative"),
}
METHODS = {
    "al1": {"optimizer__embedding": "lazy_adam", "optimizer__clip_norm": 1.0},
    "darts": {"optimizer__embedding": "rowwise_adagrad", "optimizer__clip_norm": 1.0},
    "slf": {},
}


def main(folder):
    report = {
        "collectives": {
            name: largest_collectives(grid(2, 4), optimizer__embedding=name)
            for name in ("adam", "sparse_adam")
        },
        "restored": restored(folder),
    }
    with jax.enable_x64(True):
        report |= {
            "autoloss": gaps([(1, 8), (2, 4)], optimizer__embedding="sparse_adam"),
            "everything": gaps([(4, 2)], steps=10, **EVERYTHING),
        }
        for name, keys in METHODS.items():
            report[name] = gaps([(2, 1)], method__name=name, steps=10, **keys)
    return report


if __name__ == "__main__":
    models = sys.argv[1] == "models"
    found = of_models(sys.argv[2:] or registry.MODELS) if models else main(Path(sys.argv[1]))
    print(json.dumps(found))
