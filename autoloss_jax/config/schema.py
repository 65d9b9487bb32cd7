"""What a run is: one typed tree of plain values, from a config file, flags or JSON.

A config file is Python (`configs/*.py`, `get_config(variant) -> Config`) and may be overridden
by flags. What is saved beside a checkpoint is JSON, and only JSON is ever read back.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from autoloss_jax.config import renamed, settings
from autoloss_jax.config.errors import UserError, nearest
from autoloss_jax.config.settings import field


@dataclasses.dataclass(frozen=True)
class Data:
    """Where the examples come from and how raw values become ids."""

    name: str = field("", "what the dataset is called in results")
    format: str = field(
        "tabular",
        "layout of the raw files",
        choices=("criteo", "avazu", "ratings", "libsvm", "tabular"),
    )
    path: str = field(
        "",
        "a file or a glob (split at random), or a folder with train.*, valid.* and test.*, or "
        "several of each, as train-0.csv (given splits); or a URL of such, as "
        "s3://bucket/x.parquet, hf://datasets/user/name/x.csv; gzip, zstd, bzip2, xz are read too",
    )
    query: str = field(
        "",
        'instead of `path`: SQL whose rows are the data, which DuckDB answers, as "SELECT * FROM '
        "'log/*.parquet' WHERE day > 3\"; with ORDER BY where they come in no order of their own",
    )
    generate: int = field(
        0, "rows of a made-up Criteo-format file to write to `path` first (the quickstart)", low=0
    )
    cache: str = field(
        "", "folder of prepared datasets; empty: autoloss_jax in the user's cache folder"
    )
    num_classes: int = field(2, "2 for clicks, C for ratings in C classes", low=2, high=1000)
    min_count: int = field(
        1,
        "values seen less often than this in train share the field's out-of-vocabulary row",
        low=1,
    )
    split: tuple[float, ...] = field(
        (0.8, 0.1, 0.1),
        "shares of train, val and test when `path` is one file; with 0 for test there are no "
        "test figures, and a folder needs no test.*",
    )
    split_seed: int = field(
        0, "seed of the random split, of the halves of val, and of noise in the labels", low=0
    )
    time: str = field(
        "",
        "`path` is one file: the column whose numbers say when; train is then the oldest rows, "
        "test the newest, and rows without a time (blank, negative) are left out. Empty: a "
        "random split",
    )
    on_bad_row: str = field(
        "error",
        "a malformed row ends the run, or is skipped and counted",
        choices=("error", "skip"),
    )
    label: str = field("label", "tabular: the column of the label")
    positive: str = field(
        "", "the label that means 1, where labels are other words than 0 and 1; any other means 0"
    )
    classes: tuple[str, ...] = field(
        (),
        "the labels in the order of their classes, where they are other words than 0 to C-1, as "
        "low,mid,high, or 1,2,3,4,5; of numbers the mean is predicted too, with its RMSE and MAE",
    )
    na_values: tuple[str, ...] = field(
        (),
        "tabular: words of categorical columns that stand for a missing value, as NA or \\N; a "
        "blank always does; what is missing is a value of its own",
    )
    header: str = field(
        "auto",
        "whether the first line of a file names its columns, which are then known by their names, "
        "in any order; auto: if it has two names that the format knows, and half of them; a table "
        "always has one",
        choices=("auto", "true", "false"),
    )
    weight: str = field(
        "",
        "tabular: the column of how much a row counts, as that of 3 rows, in the recommender's "
        "loss, in the controller's and in every figure; trusted rows, and rows of other files, "
        "count alike where they have no such column",
    )
    categorical: tuple[str, ...] = field((), "tabular: the categorical columns")
    numeric: tuple[str, ...] = field((), "tabular: the numeric columns, cut at quantiles of train")
    num_buckets: int = field(32, "tabular: buckets of a numeric column", low=2, high=1 << 20)
    values: tuple[str, ...] = field(
        (),
        "tabular: the numeric columns fed as values: a number, standardised on train, times a "
        "learned vector; a blank is a vector of its own",
    )
    scale: str = field(
        "standard",
        "tabular: values are standardised as they are, or as sign(x) log(1 + |x|), for heavy tails",
        choices=("standard", "log"),
    )
    bags: tuple[str, ...] = field(
        (), "tabular: columns of cells of several categorical values; in Parquet, lists"
    )
    bag_separator: str = field("|", "tabular: what parts the values of such a cell, to the letter")
    bag_size: int = field(
        10, "tabular: the most values kept of such a cell, the first ones", low=1, high=1000
    )
    bag_pooling: str = field(
        "mean",
        "tabular: a bag's row is the mean or the sum of its values' rows",
        choices=("mean", "sum"),
    )
    hash: tuple[str, ...] = field(
        (),
        "fields whose values are hashed into `hash_size` rows, for vocabularies that never end; "
        "nothing is counted for them",
    )
    hash_size: int = field(1 << 22, "rows of such a field", low=1, high=1 << 30)
    crosses: tuple[str, ...] = field(
        (),
        "pairs of categorical fields, as site*device, of which each pair of values is a value of "
        "its own field too; auto: those whose values act together, as train's labels show",
        by_rule=(("auto",),),
    )
    target_encoding: tuple[str, ...] = field(
        (),
        "categorical fields, or several together as user*item, of whose values the share of "
        "positives among train's rows, smoothed, and how many these are, are numbers fed as values "
        "too; of a row of train they are those of other rows (cross fitting); auto: the fields of "
        "many values, and the pair of the two with most",
        by_rule=(("auto",),),
    )
    executor: str = field(
        "local",
        "where data are prepared: in threads of this process, or by Apache Spark, whose "
        "executors see the same folders; the result is the same",
        choices=("local", "spark"),
    )
    memory_limit: float = field(
        4.0, "GiB that preparing may take, besides the vocabulary it makes", low=0.5
    )
    delimiter: str = field(
        "",
        "tabular: what parts columns, to the letter, or tab, space, \\t, \\x01; empty: that of "
        ", tab ; | by which the declared columns are in the header",
    )
    residence: str = field(
        "auto",
        "splits lie in the device's memory, or batches come from the host; auto: on the device "
        "if they fit. The batches are the same",
        choices=("auto", "device", "host"),
    )
    context: tuple[str, ...] = field(
        (),
        "fields that the loss sees beside (y, y_hat), one value each, as the platform on which "
        "conversions get lost; a table's column that is named here alone is no input of the "
        "recommender, and rows to score need not have it",
    )
    trusted: str = field(
        "",
        "a file of trusted rows, whose labels are right, in the format of `path`: they teach the "
        "controller, or say how wrong train's labels are; empty: a share of val, or a fold",
    )
    trusted_share: float = field(
        0.5,
        "share of val that is trusted rows; the rest decides early stopping",
        low=0.0,
        high=0.9,
    )
    trusted_fold: tuple[int, ...] = field(
        (),
        "(k, K): for methods that search, the k-th of K random parts, from 0, of the rows that "
        "would teach the recommender are the trusted rows; empty: a share of val is",
    )
    train_on_trusted: bool = field(
        False,
        "methods that do not search train the recommender on the trusted rows too, and take their "
        "values in",
    )
    trusted_repeats: int = field(
        1,
        "with train_on_trusted: how many times the trusted rows are among those that the "
        "recommender learns from; 0: it takes their values in, and does not learn from them",
        low=0,
        high=1000,
    )
    trusted_of: str = field(
        "",
        "studies: a field, of whose commonest values, a quarter of the rows, all trusted rows are; "
        "or positives: half of the others are left out",
    )
    train_share: float = field(
        1.0,
        "studies: share of train that the recommender learns from; 0: the trusted rows alone",
        low=0.0,
        high=1.0,
    )
    missing: float = field(
        0.0, "studies: share of train's labels above 0 that read 0", low=0.0, high=1.0
    )
    missing_by: str = field(
        "",
        "studies: a field by whose values the share that is lost differs: evenly spaced from 0 "
        "to twice `missing`, in a random order; two, as a,b: by their values together, and by "
        "those of one alone it does not",
    )
    missing_unlikely: bool = field(
        False,
        "studies: of positives that the fields' values make likely none is lost, of unlikely "
        "ones twice as many",
    )
    flipped: float = field(
        0.0, "studies: share of train's labels that read another", low=0.0, high=1.0
    )
    flipped_by: str = field("", "studies: the same for what is flipped")

    @property
    def lies_elsewhere(self) -> bool:
        """Whether the rows must be fetched first: those of a query, or at a URL."""
        return bool(self.query) or "://" in self.path


@dataclasses.dataclass(frozen=True)
class Model:
    """The recommender (DRS)."""

    name: str = field(
        "deepfm",
        "lr, fm, ffm, hofm, fnn, wide_deep, ipnn, opnn, dcn, nfm, ncf, fnfm, deepfm, xdeepfm, afm, "
        "autoint, afn, dcnv2, fibinet, masknet, finalmlp, finalnet, dlrm or gdcn, with options, as "
        "autoint(heads=4,layers=2); or package.module:ClassName, a Flax module of your own",
    )
    embed_dim: int = field(16, "D, the width of an embedding", low=1, high=65_536)
    embed_init_std: float = field(
        0.01,
        "standard deviation of the embeddings' start; -1: by rule, .1, and of more than 50,000 "
        "rows .01",
        low=0.0,
        by_rule=(-1.0,),
    )
    hidden: tuple[int, ...] = field((128, 128), "widths of the MLP's layers")
    dropout: float = field(0.2, "dropout rate of the MLP", low=0.0, high=0.99)
    batch_norm: bool | None = field(
        True,
        "batch normalisation in the MLP; None: by rule, of more than 50,000 rows",
        by_rule=(None,),
    )
    members: int = field(
        1,
        "K recommenders that learn together; the mean of their logits is the prediction; 0: by "
        "rule, 8 or 4",
        low=1,
        high=1024,
        by_rule=(0,),
    )
    shared: bool = field(
        False,
        "with members: they share the embeddings and the network; each has scales of what it sees "
        "and of each layer, and an output layer of its own (TabM)",
    )
    regression: bool | None = field(
        False,
        "beside the recommender a logistic regression on the same inputs, fitted before the first "
        "step; validation chooses its share of the prediction; None: by rule, of at most 100,000 "
        "rows whose labels are not doubted",
        by_rule=(None,),
    )
    compute: str = field(
        "float32",
        "what the MLP multiplies in; parameters, moments, interactions and losses stay float32",
        choices=("float32", "bfloat16"),
    )

    @property
    def label(self) -> str:
        """What a table calls it: deepfm, 4 deepfm, 4 shared deepfm."""
        if self.members == 1:
            return self.name
        return f"{self.members} {'shared ' if self.shared else ''}{self.name}"


@dataclasses.dataclass(frozen=True)
class Method:
    """How the training loss is chosen: a row of `methods.METHODS`, or the name of one loss."""

    name: str = field(
        "autoloss",
        "autoloss, corrected, glc, noise_layer, al1, al2, darts, slf, bohb, melu, static, "
        "transfer, retrain, or one loss, as ce or focal(gamma=1.0); auto: ce, tuned, or which of "
        "members, al1, retrain, its search and bohb, and with context or trusted rows of "
        "corrections, is better on validation by more than chance; constant, logistic, lightgbm, "
        "catboost: no recommender, but a yardstick on the same rows",
    )
    pool: tuple[str, ...] = field(
        ("focal", "kl", "hinge", "ce"),
        "the candidate losses; ce(l2=0.05) brings L2 on its batch's rows; "
        "package.module:function is one of your own, (logits [B, C], labels) to [B]",
    )
    start: float = field(
        0.0,
        "the pool's first loss's weight as a search begins; 0: all alike (the paper)",
        low=0.0,
        high=0.99,
    )
    by_member: bool = field(
        True,
        "with model.members: the controller knows which member predicts, and may give each "
        "losses of its own",
    )
    every: int = field(7, "f: recommender updates per controller update", low=1)
    epochs: int = field(
        0,
        "epochs in which the controller learns; then it stands still; 0: all",
        low=0,
    )
    min_agreement: float = field(
        0.0,
        "the controller stands still once run.gradient_agreement is below this twice in a row; "
        "0: never",
        low=0.0,
        high=1.0,
    )
    xi: float = field(1e-3, "learning rate of the virtual step, Eq. (13); 0: first order", low=0.0)
    virtual_step: str = field(
        "adam",
        "the virtual step is plain SGD (the paper), or scaled as Adam scales",
        choices=("sgd", "adam"),
    )
    val_objective: str = field(
        "ce",
        "what V minimises at W*(V): a loss of the pool's names, as ce or pairwise; mixture: the "
        "mixture itself",
    )
    hard: bool = field(False, "one-hot selection with straight-through gradients, Eq. (9)")
    implementation: str = field(
        "fused",
        "how a step is computed: fused, or as the paper writes it (algorithm/autoloss.py), which "
        "is slower; the results are equal up to rounding",
        choices=("fused", "paper"),
    )
    detach: bool = field(True, "no gradient of the W update through the controller's input")
    hidden: tuple[int, ...] = field((128, 128), "widths of the controller's layers")
    dropout: float = field(0.2, "dropout rate of the controller", low=0.0, high=0.99)
    static: tuple[float, ...] = field(
        (),
        "static: the weights of the pool, or with model.members=K those of each member in turn; "
        "bohb, melu: those found, searched first where there are none",
    )
    transfer_from: str = field(
        "",
        "transfer, retrain: the workdir of the run whose controller is restored; retrain "
        "searches it first if there is none. lightgbm: of the run whose loss is its objective",
    )
    same_inputs: bool = field(
        False,
        "logistic, lightgbm, catboost: with the crosses and the target encodings that a "
        "recommender has; else the columns as they are",
    )
    noise: str = field(
        "missing",
        "corrected, noise_layer: what is wrong with train's labels: some positives are missing, or "
        "some labels are flipped, at a rate that differs by the values of `data.context`",
        choices=("missing", "flipped"),
    )
    rates: str = field(
        "counts",
        "corrected, and candidates with rate=searched: what tells the rates of label noise: the "
        "counts of labels in train and in trusted rows; or beside them a model of train's labels, "
        "trained first, with which fewer trusted rows do; known: those that data.missing and "
        "data.flipped made",
        choices=("counts", "model", "known"),
    )
    first_model: str = field(
        "",
        "glc, and rates=model: the workdir of a finished run of ce on train's labels; it is "
        "trained first if there is none",
    )
    folds: int = field(
        1,
        "retrain: K > 1 are K searches, each with another of K parts of the rows that will "
        "teach the recommender as data.trusted_fold, and alpha is the mean of what their "
        "controllers say; transfer: as many as the searches in its source",
        low=1,
        high=1000,
    )
    policy: str = field(
        "auto",
        "transfer, retrain: sample with Gumbel noise, or use the mean policy alpha of the source's "
        "best controller, or of its controller at each of its evaluations in turn; auto: transfer "
        "samples, retrain replays",
        choices=("auto", "sample", "mean", "replay"),
    )


@dataclasses.dataclass(frozen=True)
class Temperature:
    """tau = max(floor, 1 - (1 - floor) t / horizon); 0.01 and 19,800 are the paper's max(.01, 1
    - 5e-5 t).
    """

    floor: float = field(0.01, "the lowest tau", low=1e-4, high=1.0)
    horizon: int = field(
        19_800, "step at which tau reaches its floor; 0: the planned number of steps", low=0
    )


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """Adam for both networks; L2 on the embeddings; the learning rate falls when validation
    stalls.
    """

    learning_rate: float = field(1e-3, "Adam's rate for the recommender", low=0.0)
    controller_learning_rate: float = field(1e-3, "Adam's rate for the controller", low=0.0)
    embedding: str = field(
        "auto",
        "what moves the embedding rows; adam and sparse_adam are one model at different costs, "
        "and auto picks",
        choices=("auto", "adam", "sparse_adam", "lazy_adam", "rowwise_adagrad"),
    )
    l2: float = field(
        0.0,
        "lambda in (lambda / 2) ||E||^2, in the loss; -1: by rule, 100 / rows, at most .01, and of "
        "more than 50,000 rows, with batch normalisation, 8,000 / rows",
        low=0.0,
        by_rule=(-1.0,),
    )
    l2_scope: str = field(
        "table", "l2 is on the whole table, or the batch's rows", choices=("table", "batch")
    )
    weight_decay: float = field(
        0.0, "decoupled decay of the embeddings, times the learning rate", low=0.0
    )
    clip_norm: float = field(
        0.0, "clip the recommender's gradient to this norm; 0: do not", low=0.0
    )
    decay: float = field(
        1.0,
        "factor on the learning rate after each evaluation without improvement; -1: by rule, .7, "
        "and of more than 50,000 rows .1",
        low=0.0,
        high=1.0,
        by_rule=(-1.0,),
    )


@dataclasses.dataclass(frozen=True)
class Train:
    """How long, in what steps, and what is written down."""

    batch_size: int = field(
        2000,
        "B, examples a step; 0: by rule, rows / 100, from 32 to 4096",
        low=2,
        high=1 << 26,
        by_rule=(0,),
    )
    epochs: int = field(
        20,
        "the most passes over train; 0: by rule, at least 20 and 6,000 steps",
        low=1,
        high=100_000,
        by_rule=(0,),
    )
    patience: int = field(
        2,
        "stop after this many evaluations without improvement; 0: by rule, at least 10, of more "
        "than 50,000 rows 4, and 300 steps",
        low=1,
        by_rule=(0,),
    )
    monitor: str = field(
        "auc",
        "the validation figure that decides; calibrated: logloss after a calibration on the same "
        "rows",
        choices=("auc", "logloss", "calibrated"),
    )
    smooth: int = field(
        1,
        "the figure that decides is the mean of so many evaluations, the last ones; 0: by rule, 3 "
        "where validation has less than 100 rows of some class",
        low=1,
        by_rule=(0,),
    )
    evaluate_every: int = field(0, "steps between evaluations; 0: at the end of each epoch", low=0)
    checkpoint_every: int = field(
        0, "steps between checkpoints, beside those at evaluations; 0: none", low=0
    )
    block: int = field(
        32,
        "the most steps that run on the device without a word from the host; changes no result",
        low=1,
    )
    log_every: int = field(100, "steps between lines of metrics.jsonl", low=1)
    eval_batch_size: int = field(
        8192, "examples a forward pass in evaluation and prediction", low=1
    )


@dataclasses.dataclass(frozen=True)
class Search:
    """A search over whole trainings: --mode=tune, and the methods bohb and auto."""

    trials: int = field(
        20,
        "trainings tried, of train.epochs each or fewer; auto: all its trainings, at least 1 for "
        "ce, 5 with four members, 6 with al1, 8 with retrain, 11 with bohb; bohb's search and the "
        "tuning of ce share what is left; corrections for label noise, which come first where "
        "there are trusted rows or a context, take 2 to 5 more",
        low=1,
        high=100_000,
    )
    minutes: float = field(
        0.0,
        "tune, bohb: after so many minutes of trials none begins; 0: there are search.trials",
        low=0.0,
    )
    over: tuple[str, ...] = field(
        ("optimizer.l2", "model.dropout", "optimizer.learning_rate"),
        "tune: the config keys that are tuned",
    )


@dataclasses.dataclass(frozen=True)
class Mesh:
    """How devices divide the work; changes no result beyond the order of sums."""

    data: int = field(0, "parts of a batch; 0: as many as devices are left", low=0)
    model: int = field(1, "parts of the embedding table and of its optimiser's state", low=1)


@dataclasses.dataclass(frozen=True)
class Run:
    """What surrounds a training."""

    compare: tuple[str, ...] = field(
        (), "methods trained next, on the same budget, for a table beside this run"
    )
    seed: int = field(0, "everything random in training derives from it", low=0)
    gradient_agreement: bool = field(
        False,
        "at each evaluation of a search, log the mean cosine between its hypergradients on 16 "
        "pairs of batches of val; changes no result",
    )
    profile: bool = field(
        False, "write a trace of some steps to WORKDIR/profile, for TensorBoard or Perfetto"
    )


@dataclasses.dataclass(frozen=True)
class Config:
    """All that describes a run. Frozen: `replace` gives a copy with other values.

    Example:
        >>> from autoloss_jax import Config
        >>> Config().replace({"model.name": "ipnn", "train.epochs": 3}).model.name
        'ipnn'
    """

    data: Data = dataclasses.field(default_factory=Data)
    model: Model = dataclasses.field(default_factory=Model)
    method: Method = dataclasses.field(default_factory=Method)
    temperature: Temperature = dataclasses.field(default_factory=Temperature)
    optimizer: Optimizer = dataclasses.field(default_factory=Optimizer)
    train: Train = dataclasses.field(default_factory=Train)
    search: Search = dataclasses.field(default_factory=Search)
    mesh: Mesh = dataclasses.field(default_factory=Mesh)
    run: Run = dataclasses.field(default_factory=Run)

    def replace(self, values: Mapping[str, Any]) -> "Config":
        """A copy with values at dotted keys; UserError for a key that is not there."""
        known = [name for name, *_ in settings.keys(self)]
        for name in values:
            if name not in known:
                raise UserError(f"{name}: no such config key{nearest(name, known)}")
        return settings.with_keys(self, values)


def check(config: Config) -> Config:
    """Return `config` if every value is in its range, and fits the others; UserError names the
    key otherwise.
    """
    settings.check(config)
    split = config.data.split
    shares = len(split) == 3 and min(split[:2]) > 0 and split[2] >= 0
    if not shares or not math.isclose(sum(split), 1.0, abs_tol=1e-6):
        raise UserError(
            f"--config.data.split={split!r}: wants three positive shares (train, val, test; test "
            "may be 0) that sum to 1"
        )
    data = config.data
    _check_classes(data)
    fold = data.trusted_fold
    if fold and not (len(fold) == 2 and 0 <= fold[0] < fold[1] > 1):
        raise UserError(
            f"--config.data.trusted_fold={fold!r}: wants (k, K), a part and how many there are, as "
            "0,5"
        )
    if fold and data.trusted:
        raise UserError(
            f"--config.data.trusted_fold={fold!r}: the trusted rows are those of "
            f"--config.data.trusted={data.trusted}; leave one of the two out"
        )
    left = settings.left_to_rule(config)  # a rule encodes nothing where labels are spoiled
    if (
        data.target_encoding
        and (data.missing or data.flipped)
        and "data.target_encoding" not in left
    ):
        spoiled = "missing" if data.missing else "flipped"
        raise UserError(
            f"--config.data.target_encoding={data.target_encoding!r}: rows are prepared before "
            f"--config.data.{spoiled} spoils their labels, and would know them; leave one out"
        )
    if data.format != "tabular" and (data.values or data.bags):
        name = "values" if data.values else "bags"
        raise UserError(
            f"--config.data.{name}={getattr(data, name)!r}: for --config.data.format=tabular, not "
            f"{data.format}"
        )
    if not data.bag_separator:
        raise UserError(
            "--config.data.bag_separator='': wants what parts the values of a cell, as '|'"
        )
    if config.model.shared and config.model.members == 1:
        raise UserError(
            "--config.model.shared=True: several members share, and model.members is 1; set "
            "--config.model.members=8"
        )
    for name, widths in (
        ("model.hidden", config.model.hidden),
        ("method.hidden", config.method.hidden),
    ):
        if min(widths, default=0) < 1:
            raise UserError(f"--config.{name}={widths!r}: wants positive widths, as (128, 128)")
    return config


def _check_classes(data: Data) -> None:
    given, number = data.classes, len(data.classes)
    if not given:
        return
    where = f"--config.data.classes={','.join(given)}"
    if number < 2 or len({*given}) < number:
        raise UserError(f"{where}: wants two or more labels, each once")
    if data.positive:
        raise UserError(f"{where}: says which label is 1; leave --config.data.positive out")
    if data.num_classes not in (2, number):
        raise UserError(
            f"{where}: {number} classes, and --config.data.num_classes={data.num_classes}; leave "
            "that out"
        )


def from_dict(data: Mapping[str, Any]) -> Config:
    """A config from parsed JSON, of this version or an earlier one.

    A missing key keeps its default; an unknown one is a UserError.
    """
    return settings.from_dict(renamed.in_dict(data), Config)
