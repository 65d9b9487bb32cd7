"""Checkpoints: Orbax writes and finds them, a manifest of SHA-256 sums proves them whole.

Orbax has no checksum of array contents: one flipped bit restores in silence. So a step counts only with its
manifest, written last; a step without one was interrupted, and a step that does not match it is damaged.
"""

import dataclasses
import functools
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from autoloss_jax import autoloss, config, methods
from autoloss_jax import state as states
from autoloss_jax.autoloss import AutoLoss, TrainState
from autoloss_jax.config import Config
from autoloss_jax.data.schema import Schema
from autoloss_jax.report import write_json
from autoloss_jax.settings import UserError

MANIFEST = "sha256.json"


@dataclasses.dataclass
class Folder:
    """A folder of checkpoints, the newest `keep` of them kept."""

    path: Path
    keep: int = 2

    def __post_init__(self):
        options = ocp.CheckpointManagerOptions(max_to_keep=self.keep, step_prefix=None, create=True)
        self.manager = ocp.CheckpointManager(self.path.absolute(), options=options)
        for step in self.manager.all_steps():
            if not (self.path / str(step) / MANIFEST).exists():
                self.manager.delete(step)

    def save(self, step: int, state: Any, meta: dict[str, Any]) -> None:
        """Write a step, its metadata (JSON) and its manifest; a step that exists is replaced."""
        if step in self.manager.all_steps():
            self.manager.delete(step)
        meta = {**meta, "signature": signature(state)}
        items = ocp.args.Composite(state=ocp.args.StandardSave(state), meta=ocp.args.JsonSave(meta))
        try:
            self.manager.save(step, args=items, force=True)
            self.manager.wait_until_finished()
            write_json(self.path / str(step) / MANIFEST, _sums(self.path / str(step)))
        except (OSError, ValueError) as error:
            for half in self.path.glob(f"{step}.orbax-checkpoint-tmp*"):  # it may be what fills the disk
                shutil.rmtree(half, ignore_errors=True)
            raise UserError(
                f"{self.path}: the checkpoint of step {step} could not be written: {_first_line(error)}"
            ) from error

    def latest(self) -> Path | None:
        """The newest whole checkpoint, or None."""
        steps = sorted(self.manager.all_steps(), reverse=True)
        return next((self.path / str(step) for step in steps if is_whole(self.path / str(step))), None)

    def close(self) -> None:
        """Release Orbax's threads."""
        self.manager.close()


def newest(path: Path) -> Path:
    """The checkpoint that `path` means: itself, or the newest whole one in it; read only. UserError if there is none."""
    if (path / MANIFEST).exists():
        found = [path]
    else:
        found = [p.parent for p in path.glob(f"*/{MANIFEST}") if p.parent.name.isdigit()]
    if not found:
        raise UserError(f"{path}: no checkpoint here; give a run's workdir, or --checkpoint=DIR/best")
    whole = [p for p in found if is_whole(p)]
    if not whole:
        raise UserError(
            f"{path}: the checkpoint is damaged (its contents do not match {MANIFEST}); use another one"
        )
    return max(whole, key=lambda p: int(p.name) if p.name.isdigit() else -1)


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
        raise UserError(f"{step}: unreadable metadata: {_first_line(error)}") from error


def restore(step: Path, template: Any) -> Any:
    """The state of a checkpoint, in the template's shapes, dtypes and shardings; UserError naming what differs."""
    saved, wanted = read_meta(step).get("signature", {}), signature(template)
    for name in [*wanted, *saved]:
        if saved.get(name) != wanted.get(name):
            raise UserError(
                f"{step}: {name} is {saved.get(name)} in the checkpoint, and {wanted.get(name)} in this run"
            )
    abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, template)
    try:
        with ocp.StandardCheckpointer() as reader:
            return reader.restore((step / "state").absolute(), abstract)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{step}: could not be restored: {_first_line(error)}") from error


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A checkpoint brought back to life from its own JSON, without the Python that wrote it."""

    cfg: Config
    schema: Schema
    al: AutoLoss
    pool: tuple[str, ...]
    state: TrainState


def load(step: Path) -> Loaded:
    """Build what a checkpoint's metadata describes and restore its state, every row up to date."""
    meta = read_meta(step)
    try:
        cfg = config.check(config.from_dict(meta["config"]))
        schema = Schema.from_json(json.dumps(meta["schema"]))
    except KeyError as error:
        raise UserError(f"{step}: its metadata lacks {error}; it was written by something else") from error
    al = states.build(cfg, schema.num_classes, schema.vocab_sizes, total_steps=1, slots=schema.slots)
    state = restore(step, states.initial(al, cfg, schema.vocab_sizes))
    state = jax.jit(functools.partial(autoloss.settle, al), donate_argnums=0)(state)
    return Loaded(cfg, schema, al, tuple(methods.resolve(cfg.method)[1]), state)


def signature(tree: Any) -> dict[str, str]:
    """Path -> dtype[shape] of every array: Orbax itself would cast another dtype in silence."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): f"{leaf.dtype}{list(leaf.shape)}"
        for path, leaf in leaves
    }


def _sums(step: Path) -> dict[str, str]:
    sums = {}
    for file in sorted(p for p in step.rglob("*") if p.is_file() and p.name != MANIFEST):
        with file.open("rb") as stream:
            sums[str(file.relative_to(step))] = hashlib.file_digest(stream, "sha256").hexdigest()
    return sums


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0][:300] or type(error).__name__
