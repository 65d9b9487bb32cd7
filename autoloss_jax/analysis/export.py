"""The loss that a run searched, as a table and a module for other programs."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from autoloss_jax.algorithm import losses
from autoloss_jax.analysis import searched_loss, tabulation
from autoloss_jax.config.errors import UserError
from autoloss_jax.data import store
from autoloss_jax.distributed import atomic, documents
from autoloss_jax.training import checkpoint
from autoloss_jax.training.checkpoint import Loaded
from autoloss_jax.training.label_noise import Cells

MOST_CONTEXTS = 500  # combinations of context values; a table has a column of each


def export(workdir: Path, output: Path) -> dict[str, Any]:
    """Write a run's loss to a folder and return its table; UserError unless the task is binary,
    and the weights or rates of label noise were found from data.
    """
    step = checkpoint.best(workdir)
    loaded = checkpoint.load(step)
    if not (loaded.run.method.has_controller or any(loaded.run.noise_kinds)):
        raise UserError(
            f"{workdir}: its method, {loaded.cfg.method.name}, has no controller and corrects for "
            "no label noise: its loss is known as it is"
        )
    if loaded.schema.num_classes != 2:
        raise UserError(
            f"{workdir}: {loaded.schema.num_classes} classes: the weights of a table are a "
            "function of one probability; export the loss of a binary run"
        )
    words = _words(loaded, workdir)
    if math.prod(len(of_field) + 1 for of_field in words) > MOST_CONTEXTS:
        raise UserError(
            f"{workdir}: {' x '.join(str(len(w) + 1) for w in words)} combinations of the values "
            f"of {', '.join(loaded.run.sees)}: a table holds {MOST_CONTEXTS}; export the loss of a "
            "run with fewer fields in --config.data.context"
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
    cells = Cells(tuple(len(of_field) + 1 for of_field in words))
    contexts, noise = cells.values(), _transitions(loaded, workdir, words, cells)
    for label in (0, 1):
        at = tabulation.exact(
            loaded.al, controller.params, controller.stats, label, contexts, noise
        )
        table, errors[label] = tabulation.tabulate(
            at, tabulation.kinks(loaded.al.candidates.losses, label)
        )
        if not words:  # a column without a context
            table = {name: a.squeeze(1) if a.ndim > 1 else a for name, a in table.items()}
        of_losses = np.moveaxis(table.pop("weights"), -1, 0)
        weights = dict(zip(loaded.pool, of_losses.tolist(), strict=True))
        labels[str(label)] = {name: a.tolist() for name, a in table.items()} | {"weights": weights}
    record = {
        "schema": 3,
        "context": {"fields": list(loaded.run.sees), "words": words},
        "value": "v(y, z) = sum_i alpha_i(y, sigmoid z) l_i(z, y)",
        "gradient": "g(y, z) = sum_i alpha_i dl_i/dz, alpha held fixed: not dv/dz",
        "hessian": "h(y, z) = sum_i alpha_i d2l_i/dz2, alpha held fixed: not dg/dz",
        "bound": tabulation.BOUND,
        "error": {name: max(e[name] for e in errors.values()) for name in tabulation.TABULATED},
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


def _transitions(
    loaded: Loaded, workdir: Path, words: list[list[str]], cells: Cells
) -> np.ndarray | None:
    """The label noise of each combination of values, float64[M, 2, 2], where it is no part of V.

    Combinations that train does not have read as the others do on average.
    """
    if not any(loaded.run.noise_kinds) or loaded.run.learns_rates:
        return None
    (noise,) = documents.read(workdir / "label_noise.json").values()
    if "rate" in noise["cells"][0]:
        rates = np.array([cell["rate"] for cell in noise["cells"]])
        known = losses.transition(noise["kind"], rates)
    else:
        known = np.array([cell["transition"] for cell in noise["cells"]])
    average = np.average(known, axis=0, weights=[cell["rows"] for cell in noise["cells"]])
    places = [dict(zip(of_field, range(1, len(of_field) + 1), strict=True)) for of_field in words]
    values = [
        [of_field.get(value, 0) for value, of_field in zip(cell["values"], places, strict=True)]
        for cell in noise["cells"]
    ]
    found = np.tile(average, (len(cells), 1, 1))
    found[cells.number(np.array(values).reshape(len(values), -1))] = known
    return found


def _words(loaded: Loaded, workdir: Path) -> list[list[str]]:
    """What the values of each context field are called; the first of all, unknown, is left out."""
    sizes = [size for *_, size in loaded.run.context(loaded.schema)]
    return [
        store.value_names(workdir, name, size)
        for name, size in zip(loaded.run.sees, sizes, strict=True)
    ]
