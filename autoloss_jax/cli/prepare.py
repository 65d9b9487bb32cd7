"""autoloss prepare --config=criteo [--config.data.path='day_*.gz'
...]: raw files -> a prepared dataset, whose folder is printed

Training does the same when it begins. A dataset that is there already is found, one that was
killed goes on.
"""

from autoloss_jax import config
from autoloss_jax.cli import app, command_line


def main() -> None:
    """Prepare the data of the config on the command line."""
    folder, cfg = command_line.folder(), config.check(command_line.config(config.Config))
    from autoloss_jax.data.prepare import pipeline  # Polars and JAX, after the flags
    from autoloss_jax.training import defaults
    from autoloss_jax.training.run import Run

    cfg = defaults.resolved(cfg, folder, app.say)
    print(pipeline.prepare(Run.of(cfg).data, app.say).path)


if __name__ == "__main__":
    app.enter(main, __name__)
