"""Config keys that belong together: the paper's literal reading of everything, where measurements
have led the defaults elsewhere; and what a table begins with that nobody has tuned.
"""

SETTINGS = {
    "method.pool": ("focal", "kl", "hinge", "ce"),
    "method.val_objective": "mixture",
    "method.virtual_step": "sgd",
    "method.every": 7,
    "model.embed_dim": 16,
    "model.hidden": (128, 128),
    "model.dropout": 0.2,
    "temperature.horizon": 19_800,
    "optimizer.learning_rate": 1e-3,
    "optimizer.controller_learning_rate": 1e-3,
    "optimizer.l2": 0.0,
    "optimizer.clip_norm": 0.0,
    "optimizer.decay": 1.0,
    "train.batch_size": 2000,
}

# docs/research.md, "Defaults by rule", says why.
BY_RULE = {
    "data.crosses": ("auto",),
    "data.min_count": 2,
    "data.target_encoding": ("auto",),
    "model.batch_norm": None,
    "model.embed_init_std": -1.0,
    "model.members": 0,
    "model.regression": None,
    "optimizer.l2": -1.0,
    "optimizer.decay": -1.0,
    "search.over": (
        "optimizer.l2",
        "optimizer.learning_rate",
        "model.dropout",
        "model.embed_dim",
        "model.embed_init_std",
        "train.batch_size",
    ),
    "temperature.horizon": 0,
    "train.batch_size": 0,
    "train.epochs": 0,
    "train.monitor": "calibrated",
    "train.patience": 0,
    "train.smooth": 0,
}
