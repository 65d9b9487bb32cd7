"""A file behind an http address: fetched into NAME.part, going on where it broke off, never
spliced from two sources.
"""

import contextlib
import dataclasses
import http.client
import json
import os
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from autoloss_jax.config.errors import UserError

CHUNK = 1 << 18
AGENT = "autoloss_jax"
PASSING = (408, 416, 425, 429)  # and 5xx: statuses that another attempt may not meet
Moved = Callable[[int, int | None], None]  # (bytes here, bytes in all if that is known)


@dataclasses.dataclass(frozen=True)
class Remote:
    """Where a file is, how much of it is taken at most (bytes), and how long one waits for it."""

    url: str
    limit: int
    timeout: float = 30.0  # seconds without a byte
    attempts: int = 5


class Refused(UserError):
    """The source gave something else than a file, and will again."""


class Broken(Exception):
    """The connection failed in a way that another attempt may not."""


def fetch(remote: Remote, part: Path, moved: Moved = lambda here, size: None) -> None:
    """Bring the whole of `remote` into `part`; UserError in one line if it does not come, what
    came being kept.
    """
    host = None
    with contextlib.suppress(ValueError):
        host = urllib.parse.urlsplit(remote.url).hostname
    if not remote.url.startswith(("http://", "https://")) or not host:
        raise UserError(f"{remote.url}: not an address that begins with https:// or http://")
    for attempt in range(1, remote.attempts + 1):
        try:
            return _attempt(remote, part, moved)
        except Broken as broken:
            if attempt == remote.attempts:
                onward = (
                    f"goes on from the {_size(part):,} bytes that are kept"
                    if _source(part)
                    else "begins anew"
                )
                raise UserError(
                    f"{remote.url}: {broken} (attempt {attempt} of {attempt}); the same command "
                    f"{onward}"
                ) from None
            time.sleep(min(2.0**attempt, remote.timeout))


def _attempt(remote: Remote, part: Path, moved: Moved) -> None:
    """One request for what is missing of `part`, and its answer written to the end."""
    source = _source(part)
    here = _size(part) if source and source["url"] == remote.url else 0
    if here and here == source["size"]:
        return
    headers = {"Accept-Encoding": "identity", "User-Agent": AGENT}
    if here:
        headers |= {"Range": f"bytes={here}-", "If-Range": source["validator"]}
    with _opened(remote, urllib.request.Request(remote.url, headers=headers), part) as response:
        chunk = _chunk(response)
        if response.status == 200:
            _refuse_page(remote, response, chunk)
            here, source = 0, _begin(remote, part, response)
        elif not _continues(response, here, source):
            forget(part)
            raise Broken("the source answered with other bytes than those asked for")
        size = source["size"]
        with part.open("ab") as file:
            while chunk:
                here += len(chunk)
                if here > remote.limit:
                    forget(part)
                    raise UserError(
                        f"{remote.url}: more than {remote.limit:,} bytes, the most expected"
                    )
                file.write(chunk)
                moved(here, size)
                chunk = _chunk(response)
    if size is not None and here < size:
        raise Broken(f"the connection closed after {here:,} of {size:,} bytes")


def _begin(remote: Remote, part: Path, response: Any) -> dict[str, Any]:
    """Start `part` anew; if it can be gone on with later, what is needed for that is kept beside
    it.
    """
    length = response.headers["Content-Length"]
    size = int(length) if length and length.isdigit() else None
    if (size or 0) > remote.limit:
        raise UserError(
            f"{remote.url}: {size:,} bytes, where {remote.limit:,} are the most expected"
        )
    forget(part)
    source = {"url": remote.url, "validator": _validator(response), "size": size}
    if size and source["validator"]:
        _source_file(part).write_text(json.dumps(source))
    return source


@contextlib.contextmanager
def _opened(remote: Remote, request: urllib.request.Request, part: Path) -> Iterator[Any]:
    """The answer to a request; Broken or Refused for none, or for one that is no file."""
    try:
        response = urllib.request.urlopen(request, timeout=remote.timeout)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # there is less of it now than is here
            forget(part)
        if error.code in PASSING or error.code >= 500:
            raise Broken(f"the server answers {error.code} {error.reason}") from None
        raise Refused(f"{remote.url}: the server answers {error.code} {error.reason}") from None
    except (
        OSError,
        http.client.HTTPException,
        ValueError,
    ) as error:  # ValueError: an address that is none
        raise Broken(_why(error)) from None
    with response:
        if remote.url.startswith("https:") and not response.url.startswith("https:"):
            raise Refused(f"{remote.url}: leads to {response.url}, which is not encrypted")
        yield response


def _continues(response: Any, here: int, source: dict[str, Any]) -> bool:
    """Whether an answer is the rest, from byte `here`, of the version of the source that `part`
    began with.
    """
    if (
        not here
        or response.status != 206
        or _validator(response) not in (source["validator"], None)
    ):
        return False
    return (
        response.headers["Content-Range"] == f"bytes {here}-{source['size'] - 1}/{source['size']}"
    )


def _validator(response: Any) -> str | None:
    """What tells one version of a source from another (RFC 9110, 13.1.5): a strong ETag, or the
    date of the last change.
    """
    etag = response.headers["ETag"]
    return etag if etag and not etag.startswith("W/") else response.headers["Last-Modified"]


def _chunk(response: Any) -> bytes:
    try:
        return response.read1(CHUNK)
    except (OSError, http.client.HTTPException) as error:
        raise Broken(_why(error)) from None


def _why(error: Exception) -> str:
    reason = getattr(error, "reason", error)
    if isinstance(reason, TimeoutError):
        return "the source stalls"
    said = getattr(reason, "strerror", None) or reason or type(error).__name__
    return f"the connection failed ({said})"


def _refuse_page(remote: Remote, response: Any, first: bytes) -> None:
    """Refused if what came is a web page, as a login or a licence to accept."""
    kind = response.headers.get_content_type()
    if kind == "text/html" or re.match(rb"\s*<(!doctype|html|head|\?xml)", first, re.IGNORECASE):
        text = " ".join(first[:4096].decode("utf-8", "replace").split())
        title = re.search(r"<title[^>]*>\s*(.{1,80}?)\s*<", text, re.IGNORECASE)
        raise Refused(
            f"{remote.url}: a web page came, not a file ({kind}: "
            f"{title[1] if title else text[:60]!r})"
        )


def _source_file(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _source(part: Path) -> dict[str, Any]:
    """What is known of where the bytes in `part` are from; empty if nothing is."""
    with contextlib.suppress(OSError, ValueError):
        known = json.loads(_source_file(part).read_text())
        if isinstance(known, dict) and {"url", "validator", "size"} <= known.keys():
            return known
    return {}


def forget(part: Path) -> None:
    """Throw away what was fetched."""
    part.unlink(missing_ok=True)
    _source_file(part).unlink(missing_ok=True)


def finish(part: Path, target: Path) -> None:
    """Give a whole file its name, once it is on the disk."""
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(target)
    _source_file(part).unlink(missing_ok=True)


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0
