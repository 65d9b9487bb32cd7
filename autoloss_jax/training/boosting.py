"""Gradient boosting on the rows of a run, by libraries that are extras: LightGBM and CatBoost.

Shapes: n rows, S slots, C classes.
"""

import functools
import importlib
import os
from typing import Any, NamedTuple

import numpy as np

from autoloss_jax.config.errors import UserError
from autoloss_jax.data import store
from autoloss_jax.data.load import host
from autoloss_jax.data.schema import Schema
from autoloss_jax.data.store import Store
from autoloss_jax.training import metrics
from autoloss_jax.training.baselines import Fitted, Rows
from autoloss_jax.training.objective import Objective

TREES, PATIENCE = 2000, 50  # at most; without a better logloss on val
BAG_VALUES = 64  # of a bag's vocabulary, the commonest, that are a column each


class Table(NamedTuple):
    """Rows as boosting takes them."""

    numbers: np.ndarray  # float32[n, any]
    categories: np.ndarray  # int32[n, any]
    labels: np.ndarray
    weight: np.ndarray | None

    @property
    def columns(self) -> np.ndarray:
        """The numbers, then the categories."""
        return np.hstack([self.numbers, self.categories])


def lightgbm(
    rows: Rows,
    data: Store,
    seed: int = 0,
    objective: Objective | None = None,
    *,
    by_auc: bool = False,
) -> Fitted:
    """Ke et al., NeurIPS 2017, at its defaults, with as many trees as the logloss of val wants,
    or its AUC; `objective` is that of the rows that it learns from, in its own's stead.
    """
    boosting = _library("lightgbm")
    learned, val, test = _tables(rows, data)
    numbers, categories = learned.numbers.shape[1], learned.categories.shape[1]
    dataset = functools.partial(
        boosting.Dataset,
        categorical_feature=list(range(numbers, numbers + categories)),
        free_raw_data=False,
    )
    classes = data.schema.num_classes
    own = "multiclass" if classes > 2 else "binary"
    parameters = {
        "objective": _weighted(objective, learned.weight) if objective else own,
        "metric": ("auc_mu" if classes > 2 else "auc") if by_auc else "None" if objective else "",
        "num_class": classes if classes > 2 else 1,
        "num_threads": len(os.sched_getaffinity(0)),
        "seed": seed,
        "deterministic": True,
        "verbosity": -1,
    }
    trees = boosting.train(
        parameters,
        dataset(learned.columns, learned.labels, weight=learned.weight),
        TREES,
        [dataset(val.columns, val.labels)],
        feval=_logloss if objective and not by_auc else None,
        callbacks=[boosting.early_stopping(PATIENCE, verbose=False)],
    )
    of_val, of_test = (trees.predict(part.columns, raw_score=True) for part in (val, test))
    return _boosted(of_val, of_test, trees.best_iteration, rows)


def _weighted(objective: Objective, weight: np.ndarray | None) -> Any:
    """As LightGBM calls it; it leaves the rows' weights to an objective of ours."""
    by = 1.0 if weight is None else weight

    def given(raw: np.ndarray, dataset: Any) -> tuple[np.ndarray, ...]:
        del dataset
        return tuple(part * by for part in objective(raw))

    return given


def _logloss(raw: np.ndarray, dataset: Any) -> tuple[str, float, bool]:
    """Of raw scores, which LightGBM does not take for logits under an objective of ours."""
    return "logloss", metrics.logloss(dataset.get_label().astype(int), raw[:, None]), False


def catboost(rows: Rows, data: Store, seed: int = 0, *, by_auc: bool = False) -> Fitted:
    """Prokhorenkova et al., NeurIPS 2018, at its defaults, with as many trees as `lightgbm`."""
    boosting = _library("catboost")
    pools = [
        boosting.Pool(
            boosting.FeaturesData(
                num_feature_data=part.numbers if part.numbers.shape[1] else None,
                cat_feature_data=part.categories.astype("S").astype(object)
                if part.categories.shape[1]
                else None,
            ),
            part.labels,
            weight=part.weight,
        )
        for part in _tables(rows, data)
    ]
    model = boosting.CatBoostClassifier(
        loss_function="MultiClass" if data.schema.num_classes > 2 else "Logloss",
        eval_metric="AUC" if by_auc else None,
        thread_count=len(os.sched_getaffinity(0)),
        early_stopping_rounds=PATIENCE,
        allow_writing_files=False,
        random_seed=seed,
        verbose=0,
    )
    model.fit(pools[0], eval_set=pools[1])
    of_val, of_test = (model.predict(of, prediction_type="RawFormulaVal") for of in pools[1:])
    return _boosted(of_val, of_test, model.tree_count_, rows)


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise UserError(
            f"--config.method.name={name}: {name} is not installed; pip install {name}, or "
            "pip install '.[boosting]'"
        ) from None


def whole(parts: tuple[host.Split, ...]) -> host.Split:
    """The rows of several parts."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _tables(rows: Rows, data: Store) -> list[Table]:
    """The rows to learn from, val and test."""
    learned, schema = whole(rows.learned), data.schema
    bags = {
        field: _commonest(learned, schema, field)
        for field, slots in enumerate(schema.slots[: schema.num_inputs])
        if slots > 1
    }
    return [_table(split, data, bags) for split in (learned, rows.val, rows.test)]


def _commonest(split: host.Split, schema: Schema, field: int) -> np.ndarray:
    """The commonest ids of a bag."""
    slots, first = _slots(schema, field), int(schema.offsets[field])
    used = split["x"][:, slots][split["v"][:, slots] != 0] - first
    counts = np.bincount(used, minlength=schema.vocab_sizes[field])
    return first + np.argsort(-counts, kind="stable")[:BAG_VALUES]


def _slots(schema: Schema, field: int) -> slice:
    begin = sum(schema.slots[:field])
    return slice(begin, begin + schema.slots[field])


def _table(split: host.Split, data: Store, bags: dict[int, np.ndarray]) -> Table:
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
    return Table(
        of_numbers.astype(np.float32),
        of_categories.astype(np.int32),
        np.asarray(split["y"]),
        split.get("weight"),
    )


def _boosted(of_val: np.ndarray, of_test: np.ndarray, trees: int, rows: Rows) -> Fitted:
    of_val, of_test = (z.reshape(len(z), -1).astype(np.float64) for z in (of_val, of_test))
    return Fitted(of_val, of_test, max(trees, 1), host.num_rows(rows.learned))
