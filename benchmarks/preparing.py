"""Raw text to ids: rows with vocabularies of Criteo's sizes, and the same rules written in
pandas, to compare with.
"""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

CATEGORIES = (
    1460, 583, 10_131_227, 2_202_608, 305, 24, 12_517, 633, 3, 93_145, 5683, 8_351_593, 3194,
    27, 14_992, 5_461_306, 10, 5652, 2173, 4, 7_046_547, 18, 15, 286_181, 105, 142_572,
)  # distinct values of Criteo's fields  # fmt: skip
MIN_COUNT = 5
CHUNK = 1 << 18
HEX = np.array([f"{i:02x}".encode() for i in range(256)]).view("S2")


def write_rows(path: Path, rows: int, seed: int = 0) -> None:
    """Lines in Criteo's format, quickly made up: the k-th most frequent value of a field has a
    share of about 1 / k.
    """
    random = np.random.Generator(np.random.Philox(seed))
    with path.open("wb") as file:
        for begin in range(0, rows, CHUNK):
            n = min(CHUNK, rows - begin)
            cells = [np.where(random.random(n) < 0.25, b"1", b"0")]
            for i in range(13):
                numbers = np.floor(np.exp(random.normal(0.4 + 0.35 * i, 1.3, n))).astype(
                    np.int64
                ) - (i % 3 == 1)
                cells.append(np.where(random.random(n) < 0.04 * i, b"", numbers.astype("S12")))
            for i, size in enumerate(CATEGORIES):
                rank = np.exp(random.random(n) * np.log(size)).astype(np.uint32)
                word = (
                    (rank * np.uint32(0x9E3779B1) + np.uint32(i))
                    .astype(">u4")
                    .view(np.uint8)
                    .reshape(n, 4)
                )
                cells.append(
                    np.where(random.random(n) < 0.02 * (i % 5), b"", HEX[word].view("S8")[:, 0])
                )
            file.write(
                b"".join(
                    b"\t".join(line) + b"\n"
                    for line in zip(*(c.tolist() for c in cells), strict=True)
                )
            )


def ours(path: Path, folder: Path) -> int:
    """`data.prepare`; the rows of the embedding table."""
    from autoloss_jax import config
    from autoloss_jax.data.prepare import pipeline

    data = config.Data(
        name="b", format="criteo", path=str(path), cache=str(folder), min_count=MIN_COUNT
    )
    return pipeline.prepare(data, lambda _: None, shown=False).schema.num_rows


def pandas(path: Path, folder: Path) -> int:
    """The same rules, as one would write them in a notebook: all in memory, a column at a time."""
    import pandas as pd

    names = ["label", *(f"I{i}" for i in range(1, 14)), *(f"C{i}" for i in range(1, 27))]
    frame = pd.read_csv(
        path, sep="\t", header=None, names=names, dtype=str, keep_default_na=False, engine="c"
    )
    random = np.random.Generator(np.random.Philox(0)).random(len(frame))
    split = np.searchsorted([0.8, 0.9], random, side="right")
    ids, offset = np.empty((len(frame), 39), np.int32), 0
    for f, name in enumerate(names[1:]):
        column = frame[name]
        if name.startswith("I"):
            number = pd.to_numeric(column)
            large = number > 2
            bucket = pd.Series(np.floor(np.log(number[large]) ** 2)).astype(np.int64).astype(str)
            column = column.mask(large, bucket.radd("log "))
        counts = column[split == 0].value_counts()
        counts = counts[counts >= MIN_COUNT].reset_index()
        counts = counts.sort_values(["count", name], ascending=[False, True])
        places = pd.Series(np.arange(1, len(counts) + 1), index=counts[name])
        ids[:, f] = column.map(places).fillna(0).astype(np.int32) + offset
        offset += len(counts) + 1
    labels = frame["label"].to_numpy().astype(np.int32)
    for i, name in enumerate(("train", "val", "test")):
        np.save(folder / f"{name}.x.npy", ids[split == i])
        np.save(folder / f"{name}.y.npy", labels[split == i])
    return offset


def batches(folder: Path, batch_size: int, blocks: int = 60) -> float:
    """Rows per second that the host makes batches of, ahead of a device."""
    from autoloss_jax.data import store
    from autoloss_jax.data.load import host
    from autoloss_jax.data.load.shuffle import Order
    from autoloss_jax.distributed import sharding

    found, root, block = store.open_store(folder), np.array([0, 1], np.uint32), 32
    train = found.split("train")
    order = Order("train", len(train["y"]), batch_size)
    mesh, bounds = sharding.make_mesh(), found.schema.bounds
    stream = host.Stream(mesh, (train,), (), {"train": order}, root, 7, block, bounds)
    seconds = []
    for _ in range(2):  # the second time, the pages are in memory
        begun = time.perf_counter()
        for source in stream.sources(range(0, block * (blocks + 1), block)):
            del source
        seconds.append(time.perf_counter() - begun)
    return blocks * block * batch_size / seconds[-1]


def measure(name: str, path: Path, folder: Path) -> dict[str, Any]:
    """{"seconds", "peak_bytes", "num_rows"} of one of them, in a process of its own."""
    script = "from benchmarks import preparing; preparing.main()"
    command = [sys.executable, "-c", script, name, str(path), str(folder)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """What `measure` runs."""
    name, path, folder = sys.argv[1:]
    Path(folder).mkdir(parents=True)
    begun = time.perf_counter()
    num_rows = {"ours": ours, "pandas": pandas}[name](Path(path), Path(folder))
    found = {"seconds": time.perf_counter() - begun, "num_rows": num_rows}
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps(found | {"peak_bytes": peak}))
