"""Frappe_x1, app usage in context: 288,609 rows, 10 fields, binary; the board's protocol.

    autoloss train --config=frappe --config.data.path=DIR \\
        --workdir=runs/frappe

`autoloss download frappe` fetches the same rows as CSV, and prints the flags
that read them so. Data: a folder with train.libsvm, valid.libsvm and test.libsvm (`label index:1
...`; .libfm and .gz are read too).

Protocol (BARS, Frappe_x1): embed_dim 10, batch 4096, Adam 1e-3, MLP 400-400-400, batch norm,
dropout .2, L2 .05 on the whole table, gradient norm clipped at 10, embeddings N(0, 1e-4^2),
validation AUC decides: rate x 0.1 at each epoch without improvement, stop after two. IPNN there:
dropout .3, no batch norm, patience 3: `:ipnn`.

Result: DeepFM with CE (--config.method.name=ce) reaches the published .98395 test AUC;
`docs/measured.md` has the table. `:encoded` has what train's labels say of users, items, their
pairs with each field, and what a user saw in one context as inputs, which no row of the board has:
.9934, one seed. `:by_rule` has what a table has that nobody has tuned. `:paper` has the AutoLoss
paper's settings; `:quick` one epoch of a small network; `:missing` and `:flipped` have candidates
that reckon with lost positives (data.missing) or wrong labels (data.flipped) in train, and a
controller that learns for the first six epochs, or slowly to the end.
"""

from autoloss_jax import config
from autoloss_jax.config import presets, settings

USER, ITEM, OTHERS = "field_0", "field_1", [f"field_{i}" for i in range(2, 10)]
PAIRS = [f"{USER}*{ITEM}", *(f"{side}*{other}" for side in (USER, ITEM) for other in OTHERS)]
IN_CONTEXT = [
    "*".join([USER, *OTHERS]),
    f"{USER}*field_2*field_3*field_6",
]  # what a user saw together
NOISY = {"model.hidden": (128, 128), "method.every": 3, "data.trusted_share": 0.1}
VARIANTS = {
    "missing": NOISY
    | {
        "method.pool": (
            "ce",
            "missing_ce(rate=0.2)",
            "missing_ce(rate=0.4)",
            "missing_ce(rate=0.6)",
        ),
        "method.epochs": 6,
    },
    "flipped": NOISY
    | {
        "method.pool": (
            "ce",
            "flipped_ce(rate=0.1)",
            "flipped_ce(rate=0.2)",
            "flipped_ce(rate=0.4)",
        ),
        "optimizer.controller_learning_rate": 1e-4,
    },
    "ipnn": {
        "model.name": "ipnn",
        "model.dropout": 0.3,
        "model.batch_norm": False,
        "train.patience": 3,
    },
    "encoded": {"data.target_encoding": (USER, ITEM, *PAIRS, *IN_CONTEXT)},
    "by_rule": presets.BY_RULE | {"data.trusted_share": 0.0},
    "paper": presets.SETTINGS,
    "quick": {"model.hidden": (32,), "train.epochs": 1},
}


def get_config(variant: str = "") -> config.Config:
    """Variants: missing, flipped, ipnn, encoded, by_rule, paper, quick."""
    return settings.variant(
        config.Config(
            data=config.Data(name="frappe", format="libsvm"),
            model=config.Model(embed_dim=10, embed_init_std=1e-4, hidden=(400, 400, 400)),
            temperature=config.Temperature(horizon=0),
            optimizer=config.Optimizer(l2=0.05, clip_norm=10.0, decay=0.1),
            train=config.Train(batch_size=4096, epochs=50),
        ),
        variant,
        VARIANTS,
    )
