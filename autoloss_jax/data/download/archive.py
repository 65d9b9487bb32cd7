"""Files of an archive (zip, tar, tar.gz) into a folder: no name in the archive is ever a path on
the disk.
"""

import contextlib
import dataclasses
import gzip
import io
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from autoloss_jax.config.errors import UserError

CHUNK = 1 << 20
MOST_HEADER = 1 << 22
DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    gzip.BadGzipFile,
    zlib.error,
    EOFError,
    RuntimeError,
    UnicodeError,
    OverflowError,
)


@dataclasses.dataclass(frozen=True)
class Member:
    """An entry: its name in the archive, its size (bytes), what it is, and how it is read."""

    name: str
    size: int
    kind: str  # file, folder, or what it is instead
    opened: Callable[[], IO[bytes]]


def unpack(archive: Path, folder: Path, wanted: tuple[str, ...], limit: int) -> None:
    """Write the members called `wanted`, each once, into an existing folder.

    UserError, whatever else is in the archive, for one with a name outside it, with a link or a
    device, with more than `limit` bytes by its own account (which is all that is ever read), or
    without a wanted name, or with it twice.
    """
    found: set[str] = set()
    total = 0
    try:
        with _members(archive) as members:
            for member in members:
                base = _checked(archive, member)
                total += member.size
                if total > limit:
                    raise UserError(
                        f"{archive}: more than {limit:,} bytes unpacked; that is not what was "
                        "expected"
                    )
                if member.kind == "folder" or base not in wanted:
                    continue
                if base in found:
                    raise UserError(f"{archive}: holds {base} twice")
                found.add(base)
                _write(member, folder / base)
    except DAMAGE as error:
        raise UserError(f"{archive}: damaged, or not a zip or tar file ({error})") from error
    if missing := sorted(set(wanted) - found):
        raise UserError(f"{archive}: holds no {', '.join(missing)}")


def _checked(archive: Path, member: Member) -> str:
    """The last part of a member's name; UserError if the member is not safe."""
    path = PurePosixPath(member.name.replace("\\", "/"))
    if (
        path.is_absolute()
        or ".." in path.parts
        or ":" in member.name
        or not member.name.isprintable()
    ):
        raise UserError(f"{archive}: {member.name!r} would leave the folder")
    if member.kind not in ("file", "folder"):
        raise UserError(f"{archive}: {member.name!r} is a {member.kind}")
    return path.name


def _write(member: Member, path: Path) -> None:
    left = member.size
    with member.opened() as source, path.open("xb") as file:
        while left and (chunk := source.read(min(CHUNK, left))):
            file.write(chunk)
            left -= len(chunk)
        if left or source.read(1):  # the read at the end of a zip's member checks its sum
            raise EOFError(f"{member.name} is not as long as it says")


@contextlib.contextmanager
def _members(archive: Path) -> Iterator[Iterator[Member]]:
    """The entries of an archive in its order, each to be read before the next is asked for."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as file:
            yield (_of_zip(file, info) for info in file.infolist())
    else:
        with archive.open("rb") as raw, _Bounded(raw) as whole, tarfile.open(fileobj=whole) as file:
            yield (_of_tar(file, info) for info in file)


class _Bounded(io.BufferedReader):
    """A tar file, decompressed, of which nothing is read in large parts: a header that says it is
    large would be read into memory.
    """

    def __init__(self, raw: IO[bytes]):
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        super().__init__(gzip.GzipFile(fileobj=raw) if packed else raw)  # type: ignore[arg-type]

    def read(self, size: int | None = -1) -> bytes:
        """At most MOST_HEADER bytes; TarError for more."""
        if size is None or not 0 <= size <= MOST_HEADER:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return super().read(size)


def _of_zip(file: zipfile.ZipFile, info: zipfile.ZipInfo) -> Member:
    mode = stat.S_IFMT(info.external_attr >> 16)
    kind = {0: "file", stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "link"}.get(
        mode, "device"
    )
    name = getattr(info, "orig_filename", info.filename)  # not yet cut at a NUL
    return Member(
        name, info.file_size, "folder" if info.is_dir() else kind, lambda: file.open(info)
    )


def _of_tar(file: tarfile.TarFile, info: tarfile.TarInfo) -> Member:
    kinds = (
        (info.isfile(), "file"),
        (info.isdir(), "folder"),
        (info.islnk() or info.issym(), "link"),
    )
    kind = next((kind for holds, kind in kinds if holds), "device")
    return Member(info.name, info.size, kind, lambda: file.extractfile(info))  # type: ignore[arg-type]
