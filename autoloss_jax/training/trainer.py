"""What is fixed while a run trains: its data divided, its networks built, its steps compiled."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from autoloss_jax.algorithm import networks, scan
from autoloss_jax.algorithm.autoloss import AutoLoss
from autoloss_jax.algorithm.state import Params, TrainState
from autoloss_jax.config import settings
from autoloss_jax.config.errors import UserError
from autoloss_jax.data import store
from autoloss_jax.data.load import device, host
from autoloss_jax.data.load.shuffle import Order
from autoloss_jax.data.prepare import pipeline, unfamiliar
from autoloss_jax.distributed import documents, processes, sharding
from autoloss_jax.training import evaluation, gradient_agreement, label_noise, workdirs
from autoloss_jax.training.run import Run
from autoloss_jax.training.splits import Splits, divide


@dataclasses.dataclass(frozen=True)
class Trainer:
    """A run with its data: everything that trains it, but for what changes."""

    run: Run
    workdir: Path
    store: store.Store
    splits: Splits
    al: AutoLoss
    mesh: jax.sharding.Mesh
    epoch_steps: int
    feed: host.Stream | device.Resident
    train_block: Callable[..., TrainState]  # (state, source, stop, searched) -> state
    settle: Callable[[TrainState], TrainState]
    evaluate_step: evaluation.Evaluate
    agreement: Callable[[TrainState], float] | None  # of V's gradients, where it is wanted

    @classmethod
    def open(cls, run: Run, workdir: Path, say: Callable[[str], None]) -> "Trainer":
        """Prepare the data, divide it, and build what trains on it."""
        cfg = run.cfg
        data = processes.chief_first(lambda: pipeline.prepare(run.data, say))
        workdirs.write_config(cfg, workdir)
        if processes.is_chief():
            data.copy_to(workdir)
        for line in unfamiliar.of_shares(data.schema, data.schema.oov_rate["test"]):
            say(f"test: {line}")
        splits = divide(run, data)
        epoch_steps = host.steps_per_epoch(splits.train, cfg.train.batch_size)
        mesh = sharding.make_mesh(cfg.mesh.data, cfg.mesh.model)
        if cfg.train.epochs * epoch_steps > settings.MOST[int]:
            raise UserError(
                f"--config.train.epochs={cfg.train.epochs}: {epoch_steps:,} steps each are more "
                f"than a run may have, {settings.MOST[int]:,}"
            )
        al = run.build_for(data.schema, mesh, cfg.train.epochs * epoch_steps, splits.noise)
        for known in (splits.noise or {}).values():
            for line in label_noise.lines(known, run.sees, _words(run, data)):
                say(line)
        if cfg.data.trusted and not Path(cfg.data.path).is_dir():
            say(
                "the rows that decide early stopping, and those of test, are of the log, and their "
                "labels as wrong as train's; a folder with valid.* and test.* may hold right ones"
            )
        _check_batch_sizes(run, splits, mesh)
        bounds = data.schema.bounds[:, : data.schema.num_input_slots]
        feed = _feed(run, bounds, splits, mesh)
        return cls(
            run=run,
            workdir=workdir,
            store=data,
            splits=splits,
            al=al,
            mesh=mesh,
            epoch_steps=epoch_steps,
            feed=feed,
            train_block=scan.train_block(al, feed, cfg.method.every, run.method.step),
            settle=jax.jit(functools.partial(networks.settle, al), donate_argnums=0),
            evaluate_step=evaluation.program(al, mesh),
            agreement=_agreement(run, al, mesh, splits),
        )

    def keep_noise(self, V: Params | None = None) -> None:
        """Write what is known of the noise in train's labels, if anything is, to
        label_noise.json; with V its rates, where it learns them.
        """
        noise, run, learned = self.splits.noise, self.run, {}
        if not noise or (V is not None and not run.learns_rates):
            return  # nothing, or nothing more than at the start
        if V is not None:
            rates = self.al.candidates.rates
            learned = {k: np.asarray(of.at(V, noise[k].cells.values())) for k, of in rates.items()}
        words = _words(run, self.store)
        record = {
            kind: label_noise.record(known, run.sees, words, learned.get(kind))
            for kind, known in noise.items()
        }
        documents.write(self.workdir / "label_noise.json", record)

    @property
    def total_steps(self) -> int:
        """Steps of the planned epochs."""
        return self.run.cfg.train.epochs * self.epoch_steps

    @property
    def evaluate_every(self) -> int:
        """Steps between evaluations."""
        return self.run.cfg.train.evaluate_every or self.epoch_steps


def _words(run: Run, data: store.Store) -> list[list[str]]:
    """What the values of each context field are called."""
    sizes = [size for *_, size in run.context(data.schema)]
    return [
        ["unknown", *store.value_names(data.path, name, size)]
        for name, size in zip(run.sees, sizes, strict=True)
    ]


def _check_batch_sizes(run: Run, splits: Splits, mesh: jax.sharding.Mesh) -> None:
    """UserError unless the devices share each kind of batch evenly."""
    train = run.cfg.train
    sharding.check_batch_size(mesh, train.batch_size, "train.batch_size")
    sharding.check_batch_size(mesh, train.eval_batch_size, "train.eval_batch_size")
    for part in splits.controller:
        size = min(train.batch_size, len(part["y"]))
        sharding.check_batch_size(mesh, size, "train.batch_size")


def _agreement(
    run: Run, al: AutoLoss, mesh: jax.sharding.Mesh, splits: Splits
) -> Callable[[TrainState], float] | None:
    wanted = run.cfg.run.gradient_agreement or run.cfg.method.min_agreement
    if not (wanted and run.method.searches):
        return None
    return gradient_agreement.meter(
        al, mesh, splits.train, splits.controller, run.cfg.train.batch_size
    )


def _feed(
    run: Run, bounds: np.ndarray, splits: Splits, mesh: jax.sharding.Mesh
) -> host.Stream | device.Resident:
    """Where batches come from; the same batches in either case."""
    cfg = run.cfg
    parts = {"train": splits.train} | ({"val": splits.controller} if splits.controller else {})
    orders = {}
    for name, split in parts.items():
        rows = host.num_rows(split)
        orders[name] = Order(name, rows, min(cfg.train.batch_size, rows))
    num_bytes = sum(a.nbytes for split in parts.values() for part in split for a in part.values())
    where = cfg.data.residence
    fits = where == "auto" and processes.count() == 1 and device.fits(num_bytes)
    if where == "device" or fits:
        for split in parts.values():
            for part in split:
                host.check(part, bounds)
        arrays = {name: device.put(mesh, split) for name, split in parts.items()}
        return device.Resident(mesh, orders, arrays)
    return host.Stream(
        mesh=mesh,
        train=splits.train,
        val=splits.controller,
        orders=orders,
        root=np.asarray(jax.random.key_data(jax.random.key(cfg.run.seed))),
        every=cfg.method.every,
        block=cfg.train.block,
        bounds=bounds,
    )
