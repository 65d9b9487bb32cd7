"""Config keys that have another name by now. A flag with the old one is answered by the new one;
JSON and CSV of earlier versions are read as if they had the new one.
"""

import copy
import re
from collections.abc import Mapping
from typing import Any

RENAMED = {  # dotted key -> what it is called now
    "data.controller_share": "data.trusted_share",
    "data.engine": "data.executor",
    "data.fold": "data.trusted_fold",
    "data.fold_in_val": "data.train_on_trusted",
    "method.sees": "data.context",
    "method.signal": "method.min_agreement",
    "run.signal": "run.gradient_agreement",
}


def in_dict(data: Mapping[str, Any]) -> dict[str, Any]:
    """A config's parsed JSON with today's keys; a copy."""
    data = copy.deepcopy(dict(data))
    for old, new in RENAMED.items():
        section, name = old.split(".")
        if isinstance(data.get(section), dict) and name in data[section]:
            value = data[section].pop(name)
            section, name = new.split(".")
            data.setdefault(section, {}).setdefault(name, value)
    return data


def in_words(text: str) -> str:
    """A study's dataset or method, as "retrain method.epochs=0", with today's keys."""
    return re.sub(r"(?<=\s)([\w.]+)(?==)", lambda key: RENAMED.get(key[1], key[1]), text)
