"""Recommenders as scikit-learn's estimators, over DataFrames.

    model = autoloss_jax.Classifier()
    model.fit(log, clicked, trusted=(sample, right_labels), context=["platform"])
    model.predict_proba(new_rows)

A fitted estimator is a run in a folder, as the command line makes it: `workdir`, or a folder that
goes when the estimator does.
"""

import abc
import io
import json
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import polars as pl
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.model_selection import train_test_split
from sklearn.utils import assert_all_finite, check_array
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from autoloss_jax.algorithm import methods
from autoloss_jax.api import runs
from autoloss_jax.config import Config, Method, presets
from autoloss_jax.config.errors import UserError
from autoloss_jax.data import frames
from autoloss_jax.data.read import columns
from autoloss_jax.distributed import documents
from autoloss_jax.training import evaluation

if TYPE_CHECKING:
    from autoloss_jax.analysis.explanation import Explanation

DECIDE = 0.1  # of the rows: they decide early stopping where no others are given
CALIBRATED = 100  # rows that decide, from which on they correct probabilities too
LEVELS = 32  # the most classes that a regression is cut into
LABEL, WEIGHT = "the label", "the weight"  # columns of its own
RECORD = "estimator.json"
LEFT = ("data", "cache", "checkpoints", "search", "tensorboard")  # what a saved one does without


