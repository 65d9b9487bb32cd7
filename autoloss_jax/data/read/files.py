"""Which files a dataset is: one, a glob of them, or a folder with those of each split."""

import glob
import re
from pathlib import Path

from autoloss_jax.config import Data
from autoloss_jax.config.errors import UserError

STEMS = {"train": ("train",), "val": ("valid", "val"), "test": ("test",)}


def find_splits(data: Data) -> dict[str, tuple[Path, ...]]:
    """{"all": files of a path or a glob}, or {"train", "val", "test"} of a folder, in the order
    of their names; without "test" where `data.split` wants none and there is none.

    UserError saying what is missing.
    """
    where = f"--config.data.path={data.path}"
    if not data.path:
        raise UserError(
            "--config.data.path: name the dataset's file, several by a glob, or the folder of "
            "its train.*, valid.* and test.*"
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
        found = _numbered(path, stems)
        if not found and split == "test" and not data.split[2]:
            continue
        if not found or (len(found) > 1 and None in found.values()):
            what = f"{len(found)} files" if found else "no file"
            raise UserError(
                f"{where}: {what} {stems[0]}.*; a folder holds one train.*, valid.* and test.* "
                "each, or several with numbers, as train-0.csv"
            )
        splits[split] = tuple(found)
    return splits


def find_all(data: Data) -> tuple[Path, ...]:
    """Every file of `data.path`, in the order of their names: itself, those of a glob, or those
    of a folder.

    Of a folder with files of splits it is these; else all but those that begin with . or _, as
    _SUCCESS. UserError if there is none.
    """
    folder = Path(data.path)
    if not data.path or not folder.is_dir():
        return find_splits(data)["all"]
    divided = [path for stems in STEMS.values() for path in _numbered(folder, stems)]
    others = [p for p in folder.iterdir() if p.is_file() and p.name[0] not in "._"]
    if not divided and not others:
        raise UserError(f"--config.data.path={data.path}: no file in this folder")
    return tuple(sorted(divided or others))


def _numbered(folder: Path, stems: tuple[str, ...]) -> dict[Path, str | None]:
    """The files of a split in a folder, and the number in each name, in the order of the names."""
    name = re.compile(rf"({'|'.join(stems)})([-_]?\d+)?(\..*)?")
    matches = {p: name.fullmatch(p.name) for p in sorted(folder.iterdir()) if p.is_file()}
    return {p: match[2] for p, match in matches.items() if match}
