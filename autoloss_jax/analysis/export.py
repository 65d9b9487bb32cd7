"""The loss that a run searched, as a table and a module for other programs."""

import json
from pathlib import Path
from typing import Any

from autoloss_jax.algorithm import losses
from autoloss_jax.analysis import searched_loss, tabulation
from autoloss_jax.config.errors import UserError
from autoloss_jax.distributed import atomic
from autoloss_jax.training import checkpoint


def export(workdir: Path, output: Path) -> dict[str, Any]:
    """Write a run's loss to a folder and return its table; UserError unless the task is binary
    and the weights are learnt.
    """
    step = checkpoint.newest(workdir / "best")
    loaded = checkpoint.load(step)
    if not loaded.run.method.has_controller:
        raise UserError(
            f"{workdir}: its method, {loaded.cfg.method.name}, has no controller: its loss is "
            "known as it is"
        )
    if loaded.schema.num_classes != 2:
        raise UserError(
            f"{workdir}: {loaded.schema.num_classes} classes: the weights of a table are a "
            "function of one probability; export the loss of a binary run"
        )
    if loaded.al.controller.context:
        raise UserError(
            f"{workdir}: its controller sees {', '.join(loaded.cfg.data.context)} too, so that the "
            "searched loss is no function of (y, y_hat) alone; export that of a run without "
            "--config.data.context"
        )
    if any(loaded.run.noise_kinds):
        raise UserError(
            f"{workdir}: its candidates have rates of label noise that differ by context, so that "
            "the searched loss is no function of (y, y_hat) alone; export that of another pool"
        )
    if loaded.al.recommender.l2:
        raise UserError(
            f"{workdir}: of its candidates {', '.join(loaded.pool)} some bring L2 on the "
            "embeddings, which is no function of (y, y_hat); export the loss of a pool without l2"
        )
    for name, loss in zip(loaded.pool, loaded.al.candidates.losses, strict=True):
        if losses.ranks(loss, num_outputs=1):
            raise UserError(
                f"{workdir}: {name} looks at a whole batch, so that the searched loss is no "
                "function of one prediction; export the loss of a pool without it"
            )
    controller, labels, errors = loaded.state.controller, {}, {}
    for label in (0, 1):
        at = tabulation.exact(loaded.al, controller.params, controller.stats, label)
        table, errors[label] = tabulation.tabulate(
            at, tabulation.kinks(loaded.al.candidates.losses, label)
        )
        weights = dict(zip(loaded.pool, table.pop("weights").T.tolist(), strict=True))
        labels[str(label)] = {name: a.tolist() for name, a in table.items()} | {"weights": weights}
    record = {
        "schema": 1,
        "value": "v(y, z) = sum_i alpha_i(y, sigmoid z) l_i(z, y)",
        "gradient": "g(y, z) = sum_i alpha_i dl_i/dz, alpha held fixed: not dv/dz",
        "bound": tabulation.BOUND,
        "error": {name: max(e[name] for e in errors.values()) for name in ("value", "gradient")},
        "error_is": "relative to max(1, |.|), on random logits within "
        f"{2 * tabulation.REACH:g}, "
        "in float64",
        "pool": loaded.pool,
        "source": {
            "workdir": str(workdir),
            "step": int(loaded.state.step),
            "dataset": loaded.schema.name,
            "model": loaded.cfg.model.name,
            "method": loaded.cfg.method.name,
            "seed": loaded.cfg.run.seed,
            "versions": checkpoint.read_meta(step)["versions"],
        },
        "labels": labels,
    }
    output.mkdir(parents=True, exist_ok=True)
    atomic.write_text(output / "searched_loss.json", json.dumps(record, allow_nan=False) + "\n")
    atomic.write_text(output / "searched_loss.py", Path(searched_loss.__file__).read_text())
    return record