class _Recommender(BaseEstimator, abc.ABC):
    """What both estimators share: from frames to a run, and from a run to probabilities."""

    run_: runs.TrainedRun
    n_features_in_: int

    def __init__(
        self,
        *,
        model: str = "deepfm",
        members: int | None = None,
        method: str | None = None,
        noise: str = "missing",
        epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float = 1e-3,
        categorical: Sequence[str] = (),
        numeric: Sequence[str] = (),
        bags: Sequence[str] = (),
        config: Mapping[str, Any] | None = None,
        workdir: str | Path | None = None,
        random_state: int | None = None,
        verbose: bool = False,
    ):
        self.model = model
        self.members = members
        self.method = method
        self.noise = noise
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.categorical = categorical
        self.numeric = numeric
        self.bags = bags
        self.config = config
        self.workdir = workdir
        self.random_state = random_state
        self.verbose = verbose

    def explain(self) -> "Explanation":
        """How good the model is, and what it learned, as numbers: `TrainedRun.explain`."""
        check_is_fitted(self)
        return self.run_.explain()

    def report(self, output: str | Path) -> None:
        """Write the same as one HTML page that opens without a network."""
        check_is_fitted(self)
        self.run_.report(output)

    def save(self, folder: str | Path) -> None:
        """Write the run, with what the estimator knows beside it, into a new folder.

        Raises:
            ValueError: if there is such a folder.
        """
        check_is_fitted(self)
        folder = Path(folder)
        if folder.exists():
            raise ValueError(f"{folder}: it exists; name a new folder")
        _unpack(_packed(self.run_.workdir), folder)

    @classmethod
    def load(cls, folder: str | Path, *, allow_imports: Sequence[str] = ()) -> Self:
        """The estimator that was saved in, or fitted with `workdir=`, this folder.

        `allow_imports` names the modules whose code it may use, where its model or a loss is of
        somebody's own.

        Raises:
            ValueError: if there is none.
        """
        path = Path(folder) / RECORD
        try:
            record = documents.read(path, {"kind": str, "parameters": dict, "fitted": dict})
            if record["kind"] != cls.__name__:
                raise ValueError(f"a {record['kind']}")
            found = cls(**record["parameters"])
            found._restore(record["fitted"])
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path}: no saved {cls.__name__} ({error})") from error
        found.run_ = runs.load(folder, allow_imports=allow_imports)
        return found

    def fit(
        self,
        X: Any,
        y: Any,
        *,
        trusted: Sequence[Any] | None = None,
        eval_set: Sequence[Any] | None = None,
        sample_weight: Any = None,
        context: Any = None,
    ) -> Self:
        """Train.

        Args:
            X: n rows: a polars or pandas DataFrame, a dict of columns, an array, or what
                `data/frames.py` takes for a table, as one of Arrow.
            y: [n], their labels.
            trusted: (X, y) of rows whose labels are right; (X, y, context) where `context` is a
                frame. The recommender learns from them, and they say how wrong y is.
            eval_set: (X, y) of rows that decide early stopping and correct the probabilities.
                None: half of the trusted rows, or a tenth of X where there are none.
            sample_weight: [n], how much each row of X counts.
            context: on what the label noise depends. Names of columns of X; or a frame of n rows
                that only the loss sees, as nobody knows them when a row is scored.

        Raises:
            ValueError: for rows or labels that nothing can be learned from.
        """
        rows, y = self._rows(X, reset=True), _labels(y)
        num_classes = self._learn(y)
        names, unseen = _context(context)
        log = _labelled(rows, self._encoded(y), unseen, sample_weight)
        right = None if trusted is None else self._other(*trusted)
        deciding = None if eval_set is None else self._other(*eval_set)
        if deciding is None and right is not None:
            right, deciding = _divided(right, 0.5, self.random_state)
        elif deciding is None:
            log, deciding = _divided(log, DECIDE, self.random_state)
        folder = self._open()
        _write(folder / "data", train=log, valid=deciding, trusted=right)
        keys = presets.BY_RULE | self._declared(rows) | self._settings(folder, num_classes)
        keys |= self._method(right is not None, num_classes)
        keys |= {
            "data.weight": "" if sample_weight is None else WEIGHT,
            "data.context": names,
        }
        keys |= {**(self.config or {})}
        if right is not None:
            keys["data.trusted"] = str(folder / "data" / "trusted.parquet")
        try:
            self.run_ = runs.train(Config().replace(keys), folder, progress=self.verbose)
        except UserError as error:
            raise ValueError(str(error)) from error
        record = {
            "kind": type(self).__name__,
            "parameters": self.get_params(deep=False),
            "fitted": self._record(),
        }
        documents.write(folder / RECORD, json.loads(json.dumps(record, default=str)))
        return self

    @abc.abstractmethod
    def _learn(self, y: np.ndarray) -> int:
        """How many classes the labels have, after keeping which; ValueError for less than two."""

    @abc.abstractmethod
    def _encoded(self, y: Any) -> np.ndarray:
        """Labels as classes, 0..C-1."""

    def _settings(self, folder: Path, num_classes: int) -> dict[str, Any]:
        """Config keys of the data, the model and the training."""
        return {
            "data.path": str(folder / "data"),
            "data.cache": str(folder / "cache"),
            "data.label": LABEL,
            "data.num_classes": num_classes,
            "data.split": (1 - DECIDE, DECIDE, 0.0),
            "model.name": self.model,
            "model.members": self.members or 0,
            "optimizer.learning_rate": self.learning_rate,
            "train.epochs": self.epochs or 0,
            "train.batch_size": self.batch_size or 0,
            "run.seed": self.random_state or 0,
        }

    def _record(self) -> dict[str, Any]:
        """What `fit` found, as JSON has it."""
        found = {"n_features_in_": self.n_features_in_}
        if hasattr(self, "feature_names_in_"):
            found["feature_names_in_"] = self.feature_names_in_.tolist()
        return found

    def _restore(self, record: dict[str, Any]) -> None:
        for name, value in record.items():
            setattr(self, name, np.asarray(value) if isinstance(value, list) else value)

    def _method(self, trusted: bool, num_classes: int) -> dict[str, Any]:
        """Config keys of how the loss is chosen."""
        if self.method is None:
            keys = methods.recommended(num_classes, trusted)
        else:
            keys = {"method.name": self.method}
        learns = methods.wants_trusted_rows(Method(name=keys["method.name"]))
        share = 0.5 if learns and not trusted else 0.0
        return keys | {
            "method.noise": self.noise,
            "data.trusted_share": share,
            "data.train_on_trusted": trusted,
        }

    def _declared(self, rows: pl.DataFrame) -> dict[str, tuple[str, ...]]:
        """Config keys of what each column is; of those that are not declared, as they look."""
        declared = {kind: tuple(getattr(self, kind)) for kind in columns.KINDS}
        known = {name for names in declared.values() for name in names}
        looked_at = [rows[n].head(columns.SAMPLE_ROWS) for n in rows.columns if n not in known]
        found = columns.by_kind(map(columns.taken_for, looked_at))
        kinds = {kind: names + found[kind] for kind, names in declared.items()}
        if not any(kinds.values()):
            raise ValueError("X: no column to learn from: each is constant, or a value a row")
        return {f"data.{kind}": names for kind, names in kinds.items()}

    def _rows(self, X: Any, *, reset: bool = False) -> pl.DataFrame:
        """X as a frame, with the columns that `fit` saw."""
        if frames.is_table(X):
            X = frames.table(X)
        if not hasattr(X, "columns"):
            X = check_array(X, dtype=None, ensure_all_finite="allow-nan", estimator=self)
        validate_data(self, X, reset=reset, skip_check_array=True)
        rows = frames.table(X)
        names = getattr(self, "feature_names_in_", None)
        if names is not None and not hasattr(X, "columns"):
            rows.columns = [*names]
        return rows

    def _other(self, X: Any, y: Any, context: Any = None) -> pl.DataFrame:
        """Labelled rows beside those that are fitted."""
        return _labelled(self._rows(X), self._encoded(y), context)

    def _probabilities(self, X: Any) -> np.ndarray:
        """float[n, C]."""
        check_is_fitted(self)
        enough = self.run_.result["num_examples"]["val"] >= CALIBRATED
        found = self.run_.predict(self._rows(X), calibrated=enough)
        return found if found.ndim == 2 else np.stack([1 - found, found], axis=1)

    def _open(self) -> Path:
        """The folder of a new run."""
        if self.workdir is None:
            self._folder = tempfile.TemporaryDirectory(prefix="autoloss_jax-")
            return Path(self._folder.name)
        if (Path(self.workdir) / "result.json").exists():
            raise ValueError(
                f"workdir={str(self.workdir)!r}: a run is there; name another folder, or load it"
            )
        return Path(self.workdir)

    def __getstate__(self) -> dict[str, Any]:
        kept: Any = super().__getstate__()
        state = {**kept}
        if state.pop("_folder", None):
            state["_packed"] = _packed(state.pop("run_").workdir)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        if packed := state.pop("_packed", None):
            self._folder = tempfile.TemporaryDirectory(prefix="autoloss_jax-")
            _unpack(packed, Path(self._folder.name))
            state["run_"] = runs.load(self._folder.name)
        super().__setstate__(state)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        return tags


