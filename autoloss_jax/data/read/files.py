"""Which files a dataset is: one, a glob of them, or a folder with those of each split."""

import glob
import re
from pathlib import Path

from autoloss_jax.config import Data
from autoloss_jax.config.errors import UserError

STEMS = {"train": ("train",), "val": ("valid", "val"), "test": ("test",)}


def find_splits(data: Data) -> dict[str, tuple[Path, ...]]:
    """{"all": files of a path or a glob}, or {"train", "val", "test"} of a folder, in the order
    of their names.

    UserError saying what is missing.
    """
    where = f"--config.data.path={data.path}"
    if not data.path:
        raise UserError(
            "--config.data.path: name the dataset's file, several by a glob, or the folder of "
            "its "
            "train.*, valid.* and test.*"
        )
    path = Path(data.path)
    if path.is_file():
        return {"all": (path,)}
    if not path.is_dir():
        found = tuple(p for p in sorted(map(Path, glob.glob(data.path))) if p.is_file())
        if not found:
            raise UserError(f"{where}: no such file or folder")
        return {"all": found}
    splits = {}
    for split, stems in STEMS.items():
        name = re.compile(rf"({'|'.join(stems)})([-_]?\d+)?(\..*)?")
        matches = {p: name.fullmatch(p.name) for p in sorted(path.iterdir()) if p.is_file()}
        found = {p: match[2] for p, match in matches.items() if match}
        if not found or (len(found) > 1 and None in found.values()):
            what = f"{len(found)} files" if found else "no file"
            raise UserError(
                f"{where}: {what} {stems[0]}.*; a folder holds one train.*, valid.* and test.* "
                "each, or several with numbers, "
                "as train-0.csv"
            )
        splits[split] = tuple(found)
    return splits
