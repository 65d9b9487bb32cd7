"""The paper's literal reading of everything: config keys, where measurements have led the
defaults elsewhere.
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
