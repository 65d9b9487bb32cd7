"""Checkpoints: Orbax writes and finds them, a manifest of SHA-256 sums proves them whole.

Orbax has no checksum of array contents: one flipped bit restores in silence. So a step counts
only with its manifest, written last; a step without one was interrupted, and a step that does
not match it is damaged.
"""

import contextlib
import dataclasses
import functools
import json
import math
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
import orbax.checkpoint as ocp

from autoloss_jax import config
from autoloss_jax.algorithm import networks
from autoloss_jax.algorithm.autoloss import AutoLoss
from autoloss_jax.algorithm.state import TrainState
from autoloss_jax.config import Config, import_string, settings
from autoloss_jax.config.errors import UserError, first_line
from autoloss_jax.data.schema import Schema
from autoloss_jax.distributed import processes, sharding, sums
from autoloss_jax.distributed.atomic import write_json
from autoloss_jax.models.embeddings import lookup
from autoloss_jax.training import report, workdirs
from autoloss_jax.training.progress import Progress
from autoloss_jax.training.run import Run

MANIFEST = sums.NAME


@dataclasses.dataclass
class Folder:
    """A folder of checkpoints, the newest `keep` of them kept."""

    path: Path
    keep: int = 2

    def __post_init__(self):
        if processes.is_chief():
            for step in self.path.glob("[0-9]*"):
                if not (step / MANIFEST).exists():
                    shutil.rmtree(step, ignore_errors=True)
        processes.wait()
        options = ocp.CheckpointManagerOptions(max_to_keep=self.keep, step_prefix=None, create=True)
        self.manager = ocp.CheckpointManager(self.path.absolute(), options=options)

    def save(self, step: int, state: TrainState, meta: dict[str, Any]) -> None:
        """Write a step, its metadata (JSON) and its manifest; a step that exists is replaced."""
        if step in self.manager.all_steps():
            self.manager.delete(step)
        meta = {**meta, "signature": signature(state, _num_rows(meta))}
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(_parts(state)), meta=ocp.args.JsonSave(meta)
        )
        try:
            self.manager.save(step, args=items, force=True)
            self.manager.wait_until_finished()
            if processes.is_chief():
                write_json(self.path / str(step) / MANIFEST, _sums(self.path / str(step)))
        except (OSError, ValueError) as error:
            for half in self.path.glob(
                f"{step}.orbax-checkpoint-tmp*"
            ):  # it may be what fills the disk
                shutil.rmtree(half, ignore_errors=True)
            raise UserError(
                f"{self.path}: the checkpoint of step {step} could not be written: "
                f"{first_line(error)}"
            ) from error
        processes.wait()  # none reads it before its manifest is there

    def latest(self) -> Path | None:
        """The newest whole checkpoint, or None."""
        steps = sorted(self.manager.all_steps(), reverse=True)
        whole = (self.path / str(step) for step in steps if is_whole(self.path / str(step)))
        found = processes.of_chief(lambda: str(next(whole, "")))
        return Path(found) if found else None

    def go_on_from(self, step: int) -> None:
        """Delete later steps than this one, as training goes on from before them, and may find
        others where a device rounds otherwise. UserError if this one, unless 0, is not whole.
        """
        if step:
            newest(self.path, step)
        for later in [s for s in self.manager.all_steps() if s > step]:
            self.manager.delete(later)

    def close(self) -> None:
        """Release Orbax's threads."""
        self.manager.close()


@contextlib.contextmanager
def folders(workdir: Path) -> Iterator[tuple[Folder, Folder]]:
    """The checkpoints to go on from, and the best ones, of a run; closed in the end."""
    newest, best = Folder(workdir / "checkpoints"), Folder(workdir / "best")
    with contextlib.closing(newest), contextlib.closing(best):
        yield newest, best


def best(workdir: Path) -> Path:
    """The best checkpoint of a run: that of the step which its result.json names, or, where it has
    not ended, the newest. UserError if it is not there, or not whole.
    """
    if not (workdir / "result.json").exists():
        return newest(workdir / "best")
    step = workdirs.read_result(workdir)["best_step"]
    return newest(workdir / "best", step)


def newest(path: Path, step: int | None = None) -> Path:
    """The checkpoint that `path` means: itself, or in it that of a `step`, the newest if None; read
    only. UserError if there is none, or if it is not whole.
    """
    return Path(processes.of_chief(lambda: str(_newest(path, step))))


def _newest(path: Path, step: int | None) -> Path:
    steps = {int(p.parent.name): p.parent for p in path.glob(f"*/{MANIFEST}") if _is_step(p.parent)}
    if (path / MANIFEST).exists() and _is_step(path):
        steps = {int(path.name): path}
    if not steps:
        raise UserError(
            f"{path}: no checkpoint here; give a run's workdir, or --checkpoint=DIR/best"
        )
    wanted = max(steps) if step is None else step
    found = steps.pop(wanted, path / str(wanted))
    if not is_whole(found):
        what = f"does not match {MANIFEST}" if found.exists() else "is not there"
        others = [str(p) for _, p in sorted(steps.items()) if is_whole(p)]
        instead = f"another one is --checkpoint={others[-1]}" if others else "there is no other"
        raise UserError(f"{found}: the checkpoint is damaged (it {what}); {instead}")
    return found


