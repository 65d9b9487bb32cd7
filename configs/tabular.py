"""Any table: CSV, TSV or Parquet with a label, categorical and numeric columns.

    autoloss train --config=tabular --config.data.path=clicks.csv \\
        --config.data.label=click --config.data.categorical="('site','device')" \\
        --config.data.numeric="('age',)" --workdir=runs/clicks

Data: a file (split 8:1:1 at random, or as --config.data.split says), or a folder with train.*,
valid.* and test.*. Labels are 0/1, or 0..C-1 with --config.data.num_classes=C. Numeric columns
are cut at quantiles of train, or, named in --config.data.values instead, standardised on train
and fed as numbers (--config.data.scale=log for heavy tails); blanks are a value of their own;
values seen less than data.min_count times in train share one row per field. Columns named in
--config.data.bags hold several values a cell, as `drama|crime`, or lists in Parquet: the first
data.bag_size of them count.

Batch, epochs, patience, L2 and members follow rules from the number of rows; the run says them as
it begins, and a flag sets each. `:paper` has the paper's settings.

Result: a table of test figures, beside those of one probability for all rows and of a logistic
regression (--config.run.compare="('logistic','lightgbm')" for others), and DIR/result.json.
`:quick` is one epoch of a small network.
"""

from autoloss_jax import config
from autoloss_jax.config import presets, settings

VARIANTS = {
    "paper": presets.SETTINGS,
    "quick": {
        "model.hidden": (16,),
        "model.members": 1,
        "train.epochs": 1,
        "train.batch_size": 100,
    },
}


def get_config(variant: str = "") -> config.Config:
    """Variants: paper, quick."""
    table = config.Config(
        data=config.Data(name="tabular", format="tabular"),
        run=config.Run(compare=("constant", "logistic")),
    )
    return settings.variant(table.replace(presets.BY_RULE), variant, VARIANTS)
