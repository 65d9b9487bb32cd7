"""Public datasets: where each is published, and how it is fetched whole or not at all."""

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from autoloss_jax.config.errors import UserError
from autoloss_jax.data.download import archive, remote
from autoloss_jax.data.download.remote import Refused, Remote
from autoloss_jax.distributed import atomic

RECORD = "source.json"
Say = Callable[[str], None]
Sums = tuple[tuple[str, str], ...]  # (algorithm, hexadecimal sum)


@dataclasses.dataclass(frozen=True)
class Source:
    """Where a dataset is published, and what is known of it there."""

    url: str
    page: str  # what a person reads first: licence, citation
    sums: Sums  # of the archive
    files: dict[str, str]  # name in the archive -> its MD5, or "" where no one publishes it
    limit: int  # bytes, packed or unpacked, that it has at most
    path: str  # of the data, in the folder: a file, or the folder itself
    flags: tuple[str, ...]  # of the training command, but for the path
    derived: dict[str, Callable[[Path], str]] = dataclasses.field(
        default_factory=dict
    )  # further files: name -> what it holds, from the folder


def _profiles(folder: Path) -> str:
    from autoloss_jax.data.download import movielens  # Polars, for this alone

    return movielens.profiles(folder).write_csv()


RECZOO = "https://huggingface.co/datasets/reczoo"
GROUPLENS = "https://files.grouplens.org/datasets/movielens"
FRAPPE = (
    "user",
    "item",
    "daytime",
    "weekday",
    "isweekend",
    "homework",
    "cost",
    "weather",
    "country",
    "city",
)
SOURCES = {
    # The MD5s are GroupLens's own (ml-20m.zip.md5, ml-1m.zip.md5). They publish no SHA-256: these
    # are what Keras's examples (1M) and several public loaders (20M) pin beside that MD5.
    "movielens20m": Source(
        url=f"{GROUPLENS}/ml-20m.zip",
        page="https://grouplens.org/datasets/movielens/20m/",
        sums=(
            ("md5", "cd245b17a1ae2cc31bb14903e1204af3"),
            ("sha256", "96f243c338a8665f6bcc89c53edf6ee39162a846940de6b7c8c48aeada765ff3"),
        ),
        files={"ratings.csv": "", "README.txt": ""},
        limit=4 << 30,
        path="ratings.csv",
        flags=("--config=movielens20m",),
    ),
    "movielens1m": Source(
        url=f"{GROUPLENS}/ml-1m.zip",
        page="https://grouplens.org/datasets/movielens/1m/",
        sums=(
            ("md5", "c4d9eecfca2ab87c1945afe126590906"),
            ("sha256", "a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20"),
        ),
        files={"ratings.dat": "", "users.dat": "", "movies.dat": "", "README": ""},
        limit=1 << 30,
        path="ratings.dat",
        flags=("--config=movielens1m",),
        derived={"profiles.csv": _profiles},
    ),
    # Criteo publishes no sum: the one that was got is printed and recorded, and --sha256 holds a
    # later fetch to it.
    "criteo": Source(
        url="https://go.criteo.net/criteo-research-kaggle-display-advertising-challenge-dataset.tar.gz",
        page="https://ailab.criteo.com/ressources/",
        sums=(),
        files={"train.txt": ""},
        limit=24 << 30,
        path="train.txt",
        flags=("--config=criteo",),
    ),
    # Kaggle's train.csv is behind an account; this is all of it, split 8:1:1 by the benchmark
    # Avazu_x4, which publishes the MD5s of its files, as Frappe_x1 does, and none of the archives.
    "avazu": Source(
        url=f"{RECZOO}/Avazu_x4/resolve/main/Avazu_x4.zip",
        page="https://www.kaggle.com/c/avazu-ctr-prediction/data (an account is needed; train.gz)",
        sums=(),
        files={
            "train.csv": "de3a27264cdabf66adf09df82328ccaa",
            "valid.csv": "33232931d84d6452d3f956e936cab2c9",
            "test.csv": "3ebb774a9ca74d05919b84a3d402986d",
        },
        limit=16 << 30,
        path="",
        flags=("--config=avazu",),
    ),
    "frappe": Source(
        url=f"{RECZOO}/Frappe_x1/resolve/main/Frappe_x1.zip",
        page=f"{RECZOO}/Frappe_x1",
        sums=(),
        files={
            "train.csv": "ba7306e6c4fc19dd2cd84f2f0596d158",
            "valid.csv": "88d51bf2173505436d3a8f78f2a59da8",
            "test.csv": "3470f6d32713dc5f7715f198ca7c612a",
        },
        limit=1 << 30,
        path="",
        flags=(
            "--config=frappe",
            "--config.data.format=tabular",
            f"--config.data.categorical={FRAPPE!r}".replace(" ", ""),
        ),
    ),
}


