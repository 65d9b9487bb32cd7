"""Search, freeze, retrain: what AutoLoss is for in practice, where no row of the data should be lost to the search."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from autoloss_jax import settings, train
from autoloss_jax.config import Config


def controller(cfg: Config, workdir: Path, say: Callable[[str], None], shown: bool = True) -> dict[str, Any]:
    """A controller searched on train and its share of val, left in `workdir`; as config keys.

    The recommender is then trained from its start under the frozen controller, its snapshots replayed in turn, with
    `data.fold_in_val` on the rows that taught it too.
    """
    searching = settings.with_keys(cfg, {"method.name": "autoloss", "data.fold_in_val": False})
    train.train(searching, workdir, say, shown=shown)
    return {"method.transfer_from": str(workdir)}
