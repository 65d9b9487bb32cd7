"""MeLU-style static weights of the pool: one training by `algorithm/melu.py` finds them, another
uses them.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from autoloss_jax.algorithm.controller import shared_weights
from autoloss_jax.config import Config
from autoloss_jax.training import checkpoint, loop


def weights(
    cfg: Config, workdir: Path, say: Callable[[str], None], shown: bool = True
) -> dict[str, Any]:
    """Weights of `cfg.method.pool` that sum to one, as a config key: softmax(theta) at the best
    evaluation of the search.

    The search is a run of its own, left in `workdir`. It ends as every run ends, by the
    early-stopping rows; nothing in it is learnt from them.
    """
    loop.train(cfg, workdir, say, shown=shown)
    searched = checkpoint.load(checkpoint.best(workdir)).state
    return {"method.static": tuple(shared_weights(searched.controller.params).tolist())}
