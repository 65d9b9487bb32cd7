"""python -m autoloss_jax.cli.prepare --config=configs/criteo.py [--config.data.path='day_*.gz'
...]: raw files -> a prepared dataset, whose folder is printed

Training does the same when it begins. A dataset that is there already is found, one that was
killed goes on.
"""

from autoloss_jax import config
from autoloss_jax.cli import app
from autoloss_jax.cli.app import CONFIG, say
from autoloss_jax.data import synthetic
from autoloss_jax.data.prepare import pipeline
from autoloss_jax.training.run import Run


def main() -> None:
    """Prepare the data of the config on the command line."""
    cfg = synthetic.generated(config.check(CONFIG.value), app.folder(), say)
    print(pipeline.prepare(Run.of(cfg).data, say).path)


if __name__ == "__main__":
    app.enter(main, __name__)