class Classifier(ClassifierMixin, _Recommender):
    """A recommender of clicks, or of any two or more classes, trained on a chosen loss.

    Args:
        model: the recommender, as "deepfm", "ipnn" or "lr": `config.Model.name`.
        members: how many of it learn together; the mean of their logits is the prediction. None:
            8, and of more than 50,000 rows 4.
        method: how the loss is chosen, as "ce", "corrected" or "autoloss": `config.Method.name`.
            None: corrected for label noise where trusted rows are given, else "ce".
        noise: what is wrong with labels that are not trusted: some positives are "missing", or
            some labels are "flipped".
        epochs: the most passes over the rows; None: 20, and at least 6,000 steps.
        batch_size: rows a step; None: a hundredth of the rows, from 32 to 4096.
        learning_rate: Adam's.
        categorical, numeric, bags: columns of X by kind. What none of them names is taken for
            what it holds (`data/read/columns.py`).
        config: more config keys, as {"model.embed_dim": 8, "optimizer.l2": 0.01}.
        workdir: the run's folder; None: one that goes when the estimator does.
        random_state: the seed of the training, and of which rows decide early stopping; None: 0.
        verbose: tell on stderr how far it is.

    Attributes:
        classes_: the classes, in the order of `predict_proba`'s columns.
        run_: the `TrainedRun`.

    Example:
        >>> import numpy as np, polars as pl
        >>> from autoloss_jax import Classifier
        >>> random = np.random.default_rng(0)
        >>> site = random.integers(0, 4, 400)
        >>> clicked = random.random(400) < 0.1 + 0.8 * (site % 2)
        >>> log = pl.DataFrame({"site": [f"s{v}" for v in site]})
        >>> model = Classifier(model="lr", learning_rate=0.05, epochs=3).fit(log, clicked)
        >>> model.predict(pl.DataFrame({"site": ["s0", "s1"]})).tolist()
        [False, True]
    """

    classes_: np.ndarray

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probabilities of the classes, float[n, C]; calibrated if enough rows decided."""
        return self._probabilities(X)

    def predict(self, X: Any) -> np.ndarray:
        """The likeliest class of each row, [n]."""
        likeliest = self._probabilities(X).argmax(axis=1)
        return self.classes_[likeliest]

    def evaluate(self, X: Any, y: Any) -> dict[str, Any]:
        """{"auc", "logloss"} of labelled rows; AUC is one-vs-rest for several classes."""
        logits = np.log(np.clip(self._probabilities(X), 1e-12, 1))
        if logits.shape[1] == 2:
            logits = logits[:, 1:] - logits[:, :1]
        return evaluation.figures({"y": self._encoded(y)}, logits)

    def _learn(self, y: np.ndarray) -> int:
        check_classification_targets(y)
        self.classes_ = np.unique(y)
        if len(self.classes_) < 2:
            raise ValueError(f"y has one class, {self.classes_[0]!r}; nothing can be learned")
        return len(self.classes_)

    def _encoded(self, y: Any) -> np.ndarray:
        y = _labels(y)
        if unknown := sorted({*y.tolist()} - {*self.classes_.tolist()}, key=str):
            raise ValueError(f"label {unknown[0]!r}: not among the classes of y")
        return np.searchsorted(self.classes_, y)

    def _record(self) -> dict[str, Any]:
        return super()._record() | {"classes_": self.classes_.tolist()}


class Regressor(RegressorMixin, _Recommender):
    """A recommender of ratings: the mean over the levels of y, by their probabilities.

    A y of more than 32 values is cut into 32 levels of equally many rows.

    Args: those of `Classifier`.

    Attributes:
        levels_: the values of y, or the means of its levels, ascending.
        run_: the `TrainedRun`.

    Example:
        >>> import numpy as np, polars as pl
        >>> from autoloss_jax import Regressor
        >>> movie = np.arange(400) % 4
        >>> ratings = pl.DataFrame({"movie": [f"m{v}" for v in movie]})
        >>> model = Regressor(model="lr", learning_rate=0.1, epochs=10).fit(ratings, 1 + movie)
        >>> low, high = model.predict(pl.DataFrame({"movie": ["m0", "m3"]}))
        >>> bool(low < 2.5 < high)
        True
    """

    levels_: np.ndarray

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.regressor_tags.poor_score = True  # 200 rows are few for 32 levels
        return tags

    def predict(self, X: Any) -> np.ndarray:
        """The mean of y for each row, float[n]."""
        return self._probabilities(X) @ self.levels_

    def evaluate(self, X: Any, y: Any) -> dict[str, float]:
        """{"rmse", "mae"} of labelled rows."""
        gap = self.predict(X) - _labels(y)
        return {"rmse": float(np.sqrt(np.mean(gap**2))), "mae": float(np.mean(np.abs(gap)))}

    def _learn(self, y: np.ndarray) -> int:
        self.levels_ = _levels(y.astype(np.float64))
        if len(self.levels_) < 2:
            raise ValueError(f"y has one value in {len(y)} samples; nothing can be learned")
        return len(self.levels_)

    def _encoded(self, y: Any) -> np.ndarray:
        edges = (self.levels_[1:] + self.levels_[:-1]) / 2
        return np.searchsorted(edges, _labels(y).astype(np.float64))

    def _record(self) -> dict[str, Any]:
        return super()._record() | {"levels_": self.levels_.tolist()}


def _labels(y: Any) -> np.ndarray:
    """[n]; ValueError for a label that is none."""
    if y is None:
        raise ValueError("requires y to be passed, but the target y is None")
    y = column_or_1d(np.asarray(y), warn=True)
    assert_all_finite(y, input_name="y")
    return y


def _levels(y: np.ndarray) -> np.ndarray:
    """The values of y, or, where they are many, the means of parts of equally many rows."""
    values = np.unique(y)
    if len(values) <= LEVELS:
        return values
    edges = np.quantile(y, np.linspace(0, 1, LEVELS + 1)[1:-1])
    _, codes = np.unique(np.searchsorted(edges, y), return_inverse=True)
    return np.unique(np.bincount(codes, y) / np.bincount(codes))


def _context(context: Any) -> tuple[tuple[str, ...], pl.DataFrame | None]:
    """(The names of the context's columns, those of them that only the loss sees)."""
    if context is None or isinstance(context, str | list | tuple):
        return ((context,) if isinstance(context, str) else tuple(context or ())), None
    unseen = frames.table(context)
    return tuple(unseen.columns), unseen


def _labelled(
    rows: pl.DataFrame, codes: np.ndarray, context: Any = None, weight: Any = None
) -> pl.DataFrame:
    """Rows with their labels, the context that only the loss sees, and their weights; without those
    of weight zero.
    """
    parts = {"y": pl.DataFrame({LABEL: codes})}
    if context is not None:
        parts["context"] = frames.table(context)
    if weight is not None:
        weight = np.asarray(weight, np.float64)
        if weight.ndim != 1:
            raise ValueError(f"sample_weight: wants one number a row, and has shape {weight.shape}")
        parts["sample_weight"] = pl.DataFrame({WEIGHT: weight})
    for name, part in parts.items():
        if part.height != rows.height:
            raise ValueError(f"{name} has {part.height} rows, and X has {rows.height}")
        if both := {*rows.columns} & {*part.columns}:
            raise ValueError(f"column {min(both)!r} is in X and in {name}; rename one of them")
    found = pl.concat([rows, *parts.values()], how="horizontal")
    return found if weight is None else _counting(found)


def _counting(log: pl.DataFrame) -> pl.DataFrame:
    """The rows whose weight is not zero."""
    kept = log.filter(pl.col(WEIGHT) != 0)
    if kept.is_empty():
        raise ValueError("sample_weight is zero for every row")
    if kept[LABEL].n_unique() < 2:
        raise ValueError("y has one class among the rows whose sample_weight is not zero")
    return kept


def _divided(
    rows: pl.DataFrame, share: float, seed: int | None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Two random parts, the second of this share, with as many rows of each class as can be."""
    labels = rows[LABEL].to_numpy()
    count = max(round(share * rows.height), 1)
    if rows.height < 2:
        raise ValueError(f"{rows.height} sample: wants two or more rows, to learn and to decide")
    rarest = np.bincount(labels)[np.unique(labels)].min()
    alike = rarest > 1 and len(np.unique(labels)) <= min(count, rows.height - count)
    index = np.arange(rows.height)
    kept, part = train_test_split(
        index, test_size=count, random_state=seed or 0, stratify=labels if alike else None
    )
    return rows[np.sort(kept)], rows[np.sort(part)]


def _write(
    folder: Path, train: pl.DataFrame, valid: pl.DataFrame, trusted: pl.DataFrame | None
) -> None:
    """A Parquet file of each part. What the rows that decide lack is of no use there."""
    folder.mkdir(parents=True, exist_ok=True)
    lacking = [name for name in train.columns if name not in valid.columns]
    blank = [pl.lit(1.0 if name == WEIGHT else "").alias(name) for name in lacking]
    train.write_parquet(folder / "train.parquet")
    valid.with_columns(blank).write_parquet(folder / "valid.parquet")
    if trusted is not None:
        trusted.write_parquet(folder / "trusted.parquet")


def _packed(folder: Path) -> bytes:
    """A run's folder, without what can be made again."""
    found = io.BytesIO()
    with tarfile.open(fileobj=found, mode="w:gz") as archive:
        for path in sorted(folder.iterdir()):
            if path.name not in LEFT:
                archive.add(path, path.name)
    return found.getvalue()


def _unpack(packed: bytes, folder: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")
