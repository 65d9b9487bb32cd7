"""What several recommenders are worth whose mean logit is the prediction, and whether losses of
their own make their mean better.

    autoloss study --config=members --config.raw=DIR --workdir=runs/members

Of K recommenders that share nothing, and of K that share their embeddings and their network:
figures, and seconds of training. Then four that share nothing, and learn from another loss, from
a loss of each (a spread that is fixed), from one mixture that is searched, and from mixtures that
are searched member by member. V descends cross-entropy of their mean.

MovieLens 1M cut to 20,000 and 100,000 rows, with values by rule. Data: a folder with movielens1m/.
Result: WORKDIR/members.md, .csv, .png, report.html. `:frappe` is the same on Frappe, with the
board's values; `:quick` is a grid of minutes on made-up data.
"""

from autoloss_jax.config import settings
from autoloss_jax.studies.study import QUICK, Study

FOUR = "model.members=4"
SPREAD = (  # a loss a member
    'static method.pool=["ce","focal(gamma=0.5)","focal","mse"] '
    f"method.static={[float(i == k) for k in range(4) for i in range(4)]} {FOUR}"
).replace(", ", ",")
FOLD = "data.trusted_fold=[0,5]"  # a fifth of train teaches V, and then the recommender too
SEARCHED = (f"retrain {FOLD} method.by_member=false", f"retrain {FOLD}")
LOSSES = (f"focal(gamma=0.5) {FOUR}", f"al1 {FOUR}", SPREAD, *(f"{s} {FOUR}" for s in SEARCHED))


def _methods(most: int) -> tuple[str, ...]:
    sizes = [k for k in (1, 2, 4, 8, 16, 32) if k <= most]
    shared = [f"ce model.members={k} model.shared=true" for k in sizes if k > 2]
    return (*(f"ce model.members={k}" for k in sizes), *shared, *LOSSES)


VARIANTS = {
    "frappe": {"name": "members_frappe", "datasets": ("frappe",), "methods": _methods(8)},
    "quick": QUICK | {"methods": ("ce", "ce model.members=2"), "ours": ("ce model.members=2",)},
}


def get_config(variant: str = "") -> Study:
    """Variants: frappe, quick."""
    return settings.variant(
        Study(
            name="members",
            datasets=("small:movielens_20k", "small:movielens_100k"),
            models=("deepfm",),
            methods=_methods(32),
            ours=(LOSSES[-1],),
            seeds=5,
            train_on_trusted=True,
        ),
        variant,
        VARIANTS,
    )