def download(name: str, source: Source, output: Path, place: Remote, sha256: str, say: Say) -> Path:
    """The folder of a dataset, fetched from `place` unless it is there already; UserError in one
    line, nothing half-made.
    """
    folder = output / name
    try:
        output.mkdir(parents=True, exist_ok=True)
        with _alone(output / f".{name}.lock"):
            if not folder.exists():
                sums = (*source.sums, *((("sha256", sha256),) if sha256 else ()))
                _unpacked(
                    _archive(output, place, sums, source, say), sums, source, folder, place, say
                )
            elif sha256 and _record(folder).get("sha256") != sha256:
                raise UserError(
                    f"{folder}: made from an archive with another SHA-256 than --sha256={sha256}; "
                    "move it away first"
                )
            say(f"{name}: {folder}, from {source.page}")
    except OSError as error:
        raise UserError(
            f"{output}: cannot be written ({error.strerror or error}); free space, or name "
            "another --output"
        ) from error
    return folder


def _archive(output: Path, place: Remote, sums: Sums, source: Source, say: Say) -> Path:
    """The archive, fetched and with the sums that are expected."""
    target = output / Path(source.url).name
    part = target.with_name(target.name + ".part")
    if not target.exists():
        try:
            with _bar(target.name, say) as moved:
                remote.fetch(place, part, moved)
        except Refused as error:
            raise UserError(
                f"{error}; get it by hand, see {source.page}, and name it with --config.data.path"
            ) from None
    here = target if target.exists() else part
    if wrong := _wrong(here, sums):
        remote.forget(here)
        raise UserError(f"{place.url}: {wrong}; the file was removed")
    if here == part:
        remote.finish(part, target)
    return target


def _unpacked(
    packed: Path, sums: Sums, source: Source, folder: Path, place: Remote, say: Say
) -> None:
    """Make the folder from the archive, which is removed then."""
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        say(f"unpacking {packed.name}")
        archive.unpack(packed, partial, tuple(source.files), source.limit)
        for file, md5 in source.files.items():
            if wrong := _wrong(partial / file, (("md5", md5),) if md5 else ()):
                raise UserError(f"{packed}: {file}: {wrong}")
        for file, content in source.derived.items():
            (partial / file).write_text(content(partial))
        checked = (
            "the archive" if sums else "its files" if any(source.files.values()) else "nothing"
        )
        record = {"url": place.url, "sha256": _sum(packed, "sha256"), "checked": checked}
        atomic.write_json(partial / RECORD, record)
        os.sync()
        partial.rename(folder)
    except UserError as error:
        packed.unlink()
        raise UserError(f"{error}; the archive was removed") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    packed.unlink()
    say(f"SHA-256 of {packed.name}: {record['sha256']}")
    if checked == "nothing":
        say(
            "its publisher gives no sum to compare with; --sha256= with this one holds a later "
            "fetch to it"
        )


def _record(folder: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / RECORD).read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"{folder / RECORD}: cannot be read ({error}); move the folder away"
        ) from error


def _sum(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def _wrong(path: Path, sums: Sums) -> str:
    """What is wrong with a file, or nothing."""
    for algorithm, expected in sums:
        if (found := _sum(path, algorithm)) != expected:
            return f"its {algorithm.upper()} is {found}, not {expected}"
    return ""


@contextlib.contextmanager
def _alone(lock: Path) -> Iterator[None]:
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{lock}: another process is fetching this; wait for it") from None
        yield


@contextlib.contextmanager
def _bar(title: str, say: Say) -> Iterator[remote.Moved]:
    """A bar on a terminal; elsewhere a line at the start."""
    live = sys.stderr.isatty()
    if not live:
        say(f"fetching {title}")
    import rich.console
    import rich.progress

    columns = (
        rich.progress.TextColumn("{task.description}"),
        rich.progress.BarColumn(),
        rich.progress.DownloadColumn(),
        rich.progress.TransferSpeedColumn(),
        rich.progress.TimeRemainingColumn(),
    )
    console = rich.console.Console(stderr=True)
    with rich.progress.Progress(*columns, console=console, disable=not live) as bar:
        task = bar.add_task(title, total=None)
        yield lambda here, size: bar.update(task, completed=here, total=size)
