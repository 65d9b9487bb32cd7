"""What a file of configs/studies describes: the grid of a study. It imports nothing heavy, so
that such a file is read, and its flags are checked, at once.
"""

import dataclasses

from autoloss_jax.config.settings import field


@dataclasses.dataclass(frozen=True)
class Study:
    """What a file of configs/studies describes."""

    name: str = field("", "what its files are called")
    datasets: tuple[str, ...] = field(
        (),
        "files of configs/, with :variant; without, in the variant of the model's name if there "
        "is one",
    )
    models: tuple[str, ...] = field((), "recommenders")
    methods: tuple[str, ...] = field((), "ways of choosing a loss")
    ours: tuple[str, ...] = field(
        ("autoloss",), "the methods that are tested against the best of the others"
    )
    oracles: tuple[str, ...] = field(
        (),
        "methods that know what nobody knows, as clean labels: no rivals of `ours`, never in bold",
    )
    gap: tuple[str, ...] = field(
        (),
        "two methods: each row says what share of the gap between the first and the second it "
        "recovers, in AUC and in calibrated logloss",
    )
    titles: tuple[str, ...] = field(
        (), "what the methods are called for people, in their order; empty: as they are spelled"
    )
    seeds: int = field(10, "seeds 0, 1, ... of every row", low=1)
    train_on_trusted: bool = field(
        False, "methods that do not search train on the controller's share of val too"
    )
    searched_on: str = field(
        "",
        "dataset and model on which METHOD of method.transfer_from=METHOD is trained, with the "
        "same seed; empty: those of the row",
    )
    over: tuple[str, ...] = field(
        (), "config keys that are tuned for every row, as search.over of a training"
    )
    trials: int = field(10, "trainings for that, by validation logloss, with seed 0", low=1)
    raw: str = field("", "the folder of the raw data, a file or folder in it for each dataset")
    cache: str = field("", "folder of prepared datasets, as data.cache of a training")
    known: tuple[str, ...] = field(
        (), "-runs.csv of earlier studies: trainings whose figures are there are not repeated"
    )


QUICK = {
    "datasets": ("quickstart:quick",),
    "models": ("deepfm",),
    "seeds": 2,
}  # what studies' :quick have in common
