"""python -m autoloss_jax.data.prepare --config=configs/criteo.py [--config.data.path='day_*.gz' ...]: raw files -> a prepared dataset, whose folder is printed

Training does the same when it begins. A dataset that is there already is found, one that was killed goes on.
"""

from autoloss_jax import config, door, session
from autoloss_jax.data import preparation, synthetic
from autoloss_jax.door import CONFIG, say


def main() -> None:
    """Prepare the data of the config on the command line."""
    cfg = synthetic.generated(config.check(CONFIG.value), door.folder(), say)
    print(preparation.prepare(session.data_of(cfg), say).path)


if __name__ == "__main__":
    door.enter(main, __name__)
