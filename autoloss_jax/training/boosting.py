"""Gradient boosting on the rows of a run, by libraries that are extras: LightGBM and CatBoost.

Shapes: n rows, S slots, C classes.
"""

import importlib
import os
from typing import Any

import numpy as np

from autoloss_jax.config.errors import UserError
from autoloss_jax.data import store
from autoloss_jax.data.load import host
from autoloss_jax.data.schema import Schema
from autoloss_jax.data.store import Store
from autoloss_jax.training.baselines import Fitted, Rows

TREES, PATIENCE = 2000, 50  # at most; without a better logloss on val
BAG_VALUES = 64  # of a bag's vocabulary, the commonest, that are a column each


def lightgbm(rows: Rows, data: Store, seed: int = 0) -> Fitted:
    """Ke et al., NeurIPS 2017, at its defaults, with as many trees as val wants."""
    boosting = _library("lightgbm")
    parts, weight = _tables(rows, data)
    numbers, categories = parts[0]
    columns = list(range(numbers.shape[1], numbers.shape[1] + categories.shape[1]))
    learned, val = (
        boosting.Dataset(
            np.hstack(part), split["y"], weight=w, categorical_feature=columns, free_raw_data=False
        )
        for part, split, w in zip(parts, (_whole(rows.learned), rows.val), weight, strict=False)
    )
    classes = data.schema.num_classes
    parameters = {
        "objective": "multiclass" if classes > 2 else "binary",
        "num_class": classes if classes > 2 else 1,
        "num_threads": len(os.sched_getaffinity(0)),
        "seed": seed,
        "deterministic": True,
        "verbosity": -1,
    }
    stop = boosting.early_stopping(PATIENCE, verbose=False)
    trees = boosting.train(parameters, learned, TREES, [val], callbacks=[stop])
    of_val, of_test = (trees.predict(np.hstack(part), raw_score=True) for part in parts[1:])
    return _boosted(of_val, of_test, trees.best_iteration, rows)


def catboost(rows: Rows, data: Store, seed: int = 0) -> Fitted:
    """Prokhorenkova et al., NeurIPS 2018, at its defaults, with as many trees as val wants."""
    boosting = _library("catboost")
    parts, weights = _tables(rows, data)
    tables = [
        boosting.FeaturesData(
            num_feature_data=numbers if numbers.shape[1] else None,
            cat_feature_data=categories.astype("S").astype(object) if categories.size else None,
        )
        for numbers, categories in parts
    ]
    model = boosting.CatBoostClassifier(
        loss_function="MultiClass" if data.schema.num_classes > 2 else "Logloss",
        thread_count=len(os.sched_getaffinity(0)),
        early_stopping_rounds=PATIENCE,
        allow_writing_files=False,
        random_seed=seed,
        verbose=0,
    )
    learned, val = (
        boosting.Pool(of, split["y"], weight=w)
        for of, split, w in zip(tables, (_whole(rows.learned), rows.val), weights, strict=False)
    )
    model.fit(learned, eval_set=val)
    of_val, of_test = (model.predict(of, prediction_type="RawFormulaVal") for of in tables[1:])
    return _boosted(of_val, of_test, model.tree_count_, rows)


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise UserError(
            f"--config.method.name={name}: {name} is not installed; pip install {name}, or "
            "pip install '.[boosting]'"
        ) from None


def _whole(parts: tuple[host.Split, ...]) -> host.Split:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _tables(rows: Rows, data: Store) -> tuple[list[tuple[np.ndarray, np.ndarray]], list[Any]]:
    """((Numbers float32[n, any], categories int32[n, any]) of the rows to learn from, val and test;
    the weights of the first two).
    """
    learned, schema = _whole(rows.learned), data.schema
    bags = {
        field: _commonest(learned, schema, field)
        for field, slots in enumerate(schema.slots[: schema.num_inputs])
        if slots > 1
    }
    splits = (learned, rows.val, rows.test)
    return [_table(split, data, bags) for split in splits], [learned.get("weight"), None]


def _commonest(split: host.Split, schema: Schema, field: int) -> np.ndarray:
    """The commonest ids of a bag."""
    slots, first = _slots(schema, field), int(schema.offsets[field])
    used = split["x"][:, slots][split["v"][:, slots] != 0] - first
    counts = np.bincount(used, minlength=schema.vocab_sizes[field])
    return first + np.argsort(-counts, kind="stable")[:BAG_VALUES]


def _slots(schema: Schema, field: int) -> slice:
    begin = sum(schema.slots[:field])
    return slice(begin, begin + schema.slots[field])


def _table(
    split: host.Split, data: Store, bags: dict[int, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """A bag is a column for each of its commonest values; a number is a number, NaN where blank."""
    schema = data.schema
    numbers: list[np.ndarray] = []
    categories: list[np.ndarray] = []
    for field, name in enumerate(schema.fields[: schema.num_inputs]):
        slots = _slots(schema, field)
        ids = np.asarray(split["x"][:, slots])
        places = ids[:, 0] - int(schema.offsets[field])
        if field in bags:
            used = np.where(np.asarray(split["v"][:, slots]) != 0, ids, -1)
            numbers += [(used == value).any(axis=1) for value in bags[field]]
        elif name in schema.scales:
            numbers.append(np.where(places == 0, np.nan, np.asarray(split["v"][:, slots])[:, 0]))
        elif name in schema.buckets:
            of_bucket = [float(word or "nan") for word in store.words(data.path, name)]
            numbers.append(np.array([np.nan, *of_bucket])[places])
        else:
            categories.append(places)
    none = np.zeros((len(split["y"]), 0))
    of_numbers, of_categories = (
        np.stack(found, axis=1) if found else none for found in (numbers, categories)
    )
    return of_numbers.astype(np.float32), of_categories.astype(np.int32)


def _boosted(of_val: np.ndarray, of_test: np.ndarray, trees: int, rows: Rows) -> Fitted:
    of_val, of_test = (z.reshape(len(z), -1).astype(np.float64) for z in (of_val, of_test))
    return Fitted(of_val, of_test, max(trees, 1), host.num_rows(rows.learned))
