"""The table of several runs has their mean and sample deviation."""

import json
import statistics
from pathlib import Path

from autoloss_jax.cli import compare
from tests.support import commands


def by(result, **method):
    """The result of a run by another method, as an earlier version wrote it, without a label."""
    changed = result["config"] | {"method": result["config"]["method"] | method}
    old = {name: value for name, value in result.items() if name != "label"}
    return old | {"config": changed, "method": changed["method"]["name"]}


def test_runs_are_grouped_and_averaged_over_seeds(finished):
    _, _, result = finished
    aucs = [0.71, 0.72, 0.76]
    runs = [result | {"seed": s, "test": result["test"] | {"auc": a}} for s, a in enumerate(aucs)]
    other = by(result, name="ce") | {"test": result["test"] | {"auc": None}}
    *_, first, second = compare.table([*runs, other]).splitlines()
    assert first.startswith("| small | deepfm | autoloss every=3 hidden=(8,) | 3 | ")
    assert f"{statistics.mean(aucs):.5f} ± {statistics.stdev(aucs):.5f}" in first
    assert "| ce | 1 | undefined |" in second


def test_a_run_says_what_a_table_calls_it(finished):
    _, _, result = finished
    assert compare.label(result) == compare.label(by(result)) == result["label"]


def test_weights_that_runs_found_for_themselves_do_not_part_their_seeds(finished):
    _, _, result = finished
    for method, rows in (("bohb", 1), ("melu", 1), ("static", 2)):
        runs = []
        for seed, weight in enumerate((0.2, 0.3)):
            run = by(result, name=method, static=[weight, 1 - weight])
            runs.append(run | {"seed": seed})
        assert len(compare.table(runs).splitlines()) - 2 == rows


def test_runs_that_cannot_be_read_are_named_with_the_reason_and_the_rest_is_shown(
    finished, tmp_path
):
    _, workdir, result = finished
    for name, text in {
        "broken": "{",
        "list": "[]",
        "later": json.dumps(result | {"schema": 2}),
        "halved": json.dumps({"schema": 1}),
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "result.json").write_text(text)
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "config.json").write_text("{}")
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("")
    runs = (*sorted(tmp_path.iterdir()), tmp_path / "gone", workdir)
    done = commands.call("autoloss_jax.cli.compare", *map(str, runs))
    assert done.returncode == 0 and done.stdout == compare.table([result]) + "\n"
    lines = done.stderr.splitlines()
    places = [Path(line.removeprefix("left out: ").split(": ")[0]) for line in lines]
    reasons = dict(zip((place.name for place in places), lines, strict=True))
    assert len(lines) == len(runs) - 1
    assert sum(place.name == "result.json" for place in places) == 4
    assert reasons["begun"].endswith("begun: the run has not finished")
    assert reasons["empty"].endswith("empty: holds no run")
    assert reasons["notes.txt"].endswith("notes.txt: not a folder")
    assert reasons["gone"].endswith("gone: no such folder")


def test_the_command_reads_result_json_and_names_what_is_missing(finished, tmp_path):
    def call(*runs):
        return commands.call("autoloss_jax.cli.compare", *map(str, runs))

    _, workdir, _result = finished
    assert (
        f"{json.loads((workdir / 'result.json').read_text())['test']['auc']:.5f}"
        in call(workdir).stdout
    )
    for runs in ((), (tmp_path,)):
        done = call(*runs)
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1
