"""What is fixed while a run trains: its data divided, its networks built, its steps compiled."""

import dataclasses
import functools
import json
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from autoloss_jax import config
from autoloss_jax.algorithm import autoloss, methods, scan
from autoloss_jax.algorithm.autoloss import AutoLoss, TrainState
from autoloss_jax.config import Config, settings
from autoloss_jax.config.errors import UserError
from autoloss_jax.data import store
from autoloss_jax.data.load import device, host
from autoloss_jax.data.load.shuffle import Order
from autoloss_jax.data.prepare import pipeline
from autoloss_jax.data.schema import Schema
from autoloss_jax.data.split import corrupted, shares
from autoloss_jax.distributed import atomic, processes, sharding
from autoloss_jax.training import evaluation, gradient_agreement, states


@dataclasses.dataclass(frozen=True)
class Splits:
    """Who learns from which rows."""

    train: tuple[host.Split, ...]  # W
    controller: tuple[host.Split, ...]  # V; empty for methods that do not search
    val: host.Split  # early stopping and calibration
    test: host.Split  # touched once, at the end


@dataclasses.dataclass(frozen=True)
class Session:
    """What is fixed while a run trains."""

    cfg: Config
    workdir: Path
    store: store.Store
    splits: Splits
    al: AutoLoss
    mesh: jax.sharding.Mesh
    pool: tuple[str, ...]
    epoch_steps: int
    feed: host.Stream | device.Resident
    train_block: Callable[..., TrainState]  # (state, source, stop, searched) -> state
    settle: Callable[[TrainState], TrainState]
    evaluate_step: evaluation.Evaluate
    signal: Callable[[TrainState], float] | None  # of V's gradient, where it is wanted

    @property
    def total_steps(self) -> int:
        """Steps of the planned epochs."""
        return self.cfg.train.epochs * self.epoch_steps

    @property
    def evaluate_every(self) -> int:
        """Steps between evaluations."""
        return self.cfg.train.evaluate_every or self.epoch_steps


def open_session(cfg: Config, workdir: Path, say: Callable[[str], None]) -> Session:
    """Prepare the data and compile the steps."""
    data = processes.chief_first(lambda: pipeline.prepare(data_of(cfg), say))
    schema = data.schema
    atomic.write_json(workdir / "config.json", json.loads(settings.to_json(cfg)))
    if processes.is_chief():
        data.copy_to(workdir)
    method, pool = methods.resolve(cfg.method)
    splits = divide(cfg, data, method)
    epoch_steps = host.steps_per_epoch(splits.train, cfg.train.batch_size)
    mesh = sharding.make_mesh(cfg.mesh.data, cfg.mesh.model)
    al = states.build_for(cfg, schema, mesh, cfg.train.epochs * epoch_steps)
    sharding.check_batch_size(mesh, cfg.train.batch_size, "train.batch_size")
    sharding.check_batch_size(mesh, cfg.train.eval_batch_size, "train.eval_batch_size")
    for part in splits.controller:
        sharding.check_batch_size(
            mesh, min(cfg.train.batch_size, len(part["y"])), "train.batch_size"
        )
    feed = _feed(cfg, schema.bounds, splits, mesh)
    return Session(
        cfg=cfg,
        workdir=workdir,
        store=data,
        splits=splits,
        al=al,
        mesh=mesh,
        pool=tuple(pool),
        epoch_steps=epoch_steps,
        feed=feed,
        train_block=scan.train_block(al, feed, cfg.method.every, method.step),
        settle=jax.jit(functools.partial(autoloss.settle, al), donate_argnums=0),
        evaluate_step=evaluation.program(al, mesh),
        signal=gradient_agreement.meter(
            al, mesh, splits.train, splits.controller, cfg.train.batch_size
        )
        if (cfg.run.gradient_agreement or cfg.method.min_agreement) and method.searches
        else None,
    )


def with_seen(cfg: Config, schema: Schema, split: host.Split) -> host.Split:
    """The split, with `seen`, the values of the fields that the controller sees, if it sees any."""
    places = methods.seen(cfg.method, schema)
    return {**split, "seen": host.values(split, places)} if places else split


def data_of(cfg: Config) -> config.Data:
    """The data as this method takes them: one that searches has its controller's share of val
    for that, and not for W.
    """
    searches = methods.resolve(cfg.method)[0].searches
    return dataclasses.replace(
        cfg.data, fold_in_val=cfg.data.fold_in_val and (not searches or bool(cfg.data.fold))
    )


def _feed(
    cfg: Config, bounds: np.ndarray, splits: Splits, mesh: jax.sharding.Mesh
) -> host.Stream | device.Resident:
    """Where batches come from; the same batches in either case."""
    parts = {"train": splits.train} | ({"val": splits.controller} if splits.controller else {})
    orders = {}
    for name, split in parts.items():
        rows = host.num_rows(split)
        orders[name] = Order(name, rows, min(cfg.train.batch_size, rows))
    num_bytes = sum(a.nbytes for split in parts.values() for part in split for a in part.values())
    where = cfg.data.residence
    if where == "device" or (where == "auto" and processes.count() == 1 and device.fits(num_bytes)):
        for split in parts.values():
            for part in split:
                host.check(part, bounds)
        return device.Resident(
            mesh, orders, {name: device.put(mesh, split) for name, split in parts.items()}
        )
    root = np.asarray(jax.random.key_data(jax.random.key(cfg.run.seed)))
    return host.Stream(
        mesh,
        splits.train,
        splits.controller,
        orders,
        root,
        cfg.method.every,
        cfg.train.block,
        bounds,
    )


def divide(cfg: Config, data: store.Store, method: methods.Method) -> Splits:
    """The rows that teach W, those that teach V, and those that decide; test is nobody's."""
    train, val, test = (
        with_seen(cfg, data.schema, data.split(name)) for name in ("train", "val", "test")
    )
    taught, val = host.halve(val, cfg.data.controller_share, cfg.data.split_seed)
    if cfg.data.missing or cfg.data.flipped:
        train["y"] = corrupted(
            np.asarray(train["y"]),
            _chance(cfg, data.schema, train, "missing"),
            _chance(cfg, data.schema, train, "flipped"),
            cfg.data.num_classes,
            cfg.data.split_seed,
        )
    parts = (train, taught) if data_of(cfg).fold_in_val else (train,)
    controller: tuple[host.Split, ...] = (taught,) if method.searches else ()
    if method.searches and cfg.data.fold:
        number, count = cfg.data.fold
        held_out = [host.hold_out(part, number, count, cfg.data.split_seed) for part in parts]
        controller, parts = zip(*held_out, strict=True)
    if method.searches and not host.num_rows(controller):
        raise UserError(
            "--config.data.controller_share=0: a method that searches needs rows of val for its "
            "controller, or a part of "
            "train, as --config.data.fold=0,5"
        )
    return Splits(train=parts, controller=controller, val=val, test=test)


def _chance(cfg: Config, schema: Schema, train: host.Split, noise: str) -> float | np.ndarray:
    """Of a label to be `missing` or `flipped`, of all rows alike or of each by the value of a
    field.
    """
    rate, by = getattr(cfg.data, noise), getattr(cfg.data, f"{noise}_by")
    if not by:
        return rate
    place = schema.place(by, f"--config.data.{noise}_by")
    return shares(rate, place[2], cfg.data.split_seed)[host.values(train, [place])[:, 0]]
