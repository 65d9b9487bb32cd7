"""python -m tests.support.record OUT.json [--devices=4]: trains a matrix of small runs and
writes what each gave, to the bit.

For each run OUT.json has the SHA-256 of its best and its last parameters and its test figures. A
change of the program that is meant to change no figure is checked so: record before it and after
it on one machine, and compare the two files with `cmp`. Another machine rounds differently, and
its record is another one.

The matrix: every method, with DeepFM on sparse Adam and with IPNN on dense Adam, on four kinds
of data (two classes, five classes, bags and numbers, fields that the controller sees). With
--devices the first kind and the last, on that many simulated devices.
"""

import argparse
import hashlib
import itertools
import json
import os
import re
import tempfile
import warnings
from pathlib import Path

import numpy as np

COMMON = {
    "data.format": "tabular",
    "data.name": "recorded",
    "model.embed_dim": 3,
    "model.hidden": (6,),
    "method.hidden": (6,),
    "method.every": 2,
    "train.batch_size": 40,
    "train.epochs": 2,
    "train.log_every": 5,
    "train.eval_batch_size": 80,
    "temperature.horizon": 0,
    "optimizer.learning_rate": 0.01,
    "optimizer.controller_learning_rate": 0.01,
    "search.trials": 2,
}
TASKS = {
    "two classes": {"data.label": "click", "data.categorical": ("a", "b", "c")},
    "five classes": {
        "data.label": "stars",
        "data.categorical": ("a", "b", "c"),
        "data.num_classes": 5,
    },
    "bags and values": {
        "data.label": "click",
        "data.categorical": ("a",),
        "data.bags": ("tags",),
        "data.values": ("price",),
        "data.numeric": ("age",),
    },
    "context": {"data.label": "click", "data.categorical": ("a", "b", "c"), "data.context": ("c",)},
}
MODELS = {
    "deepfm, sparse": {"model.name": "deepfm", "optimizer.embedding": "sparse_adam"},
    "ipnn, dense": {"model.name": "ipnn", "optimizer.embedding": "adam", "optimizer.l2": 0.01},
}
METHODS = {
    "focal(gamma=1.0)": {},
    "al1": {},
    "al2": {},
    "darts": {},
    "slf": {},
    "autoloss, one-hot": {"method.hard": True},
    "autoloss, literal": {
        "method.val_objective": "mixture",
        "method.virtual_step": "sgd",
        "method.detach": False,
    },
    "autoloss, L2 and an end": {
        "method.epochs": 1,
        "method.start": 0.5,
        "method.pool": ("ce", "ce(l2=0.1)"),
    },
    "melu": {},
    "bohb": {},
    "static": {"method.static": (0.1, 0.2, 0.3, 0.4)},
    "transfer": {"method.transfer_from": "autoloss, one-hot"},
    "retrain, replay": {"method.policy": "auto", "data.train_on_trusted": True},
    "retrain, sample": {"method.policy": "sample"},
    "retrain, mean": {"method.policy": "mean"},
    "retrain, folds": {"method.folds": 2, "data.trusted_share": 0.0, "data.train_on_trusted": True},
    "auto": {"search.trials": 7},
}


def write_table(path, rows=600):
    """A made-up table whose clicks and stars depend on the columns."""
    random = np.random.default_rng(0)
    a, b, c = random.integers(0, (9, 7, 4), (rows, 3)).T
    tags = [random.choice(12, random.integers(0, 5), replace=False) for _ in range(rows)]
    price, age = random.lognormal(0, 1, rows), random.integers(18, 80, rows)
    score = (
        np.sin(a)
        + np.cos(2 * b)
        + 0.3 * np.sin(a * b)
        + 0.2 * np.log(price)
        + random.normal(0, 1, rows)
    )
    click, stars = (score > 0.4).astype(int), np.digitize(score, (-1.5, -0.5, 0.5, 1.5))
    lines = ["click,stars,a,b,c,tags,price,age"]
    for i in range(rows):
        words = "|".join(f"t{tag}" for tag in tags[i])
        lines.append(
            f"{click[i]},{stars[i]},a{a[i]},b{b[i]},c{c[i]},{words},{price[i]:.4f},{age[i]}"
        )
    path.write_text("\n".join(lines) + "\n")


def digest(folder):
    """SHA-256 of all parameters of the newest checkpoint in a folder, whatever wrote them."""
    import jax
    import orbax.checkpoint as ocp

    newest = max((p for p in folder.iterdir() if p.name.isdigit()), key=lambda p: int(p.name))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        state = ocp.PyTreeCheckpointer().restore((newest / "state").absolute())
    sum_ = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_flatten_with_path(state)[0]:
        array = np.asarray(
            jax.random.key_data(leaf)
            if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
            else leaf
        )
        sum_.update(
            f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape} ".encode() + array.tobytes()
        )
    return sum_.hexdigest()


def runs(devices):
    """Name -> config keys of the run, in the order of training."""
    tasks = TASKS if devices == 1 else {name: TASKS[name] for name in ("two classes", "context")}
    for (task, data), (model, keys), (method, more) in itertools.product(
        tasks.items(), MODELS.items(), METHODS.items()
    ):
        name = method.partition(",")[0]
        if devices > 1 and name in (
            "auto",
            "bohb",
        ):  # searches over trainings take the same steps again
            continue
        yield f"{task}/{model}/{method}", COMMON | data | keys | {"method.name": name} | more


def train(keys, workdir):
    """The result.json of a run."""
    import autoloss_jax

    return autoloss_jax.train(autoloss_jax.Config().replace(keys), workdir, progress=False).result


def _folder(name):
    return re.sub(r"[^A-Za-z0-9]+", "-", name)


def main():
    """Train all of them, and write what they gave."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--only", default="", help="runs whose names hold this")
    arguments = parser.parse_args()
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={arguments.devices}"
    import jax

    jax.config.update("jax_disable_most_optimizations", True)  # each program runs once, on little
    record = {}
    with tempfile.TemporaryDirectory() as temporary:
        base = Path(temporary)
        write_table(base / "table.csv")
        where = {"data.path": str(base / "table.csv"), "data.cache": str(base / "cache")}
        where |= {"mesh.model": 2} if arguments.devices > 1 else {}
        for name, keys in runs(arguments.devices):
            if arguments.only not in name:
                continue
            workdir = base / "runs" / _folder(name)
            if source := keys.get("method.transfer_from"):
                keys |= {
                    "method.transfer_from": str(
                        workdir.with_name(_folder(name.replace("transfer", source)))
                    )
                }
            result = train(keys | where, workdir)
            record[name] = {
                "best": digest(workdir / "best"),
                "last": digest(workdir / "checkpoints"),
                "test": result["test"],
                "steps": result["steps"],
            }
            print(f"{name}: {record[name]['test']}", flush=True)
            arguments.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
