"""Pictures of a run's controller: its weights, the loss that they make, what it came to prefer,
its signal.
"""

import textwrap
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from autoloss_jax.algorithm import methods
from autoloss_jax.algorithm.state import Params
from autoloss_jax.analysis import curves, plots
from autoloss_jax.analysis.plots import Curves
from autoloss_jax.config.errors import UserError
from autoloss_jax.data import store
from autoloss_jax.training import checkpoint, controller_checkpoints, report
from autoloss_jax.training.checkpoint import Loaded
from autoloss_jax.training.controller_checkpoints import Snapshot


def of(workdir: Path) -> dict[str, Figure]:
    """Name -> figure of a run: weights, loss, movement, and signal if it was measured. UserError
    without a controller.
    """
    loaded = checkpoint.load(checkpoint.best(workdir))
    if not loaded.run.method.has_controller:
        raise UserError(
            f"{workdir}: its method, {loaded.cfg.method.name}, has no controller to picture"
        )
    learned = _some(controller_checkpoints.read(workdir)) or _frozen(loaded)
    figures = _curves(loaded, learned) | _by_value(loaded, workdir, *list(learned.values())[-1])
    records = report.read_log(workdir / "metrics.jsonl")
    if records:
        step = np.array([r["step"] for r in records])
        panels = [
            Curves(
                what,
                step,
                {loss: np.array([r[key][loss] for r in records]) for loss in loaded.pool},
            )
            for what, key in (
                ("mean weight alpha of a batch", "alpha"),
                ("how often a loss had the largest weight", "share"),
            )
        ]
        figures["movement"] = plots.movement(
            f"{_name(loaded)}: what the controller prefers", panels
        )
    agreement = ((r["step"], r.get("gradient_agreement", r.get("signal"))) for r in records)
    measured = [(step, cosine) for step, cosine in agreement if cosine is not None]
    if measured:
        title = f"{_name(loaded)}: cosine between hypergradients on two batches of validation"
        figures["gradient_agreement"] = plots.gradient_agreement(
            title, *(np.array(column) for column in zip(*measured, strict=True))
        )
    return figures


def _some(left: dict[int, Snapshot]) -> dict[int, Snapshot]:
    """The early, the midway and the last snapshot."""
    steps = list(left)
    return {steps[i]: left[steps[i]] for i in (0, (len(steps) - 1) // 2, -1)} if steps else {}


def _frozen(loaded: Loaded) -> dict[int, Snapshot]:
    return {int(loaded.state.step): (loaded.state.controller.params, loaded.state.controller.stats)}


def _name(loaded: Loaded) -> str:
    said = textwrap.fill(methods.description(loaded.cfg), 90)
    return f"{said}\n{loaded.cfg.model.label}, {loaded.schema.name}"


def _curves(loaded: Loaded, controllers: dict[int, Snapshot]) -> dict[str, Figure]:
    """Weights over the prediction, and the loss and the gradient that they make, beside
    cross-entropy's.

    No loss is shown of a pool with one that looks at a whole batch: it is not a function of the
    prediction. Fields that the controller sees have a value that it does not know.
    """
    al, classes = loaded.al, loaded.schema.num_classes
    made, binary = curves.program(al), classes == 2
    weights, values, gradients = [], [], []
    for path in curves.paths(classes):
        mixtures = {
            f"step {step}": made(V, stats, path) for step, (V, stats) in controllers.items()
        }
        weights.append(
            [
                Curves(
                    f"y = {path.label}, {at}",
                    path.probability,
                    dict(zip(loaded.pool, np.asarray(m.weights).T, strict=True)),
                )
                for at, m in mixtures.items()
            ]
        )
        mixtures["cross-entropy"] = curves.cross_entropy(path)
        column = 0 if binary else path.label
        title = f"y = {path.label}"
        values.append(Curves(title, path.z, {at: m.value for at, m in mixtures.items()}))
        gradients.append(
            Curves(title, path.z, {at: m.gradient[:, column] for at, m in mixtures.items()})
        )
    unknown = (
        f"\nwhere {', '.join(loaded.cfg.data.context)} is unknown" if al.controller.context else ""
    )
    rest = (
        unknown
        if binary
        else unknown
        + f"\nfrom wrong to right: the other {classes - 1} classes share the rest evenly"
    )
    figures = {
        "weights": plots.weights(
            f"{_name(loaded)}: weights of the candidates{rest}",
            "prediction y_hat = P(label 1)" if binary else "probability of the label, p_y",
            weights,
        )
    }
    if not curves.ranks(al):
        figures["loss"] = plots.losses(
            f"{_name(loaded)}: the loss that the weights make, and its gradient with the weights "
            f"held fixed{rest}",
            "logit z" if binary else "logit of the label above the others'",
            ("loss per example", "gradient in z" if binary else "gradient in z_y"),
            [values, gradients],
        )
    return figures


def _by_value(loaded: Loaded, workdir: Path, V: Params, stats: Params) -> dict[str, Figure]:
    """Weights at a prediction of one half, by the value of each field that the controller sees,
    the others unknown.
    """
    al, figures = loaded.al, {}
    for k, (name, size) in enumerate(
        zip(loaded.cfg.data.context, al.controller.context, strict=True)
    ):
        panels = []
        for path in curves.paths(loaded.schema.num_classes):
            alpha = curves.by_value(al, V, stats, path, k)
            of_losses = dict(zip(loaded.pool, alpha.T, strict=True))
            panels.append(Curves(f"y = {path.label}", np.arange(size), of_losses))
        what = "y_hat" if loaded.schema.num_classes == 2 else "p_y"
        figures[f"weights-{name}"] = plots.by_value(
            f"{_name(loaded)}: weights of the candidates at {what} = 0.5, by {name}",
            name,
            _words(workdir, name, size),
            panels,
        )
    return figures


def _words(workdir: Path, field: str, size: int) -> list[str]:
    """What the values of a field are called; of a hashed one, their numbers."""
    return ["unknown", *store.value_names(workdir, field, size)]
