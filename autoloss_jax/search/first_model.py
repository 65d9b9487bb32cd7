"""The training before one that is corrected for label noise: of train's labels as they are."""

from collections.abc import Callable
from pathlib import Path

from autoloss_jax.algorithm import methods
from autoloss_jax.config import Config, settings
from autoloss_jax.training import loop
from autoloss_jax.training.run import Run

KEYS = {
    "method.name": "ce",
    "method.rates": "counts",
    "data.trusted_repeats": 0,
    "data.train_share": 1.0,
}


def given(cfg: Config, workdir: Path, say: Callable[[str], None], shown: bool = True) -> Config:
    """`cfg` with the first model that it wants, trained in `workdir/first_model`.

    The trusted rows stay out, so that what the model says about them is said of new rows.
    """
    if not methods.wants_first_model(cfg.method):
        return cfg
    say("first a model of train's labels as they are")
    # the same prepared data, with the same vocabularies
    same = {"data.train_on_trusted": Run.of(cfg).data.train_on_trusted}
    folder = workdir / "first_model"
    loop.train(settings.with_keys(cfg, KEYS | same), folder, say, shown=shown)
    return settings.with_keys(cfg, {"method.first_model": str(folder)})