def _is_step(folder: Path) -> bool:
    return folder.name.isdigit()


def is_whole(step: Path) -> bool:
    """Whether every file of a checkpoint matches its manifest."""
    try:
        return json.loads((step / MANIFEST).read_text()) == _sums(step)
    except (OSError, ValueError):
        return False


def read_meta(step: Path) -> dict[str, Any]:
    """The JSON that was saved with a checkpoint."""
    try:
        with ocp.Checkpointer(ocp.JsonCheckpointHandler()) as reader:
            return reader.restore((step / "meta").absolute())
    except (OSError, ValueError) as error:
        raise UserError(f"{step}: unreadable metadata: {first_line(error)}") from error


def restore(step: Path, template: TrainState) -> TrainState:
    """The state of a checkpoint, in the template's shapes, dtypes and shardings; UserError
    naming what differs.

    Padding of the table is not a difference: it was as many devices wanted as wrote it.
    """
    meta = read_meta(step)
    saved, wanted = meta.get("signature", {}), signature(template, _num_rows(meta))
    for name in [*wanted, *saved]:
        if saved.get(name) != wanted.get(name):
            raise UserError(
                f"{step}: {name} is {saved.get(name)} in the checkpoint, and {wanted.get(name)} "
                "in this run"
            )
    abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, _parts(template))
    try:
        with ocp.StandardCheckpointer() as reader:
            found = reader.restore((step / "state").absolute(), abstract, strict=False)
            return template.replace(**found)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{step}: could not be restored: {first_line(error)}") from error


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A checkpoint brought back to life from its own JSON, without the Python that wrote it."""

    run: Run
    schema: Schema
    al: AutoLoss
    state: TrainState
    mesh: jax.sharding.Mesh

    @property
    def cfg(self) -> Config:
        """Of the run that wrote it, with what was overridden."""
        return self.run.cfg

    @property
    def pool(self) -> tuple[str, ...]:
        """The names of its candidates."""
        return tuple(self.run.pool)


def load(step: Path, overrides: Mapping[str, Any] = MappingProxyType({})) -> Loaded:
    """What a checkpoint's metadata describes, but for the overrides, with every row up to date.

    It is on all devices that are here. They share the table as they did in training, as far as
    their number allows. UserError where it names code of others that nobody has named here
    (`import_string.allow`).
    """
    with import_string.asked_by(step):
        return _load(step, overrides)


def _load(step: Path, overrides: Mapping[str, Any]) -> Loaded:
    meta = read_meta(step)
    try:
        cfg = config.from_dict(meta["config"])
        here = {"mesh.data": 0, "mesh.model": math.gcd(cfg.mesh.model, jax.device_count())}
        run = Run.of(settings.with_keys(cfg, {**here, **overrides}))
        schema = Schema.from_json(json.dumps(meta["schema"]))
    except KeyError as error:
        raise UserError(
            f"{step}: its metadata lacks {error}; it was written by something else"
        ) from error
    mesh = sharding.make_mesh(run.cfg.mesh.data, run.cfg.mesh.model)
    al = run.build_for(schema, mesh, total_steps=1)
    state = restore(step, run.abstract_state(al, mesh))
    state = jax.jit(functools.partial(networks.settle, al), donate_argnums=0)(state)
    return Loaded(run, schema, al, state, mesh)


def meta(cfg: Config, schema: Schema, progress: Progress) -> dict[str, Any]:
    """What is saved with a state: enough to evaluate it without any Python of the run's."""
    return {
        "config": json.loads(settings.to_json(cfg)),
        "schema": json.loads(schema.to_json()),
        "progress": dataclasses.asdict(progress),
        "versions": report.versions(),
    }


def signature(tree: Any, num_rows: int | None = None) -> dict[str, str]:
    """Path -> dtype[shape] of every array: Orbax itself would cast another dtype, or cut another
    shape, in silence.

    A table is said to have `num_rows`, if that is given and it has them: more are padding.
    """
    found = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        name, shape = jax.tree_util.keystr(path, simple=True, separator="/"), list(leaf.shape)
        if num_rows and lookup.of_rows(path) and shape[0] > num_rows:
            shape[0] = num_rows
        found[name] = f"{leaf.dtype}{shape}"
    return found


def _num_rows(meta: dict[str, Any]) -> int:
    """Rows of the recommender's inputs; context that is no input comes last."""
    sizes, context = meta["schema"]["vocab_sizes"], meta["schema"].get("context", ())
    return sum(sizes[: len(sizes) - len(context)])


def _parts(state: TrainState) -> dict[str, Any]:
    """What a state has: a part that is None has no place in the file, so that files from before
    there was such a part are read.
    """
    parts = {field.name: getattr(state, field.name) for field in dataclasses.fields(state)}
    return {name: part for name, part in parts.items() if part is not None}


def _sums(step: Path) -> dict[str, str]:
    files = sorted(p for p in step.rglob("*") if p.is_file() and p.name != MANIFEST)
    return {str(file.relative_to(step)): sums.of(file) for file in files}
