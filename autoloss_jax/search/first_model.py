"""The training before one that is corrected for label noise: of train's labels as they are."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from autoloss_jax.config import Config, settings
from autoloss_jax.training import loop

KEYS = {
    "method.name": "ce",
    "method.rates": "counts",
    "data.trusted_repeats": 0,  # the vocabularies are the same
    "data.train_share": 1.0,
}


def trained(
    cfg: Config, workdir: Path, say: Callable[[str], None], shown: bool = True
) -> dict[str, Any]:
    """Cross-entropy trained in `workdir` on train alone; as config keys.

    The trusted rows stay out, so that what the model says about them is said of new rows.
    """
    say("first a model of train's labels as they are")
    loop.train(settings.with_keys(cfg, KEYS), workdir, say, shown=shown)
    return {"method.first_model": str(workdir)}
