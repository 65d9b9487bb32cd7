"""What is downloaded is whole, checked and in its folder, whatever the server does; else there
is one line and nothing half-made.
"""

import contextlib
import dataclasses
import gzip
import hashlib
import http.server
import io
import json
import os
import subprocess
import sys
import tarfile
import threading
import zipfile
from pathlib import Path

import pytest

from autoloss_jax import config
from autoloss_jax.cli import app, download
from autoloss_jax.config import library, settings
from autoloss_jax.config.errors import UserError
from autoloss_jax.data.download import archive, datasets, remote
from autoloss_jax.data.download.remote import Remote
from autoloss_jax.data.prepare import pipeline

ROOT = Path(__file__).parent.parent
CONTENT = b"PK" + os.urandom(200_000)


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves server.content with ranges; each attempt does what the next of server.tricks says."""

    def do_GET(self):
        server = self.server
        server.asked.append(dict(self.headers))
        trick = server.tricks.pop(0) if server.tricks else {}
        if "status" in trick:
            return self.send_error(trick["status"])
        if "to" in trick:
            self.send_response(302)
            self.send_header("Location", trick["to"])
            return self.end_headers()
        content = trick.get("content", server.content)
        etag = trick.get("etag", f'"{hashlib.md5(content).hexdigest()}"')
        begin, asked = 0, self.headers.get("Range")
        if asked and (trick.get("careless") or self.headers.get("If-Range") == etag):
            begin = int(asked.removeprefix("bytes=").removesuffix("-"))
        self.send_response(206 if begin else 200)
        if begin:
            shown = trick.get("range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
            self.send_header("Content-Range", shown)
        if etag:
            self.send_header("ETag", etag)
        self.send_header("Content-Type", trick.get("type", "application/zip"))
        if trick.get("length", True):
            self.send_header("Content-Length", str(len(content) - begin))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(content[begin : trick.get("until")])
            if trick.get("stall"):
                server.stop.wait(5)

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def running():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.stop = threading.Event()
    threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
    ).start()
    yield server
    server.stop.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def server(running, monkeypatch):
    running.content, running.tricks, running.asked = CONTENT, [], []
    running.url = f"http://127.0.0.1:{running.server_port}/d.zip"
    monkeypatch.setattr(remote.time, "sleep", lambda _: None)
    return running


def place(server, **values):
    return dataclasses.replace(Remote(server.url, 1 << 20, timeout=0.2, attempts=3), **values)


def test_a_file_that_breaks_off_is_gone_on_with_to_the_byte(server, tmp_path):
    server.tricks = [{"until": 70_000}, {"to": server.url}, {"until": 150_000}]
    seen = []
    remote.fetch(place(server), tmp_path / "d.part", lambda here, size: seen.append((here, size)))
    assert (tmp_path / "d.part").read_bytes() == CONTENT
    assert [a.get("Range") for a in server.asked] == [None, *["bytes=70000-"] * 2, "bytes=150000-"]
    assert seen[-1] == (len(CONTENT), len(CONTENT)) and seen == sorted(seen)


def test_a_stall_ends_in_one_line_and_the_same_command_goes_on(server, tmp_path):
    server.tricks = [{"until": 70_000, "stall": True}, {"until": 0, "stall": True}]
    with pytest.raises(
        UserError,
        match=r"stalls \(attempt 2 of 2\); the same command goes on from the 70,000 bytes that "
        r"are kept",
    ):
        remote.fetch(place(server, attempts=2), tmp_path / "d.part")
    remote.fetch(place(server), tmp_path / "d.part")
    assert (tmp_path / "d.part").read_bytes() == CONTENT
    assert server.asked[-1]["Range"] == "bytes=70000-"


@pytest.mark.parametrize(
    "second",
    [
        {},  # an honest server: the whole new version, since If-Range does not hold
        {"careless": True},  # the rest of the new version under its own ETag
        {"careless": True, "etag": "", "range": "bytes 70000-299999/300000"},
        {"careless": True, "etag": "", "range": "bytes 0-199999/200002"},
        {"careless": True, "etag": "", "range": "nonsense"},
        {"status": 416},
    ],
)
def test_a_source_that_changed_is_fetched_anew_and_never_spliced(server, tmp_path, second):
    other = bytes(len(CONTENT))
    server.tricks = [{"until": 70_000}, second]
    with pytest.raises(UserError):
        remote.fetch(place(server, attempts=1), tmp_path / "d.part")
    server.content = other
    remote.fetch(place(server), tmp_path / "d.part")
    assert (tmp_path / "d.part").read_bytes() == other


def test_bytes_of_another_address_or_of_no_known_version_are_not_gone_on_with(server, tmp_path):
    for first in (
        {"until": 70_000},
        {"until": 70_000, "etag": ""},
        {"until": 70_000, "etag": 'W/"a"'},
    ):
        server.tricks, server.asked[:] = [first], []
        with pytest.raises(UserError):
            remote.fetch(place(server, attempts=1), tmp_path / "d.part")
        moved = (
            place(server, url=server.url + "?mirror")
            if first == {"until": 70_000}
            else place(server)
        )
        remote.fetch(moved, tmp_path / "d.part")
        assert "Range" not in server.asked[-1]
        assert (tmp_path / "d.part").read_bytes() == CONTENT
        remote.forget(tmp_path / "d.part")


@pytest.mark.parametrize(
    ("trick", "message"),
    [
        (
            {"type": "text/html", "content": b"<html><title>Sign in</title>"},
            r"a web page came.*text/html: 'Sign in'",
        ),
        (
            {"content": b"\n <!DOCTYPE html><p>accept our terms"},
            r"a web page came.*accept our terms",
        ),
        ({"status": 404}, "404"),
        ({"status": 401}, "401"),
        ({"content": bytes(2 << 20)}, "1,048,576 are the most expected"),
        ({"content": bytes(2 << 20), "length": False}, "more than 1,048,576 bytes"),
    ],
)
def test_what_is_no_such_file_is_refused_at_once(server, tmp_path, trick, message):
    server.tricks = [trick]
    with pytest.raises(UserError, match=message) as error:
        remote.fetch(place(server), tmp_path / "d.part")
    assert len(server.asked) == 1 and len(str(error.value).splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_page_in_the_place_of_the_rest_costs_nothing_of_what_is_here(server, tmp_path):
    server.tricks = [{"until": 70_000}, {"type": "text/html", "content": b"log in to this network"}]
    with pytest.raises(remote.Refused, match="a web page came"):
        remote.fetch(place(server), tmp_path / "d.part")
    remote.fetch(place(server), tmp_path / "d.part")
    assert server.asked[-1]["Range"] == "bytes=70000-"
    assert (tmp_path / "d.part").read_bytes() == CONTENT


def test_a_passing_fault_is_tried_again_a_bounded_number_of_times(server, tmp_path):
    server.tricks = [{"status": 503}, {"status": 429}]
    remote.fetch(place(server), tmp_path / "d.part")
    server.tricks = [{"status": 500}] * 9
    with pytest.raises(UserError, match=r"500 .*\(attempt 3 of 3\); the same command begins anew"):
        remote.fetch(place(server), tmp_path / "other.part")
    assert len(server.tricks) == 6
    with pytest.raises(UserError, match=r"connection failed \(Connection refused\)"):
        remote.fetch(Remote("http://127.0.0.1:9/d.zip", 9, 0.2, 1), tmp_path / "d")
    for address in ("file:///etc/passwd", "http://", "http://["):
        with pytest.raises(UserError, match="not an address"):
            remote.fetch(Remote(address, 9), tmp_path / "d")


def test_an_address_that_is_encrypted_does_not_lead_to_one_that_is_not(tmp_path, monkeypatch):
    answer = io.BytesIO()
    answer.url, answer.status = "http://elsewhere/d.zip", 200
    monkeypatch.setattr(remote.urllib.request, "urlopen", lambda *_, **__: answer)
    with pytest.raises(remote.Refused, match=r"http://elsewhere/d\.zip, which is not encrypted"):
        remote.fetch(Remote("https://here/d.zip", 9), tmp_path / "d.part")


def zipped(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            if content is None:  # a symbolic link
                info.external_attr, content = 0o120777 << 16, b"/etc/passwd"
            file.writestr(info, content)
    return path


def tarred(path, members, kind=tarfile.REGTYPE):
    with tarfile.open(path, "w:gz") as file:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if content is None or kind != tarfile.REGTYPE:
                info.type, info.linkname, content = (
                    kind if content else tarfile.SYMTYPE,
                    "/etc/passwd",
                    b"",
                )
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_the_wanted_files_of_an_archive_are_unpacked_and_no_other(pack, tmp_path):
    path = pack(
        tmp_path / "a",
        {"d/read.me": b"r", "d/rows.csv": b"1,2\n" * 9999, "d/large.csv": b"0" * 9999},
    )
    (tmp_path / "out").mkdir()
    archive.unpack(path, tmp_path / "out", ("rows.csv", "read.me"), 1 << 20)
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} == {
        "rows.csv": b"1,2\n" * 9999,
        "read.me": b"r",
    }


UNSAFE = {
    "../rows.csv": (b"x", "would leave the folder"),
    "a/../../b": (b"x", "would leave the folder"),
    "/rows.csv": (b"x", "would leave the folder"),
    "..\\b": (b"x", "would leave the folder"),
    "C:\\b": (b"x", "would leave the folder"),
    "link": (None, "is a link"),
    "bomb": (bytes(2 << 20), "more than 1,048,576 bytes unpacked"),
    "d/rows.csv": (b"y", "holds rows.csv twice"),
}


@pytest.mark.parametrize("pack", [zipped, tarred])
@pytest.mark.parametrize("name", UNSAFE)
def test_an_archive_with_one_unsafe_member_is_refused(pack, name, tmp_path):
    content, message = UNSAFE[name]
    path = pack(tmp_path / "a", {"rows.csv": b"1", name: content})
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match=message):
        archive.unpack(path, tmp_path / "out", ("rows.csv",), 1 << 20)
    assert {p.name for p in tmp_path.iterdir()} == {"a", "out"}


def test_devices_damage_and_what_is_missing_are_one_line(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    cases = {
        "is a device": tarred(tmp_path / "1", {"null": b"x"}, tarfile.CHRTYPE).read_bytes(),
        "is a link": tarred(tmp_path / "1", {"hard": b"x"}, tarfile.LNKTYPE).read_bytes(),
        "holds no rows.csv": zipped(tmp_path / "1", {"other": b"1"}).read_bytes(),
        "damaged, or not a zip or tar": b"neither",
    }
    whole = tarred(tmp_path / "1", {"rows.csv": os.urandom(9999)}).read_bytes()
    bent = bytearray(zipped(tmp_path / "1", {"rows.csv": b"12345678" * 999}).read_bytes())
    bent[50] ^= 1
    for message, content in [
        *cases.items(),
        ("damaged", whole[:5000]),
        ("damaged", bent),
        ("damaged", gzip.compress(b"x")),
    ]:
        path = tmp_path / "a"
        path.write_bytes(content)
        with pytest.raises(UserError, match=message):
            archive.unpack(path, out, ("rows.csv",), 1 << 20)
        (out / "rows.csv").unlink(missing_ok=True)


RATINGS = "userId,movieId,rating,timestamp\n" + "".join(
    f"{i % 7},{i % 5},{i % 5 + 1},0\n" for i in range(300)
)


@pytest.fixture
def source(server, tmp_path):
    """MovieLens 20M as published, but for its content."""
    members = {"ml-20m/ratings.csv": RATINGS.encode(), "ml-20m/README.txt": b"terms"}
    server.content = zipped(tmp_path / "made.zip", members).read_bytes()
    sums = tuple(
        (name, hashlib.new(name, server.content).hexdigest()) for name in ("md5", "sha256")
    )
    derived = {"lines.txt": lambda folder: str((folder / "ratings.csv").read_text().count("\n"))}
    given = datasets.SOURCES["movielens20m"]
    return dataclasses.replace(given, url=server.url, sums=sums, derived=derived)


def test_a_dataset_is_fetched_once_and_its_command_trains_on_it(
    server, source, tmp_path, monkeypatch, capsys
):
    server.tricks = [{"until": 100}]
    monkeypatch.setitem(datasets.SOURCES, "movielens20m", source)
    monkeypatch.setattr(sys, "argv", ["download", "movielens20m", f"--output={tmp_path / 'o'}"])
    download.main()
    folder = tmp_path / "o" / "movielens20m"
    flags = (
        f"--config=movielens20m --config.data.path={folder}/ratings.csv --workdir=runs/movielens20m"
    )
    assert capsys.readouterr().out == f"python -m autoloss_jax.main {flags}\n"
    assert {p.name for p in folder.parent.iterdir() if not p.name.endswith(".lock")} == {
        "movielens20m"
    }
    names = {"ratings.csv", "README.txt", "source.json", "lines.txt"}
    assert {p.name for p in folder.iterdir()} == names
    assert int((folder / "lines.txt").read_text()) > 300  # made of the others, as `derived` says
    record = json.loads((folder / "source.json").read_text())
    assert record == {
        "url": server.url,
        "sha256": dict(source.sums)["sha256"],
        "checked": "the archive",
    }
    assert len(server.asked) == 2
    assert (
        datasets.download("movielens20m", source, tmp_path / "o", place(server), "", app.say)
        == folder
    )
    assert len(server.asked) == 2
    with pytest.raises(UserError, match="another SHA-256"):
        datasets.download("movielens20m", source, tmp_path / "o", place(server), "0" * 64, app.say)
    data = config.Data(
        format="ratings", num_classes=5, path=f"{folder}/ratings.csv", cache=str(tmp_path / "c")
    )
    assert sum(pipeline.prepare(data, lambda _: None).schema.num_examples.values()) == 300


@pytest.mark.parametrize("algorithm", ["md5", "sha256", "pinned", "file"])
def test_what_has_another_sum_gets_no_name(server, source, tmp_path, algorithm):
    pin = "0" * 64 if algorithm == "pinned" else ""
    sums = {name: "0" * 64 if name == algorithm else right for name, right in source.sums}
    files = source.files | ({"ratings.csv": "0" * 32} if algorithm == "file" else {})
    other = dataclasses.replace(source, sums=tuple(sums.items()), files=files)
    with pytest.raises(UserError, match=r"not 0000.*removed"):
        datasets.download("movielens20m", other, tmp_path / "o", place(server), pin, app.say)
    assert [p for p in (tmp_path / "o").iterdir() if not p.name.endswith(".lock")] == []


def test_a_kill_between_fetching_and_unpacking_costs_nothing_fetched(
    server, source, tmp_path, monkeypatch
):
    monkeypatch.setattr(archive, "unpack", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        datasets.download("movielens20m", source, tmp_path / "o", place(server), "", app.say)
    assert {p.name for p in (tmp_path / "o").iterdir()} == {"d.zip", ".movielens20m.lock"}
    monkeypatch.undo()
    server.tricks = [{"status": 404}]
    datasets.download("movielens20m", source, tmp_path / "o", place(server), "", app.say)
    assert len(server.asked) == 1


def test_a_second_process_is_told_that_the_first_is_at_it(source, server, tmp_path):
    with (
        datasets._alone(tmp_path / ".movielens20m.lock"),
        pytest.raises(UserError, match="another process"),
    ):
        datasets.download("movielens20m", source, tmp_path, place(server), "", app.say)


def test_the_table_of_sources_names_configs_and_keys_that_exist():
    for name, source in datasets.SOURCES.items():
        words = dict(flag.removeprefix("--").split("=", 1) for flag in source.flags)
        assert words.pop("config") in library.trainings()
        assert {k.removeprefix("config.") for k in words} <= {
            k for k, _, _ in settings.keys(config.Config())
        }
        assert source.url.startswith("https://") and source.page.startswith("https://"), name
        assert source.path in source.files or not source.path
        assert all(len(s) == {"md5": 32, "sha256": 64}[k] for k, s in source.sums)


def test_frappe_as_it_is_published_goes_through_its_command(tmp_path):
    """Its files are tables of the fields' numbers, which configs/frappe.py reads with the flags
    that are printed.
    """
    rows = (
        "label,"
        + ",".join(datasets.FRAPPE)
        + "\n"
        + "".join(f"{i % 2}" + ",7" * 10 + "\n" for i in range(9))
    )
    for name in datasets.SOURCES["frappe"].files:
        (tmp_path / name).write_text(rows)
    data = config.Data(
        format="tabular",
        categorical=datasets.FRAPPE,
        path=str(tmp_path),
        cache=str(tmp_path / "cache"),
    )
    assert pipeline.prepare(data, lambda _: None).schema.fields == datasets.FRAPPE


def test_the_command_ends_a_stall_and_a_lie_in_one_line_and_exit_code_2(server, source, tmp_path):
    def call(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "autoloss_jax.cli.download", *arguments],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )

    server.tricks = [{"until": 50, "stall": True}] * 2
    stalled = call("movielens20m", f"--url={server.url}", "--timeout=0.2", "--attempts=2")
    assert stalled.returncode == 2
    assert "the same command goes on" in stalled.stderr.splitlines()[-1]
    lied = call("movielens20m", f"--url={server.url}")  # not what GroupLens publishes
    assert lied.returncode == 2 and "not cd245b17a1ae2cc31bb14903e1204af3" in lied.stderr
    assert "Traceback" not in stalled.stderr + lied.stderr


def test_mistakes_on_the_command_line_are_one_line(monkeypatch):
    mistakes = {
        "movielens20": "did you mean 'movielens20m'?",
        "frappe --sha256=12": "wants 64 hexadecimal digits",
        "frappe --timeout=0": "must be greater than 0",
        "frappe --force": "unrecognized arguments: --force",
    }
    for words, message in mistakes.items():
        monkeypatch.setattr(sys, "argv", ["download", *words.split()])
        with pytest.raises(UserError, match=message.replace("?", r"\?")):
            download.main()
