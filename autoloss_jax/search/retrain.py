"""Search, freeze, retrain: what AutoLoss is for in practice, where no row of the data should be
lost to the search.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from autoloss_jax.algorithm import methods
from autoloss_jax.config import Config, settings
from autoloss_jax.search import first_model
from autoloss_jax.training import frozen_controllers, loop


def controller(
    cfg: Config, workdir: Path, say: Callable[[str], None], shown: bool = True
) -> dict[str, Any]:
    """A controller searched on train and its share of val, left in `workdir`; as config keys.

    The recommender is then trained from its start under the frozen controller, its snapshots
    replayed in turn, with `data.train_on_trusted` on the rows that taught it too. With
    `method.folds`
    there are several controllers, cross-fitted: each has learned from another part of these
    rows, whose recommender learned from the rest.
    """
    folds = cfg.method.folds
    for k, source in enumerate(frozen_controllers.sources(workdir, folds)):
        if folds > 1:
            say(f"retrain: search {k + 1} of {folds}")
        searched = first_model.given(search(cfg, k), source / "search", say, shown)
        loop.train(searched, source, say, shown=shown)
    return {"method.transfer_from": str(workdir)}


def search(cfg: Config, k: int = 0) -> Config:
    """The k-th search before such a training."""
    searched_as = methods.row(cfg.method).searched_as
    keys: dict[str, Any] = {"method.name": searched_as, "method.folds": 1}
    if cfg.method.folds > 1:
        keys["data.trusted_fold"] = (k, cfg.method.folds)
    return settings.with_keys(cfg, keys)
