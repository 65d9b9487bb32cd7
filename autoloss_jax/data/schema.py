"""What a prepared dataset is, without its rows."""

import dataclasses
import json
from typing import Any, get_type_hints

import numpy as np

from autoloss_jax.config import settings
from autoloss_jax.config.errors import UserError

VERSION = 2  # of the layout on disk and of the rules that lead to it


@dataclasses.dataclass(frozen=True)
class Schema:
    """Fields and their vocabularies. Ids are global: a field's rows begin at its offset, and the
    first of them is its out-of-vocabulary row, for values that are rare or absent in train.
    """

    name: str
    format: str
    fields: tuple[str, ...]
    vocab_sizes: tuple[int, ...]  # out-of-vocabulary row included
    num_classes: int
    num_examples: dict[str, int]  # train, val, test
    num_skipped: int  # malformed rows left out
    oov_rate: dict[
        str, list[float]
    ]  # split -> share of rows with an out-of-vocabulary id, per field
    buckets: dict[str, list[float]]  # numeric column -> inner cut points
    fingerprint: str  # of the source's content and the settings
    slots: tuple[int, ...]  # ids of an example per field: 1, or the most values of a bag
    scales: dict[str, list[float]]  # column fed as values -> its mean and standard deviation
    hashed: dict[
        str, int
    ]  # hashed field -> into how many rows, after the first, which no value has
    ranges: dict[str, list[float]] = dataclasses.field(
        default_factory=dict
    )  # column fed as values -> its least and greatest number in train
    row_weights: bool = False  # whether an example has a weight, float32[], in the loss
    context: tuple[str, ...] = ()  # the last fields, which the loss sees and the recommender not

    @property
    def num_inputs(self) -> int:
        """How many fields are inputs of the recommender: the first ones."""
        return len(self.fields) - len(self.context)

    @property
    def num_input_slots(self) -> int:
        """How many slots of x they have."""
        return sum(self.slots[: self.num_inputs])

    @property
    def num_fields(self) -> int:
        """F."""
        return len(self.fields)

    @property
    def num_rows(self) -> int:
        """Rows of the embedding table."""
        return sum(self.vocab_sizes)

    @property
    def offsets(self) -> np.ndarray:
        """int64[F]: the first id of each field."""
        return np.cumsum([0, *self.vocab_sizes[:-1]])

    @property
    def bounds(self) -> np.ndarray:
        """int64[2, S]: the first id of each slot's field, and the one after its last."""
        return np.repeat([self.offsets, np.cumsum(self.vocab_sizes)], self.slots, axis=1)

    @property
    def weighted(self) -> bool:
        """Whether an example has v float32[S] beside x int32[S]: what the rows of these ids are
        multiplied by.
        """
        return sum(self.slots) > self.num_fields or bool(self.scales)

    def unknown(self, x: np.ndarray) -> np.ndarray:
        """Whether a field has a value of no vocabulary; a bag, any. int32[n, S] -> bool[n, F]."""
        found = x == self.bounds[0]
        if found.shape[1] > self.num_fields:
            begins = np.cumsum([0, *self.slots[:-1]])
            found = np.logical_or.reduceat(found, begins, axis=1)
        return found

    def place(self, name: str, where: str) -> tuple[int, int, int]:
        """(Slot, first id, number of rows) of a field of one value; UserError, which names
        `where`, for another.
        """
        if name not in self.fields:
            raise UserError(
                f"{where}: {name!r} is not a field: "
                f"{', '.join(self.fields)}{settings.nearest(name, list(self.fields))}"
            )
        field = self.fields.index(name)
        if self.slots[field] > 1 or name in self.scales:
            kind = "a number fed as a value" if name in self.scales else "a bag of values"
            raise UserError(
                f"{where}: {name!r} is {kind}; name a field that has one value of a vocabulary"
            )
        return sum(self.slots[:field]), int(self.offsets[field]), self.vocab_sizes[field]

    def to_json(self) -> str:
        """The schema as JSON."""
        return json.dumps(dataclasses.asdict(self), indent=2, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str, where: str = "schema.json") -> "Schema":
        """The schema in a JSON text; UserError if it is not one."""
        try:
            values: dict[str, Any] = json.loads(text)
            values.setdefault("slots", [1] * len(values["fields"]))  # older ones have none of these
            values.setdefault("scales", {})
            values.setdefault("hashed", {})
            values["context"] = tuple(values.get("context", ()))
            for name, kind in get_type_hints(cls).items():
                if kind in (str, int) and type(values[name]) is not kind:
                    raise ValueError(f"{name} is not of type {kind.__name__}")
            values |= {name: tuple(values[name]) for name in ("fields", "vocab_sizes", "slots")}
            schema = cls(**values)
            for name, of_fields in (("vocab_sizes", schema.vocab_sizes), ("slots", schema.slots)):
                if len(of_fields) != len(schema.fields) or not all(
                    isinstance(v, int) and v > 0 for v in of_fields
                ):
                    raise ValueError(f"fields and {name} do not agree")
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{where}: not a dataset's schema ({error})") from error
        return schema
