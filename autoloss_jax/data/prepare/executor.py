"""Who runs the stages: threads of this process, or Apache Spark. Both take the same functions
and the same query.
"""

import concurrent.futures
import functools
import os
import queue
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

import polars as pl

from autoloss_jax import config
from autoloss_jax.config.errors import UserError

READER = 0.75  # GiB that a thread may take
VOCABULARY = """
    SELECT field, value, SUM(count) AS total FROM counts
    GROUP BY field, value HAVING SUM(count) >= {} ORDER BY field, total DESC, value
"""  # ties by value: the order of ids never depends on who was first
END = object()  # of a task
Stage = Callable[[Any, Any], Iterator[Any]]  # (job, task) -> results


class Executor(Protocol):
    """What preparing asks of an executor."""

    def each(self, function: Stage, job: Any, tasks: Iterable[Any]) -> Iterator[Any]:
        """The results of all tasks, in any order."""
        ...

    def vocabulary(
        self, counts: list[Path], fields: tuple[str, ...], min_count: int
    ) -> pl.DataFrame:
        """(field, value) of the values that Parquet files of (field, value, count) hold often
        enough, by `VOCABULARY`.
        """
        ...

    def close(self) -> None:
        """Give back what it holds."""
        ...


class Local:
    """Threads, as many as the machine has cores and the limit has room for."""

    def __init__(self, data: config.Data):
        self.threads = max(1, min(os.cpu_count() or 1, int(data.memory_limit / READER)))

    def each(self, function: Stage, job: Any, tasks: Iterable[Any]) -> Iterator[Any]:
        """As they come. After an error no task is begun any more, and that of the first of the
        tasks is raised.
        """
        results: queue.SimpleQueue[Any] = queue.SimpleQueue()
        errors: dict[int, BaseException] = {}

        def run(number: int, task: Any) -> None:
            try:
                for result in function(job, task):
                    results.put(result)
            except BaseException as error:
                errors[number] = error
            results.put(END)

        pool = concurrent.futures.ThreadPoolExecutor(self.threads)
        try:
            left = len([pool.submit(run, number, task) for number, task in enumerate(tasks)])
            while left and not errors:
                result = results.get()
                if result is END:
                    left -= 1
                else:
                    yield result
        finally:
            pool.shutdown(cancel_futures=True)
        if errors:
            raise errors[min(errors)]

    def vocabulary(
        self, counts: list[Path], fields: tuple[str, ...], min_count: int
    ) -> pl.DataFrame:
        """By polars, in streams, a field at a time, for the memory's sake."""
        whole = pl.scan_parquet(counts, glob=False)
        parts = [pl.DataFrame(schema={"field": pl.String, "value": pl.String})]
        for field in fields:
            query = pl.SQLContext(counts=whole.filter(pl.col("field") == field))
            parts.append(
                query.execute(VOCABULARY.format(min_count))
                .collect(engine="streaming")
                .drop("total")
            )
        return pl.concat(parts)

    def close(self) -> None:
        """Nothing is held between calls."""


class Spark:
    """Apache Spark: the cluster that spark-submit or spark-defaults.conf names, or this machine."""

    def __init__(self, data: config.Data):
        del data
        try:
            from pyspark import SparkConf
            from pyspark.sql import SparkSession
        except ImportError as error:
            raise UserError(
                "--config.data.executor=spark: wants PySpark, and Java for it: pip install "
                "'pyspark>=4,<5'"
            ) from error
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        here = os.pathsep.join([str(Path(__file__).parents[3]), os.environ.get("PYTHONPATH", "")])
        os.environ["PYTHONPATH"] = here  # executors import what is imported here
        builder = SparkSession.builder.appName("autoloss_jax").config(
            "spark.executorEnv.PYTHONPATH", here
        )
        if not SparkConf().get("spark.master", None):
            builder = builder.master("local[*]")
        self.ours = SparkSession.getActiveSession() is None
        self.session = builder.getOrCreate()

    def each(self, function: Stage, job: Any, tasks: Iterable[Any]) -> Iterator[Any]:
        """All at once: an executor takes what it can."""
        tasks = list(tasks)
        run = functools.partial(_guarded, function, job)
        found = (
            self.session.sparkContext.parallelize(tasks, max(len(tasks), 1)).flatMap(run).collect()
        )
        for result, error in found:
            if error:
                raise UserError(error)
            yield result

    def vocabulary(
        self, counts: list[Path], fields: tuple[str, ...], min_count: int
    ) -> pl.DataFrame:
        """By Spark SQL, which spills what does not fit."""
        del fields
        self.session.read.parquet(*map(str, counts)).createOrReplaceTempView("counts")
        with tempfile.TemporaryDirectory(dir=counts[0].parents[1]) as folder:
            found = self.session.sql(VOCABULARY.format(min_count)).select("field", "value")
            found.coalesce(1).write.parquet(f"{folder}/vocabulary")
            return pl.read_parquet(f"{folder}/vocabulary/*.parquet")

    def close(self) -> None:
        """End the session, if it was begun here."""
        if self.ours:
            self.session.stop()


def _guarded(function: Stage, job: Any, task: Any) -> Iterator[tuple[Any, str]]:
    """(Result, "") of a task, and at last (None, what the user can mend), if there is something."""
    try:
        for result in function(job, task):
            yield result, ""
    except UserError as error:
        yield None, str(error)


EXECUTORS: dict[str, Callable[[config.Data], Executor]] = {"local": Local, "spark": Spark}
