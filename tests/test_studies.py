"""A study's table says what its runs say, and a study that was killed ends with the same table."""

import base64
import csv
import dataclasses
import gzip
import io
import json
import re
import runpy
import types
from pathlib import Path

import jax
import numpy as np
import pytest
import scipy.stats

from autoloss_jax.analysis import significance
from autoloss_jax.config import settings
from autoloss_jax.config.errors import UserError
from autoloss_jax.studies import chart, grid, html_report, raw, record, table
from autoloss_jax.training import workdirs
from tests.support import commands
from tests.support.nightly import further

ROOT = Path(__file__).parent.parent
SMALLER = (  # the same trainings on less
    "data.generate=1500 train.epochs=1 train.batch_size=100 model.embed_dim=4 model.hidden=[8] "
    "method.hidden=[8]"
)


def quiet(_):
    pass


def made_up(dataset, method, aucs, loglosses=None):
    """Results of a method, seed by seed."""
    loglosses = loglosses or [0.5] * len(aucs)
    return (dataset, "deepfm", method), [
        {
            "seed": i,
            "seconds": 2.0 + i,
            "test": {"auc": a, "logloss": b, "logloss_calibrated": b - 0.01},
        }
        for i, (a, b) in enumerate(zip(aucs, loglosses, strict=True))
    ]


def test_the_paired_t_test_is_its_formula():
    ours, theirs = np.random.default_rng(0).standard_normal((2, 10)) * 0.01 + 0.8
    d = ours - theirs
    t = d.mean() / (d.std(ddof=1) / np.sqrt(10))
    assert significance.paired_t(ours, theirs) == pytest.approx(2 * scipy.stats.t.sf(abs(t), 9))
    assert significance.paired_t([0.8], [0.7]) is None
    assert significance.paired_t([0.8, 0.8], [0.8, 0.8]) == 1.0
    assert significance.paired_t([0.75, 0.75], [0.5, 0.5]) == 0.0


def test_holms_correction_is_the_step_down():
    assert significance.holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005}) == pytest.approx(
        {"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02}
    )
    assert significance.holm({"a": 0.6, "b": 0.7}) == {"a": 1.0, "b": 1.0}
    assert significance.holm({}) == {}


def test_a_row_has_means_deviations_and_p_against_the_best_of_the_others():
    results = dict(
        [
            made_up("x", "ce", [0.80, 0.81, 0.82], [0.5, 0.6, 0.7]),
            made_up("x", "al1", [0.70, 0.71, 0.72]),
            made_up("x", "autoloss", [0.81, 0.82, 0.84], [0.40, 0.42, 0.45]),
        ]
    )
    ce, al1, ours = table.rows(results, ("autoloss",))
    assert ce.auc_mean == pytest.approx(0.81) and ce.auc_std == pytest.approx(0.01)
    assert ce.logloss_mean == pytest.approx(0.6) and ce.logloss_calibrated_mean == pytest.approx(
        0.59
    )
    assert ce.seconds_mean == 3.0
    assert ce.p_value is al1.p_value is None
    assert ours.p_value == pytest.approx(
        significance.paired_t([0.81, 0.82, 0.84], [0.80, 0.81, 0.82])
    )
    assert ours.p_holm == ours.p_value
    assert ours.p_calibrated == pytest.approx(
        significance.paired_t([0.39, 0.41, 0.44], [0.49] * 3)
    )  # al1's
    results["x", "deepfm", "autoloss"].reverse()
    results["x", "deepfm", "ce"].append(
        results["x", "deepfm", "ce"][0] | {"seed": 3}
    )  # a row ahead of another
    assert table.rows(results, ("autoloss",))[2].p_value == ours.p_value


def test_bold_marks_the_best_and_stars_what_is_above_beyond_chance():
    results = dict(
        [
            made_up("x", "ce", [0.80, 0.81, 0.82], [0.4, 0.4, 0.4]),
            made_up("x", "autoloss", [0.8101, 0.8202, 0.8303]),
            made_up("y", "ce", [0.80, 0.81, 0.82]),
            made_up("y", "autoloss", [0.801, 0.809, 0.823]),
            made_up("z", "ce", [0.90, 0.91, 0.92]),
            made_up("z", "autoloss", [0.8001, 0.8102, 0.8203]),
        ]
    )
    lines = table.to_markdown(table.rows(results, ("autoloss",))).splitlines()[2:]
    assert "| **0.82020 ± 0.01010**** |" in lines[1]  # p < .05, and still after Holm
    assert "| 0.81000 ± 0.01000 | **0.4000 ± 0.0000** | **0.3900** |" in lines[0]
    assert "** |" in lines[3] and "*** |" not in lines[3]  # the best, by chance
    assert "| 0.81020 ± 0.01010 |" in lines[5]  # below beyond chance: no star


def test_a_row_says_what_share_of_the_gap_it_recovers_and_oracles_are_no_rivals():
    results = dict(
        [
            made_up("x", "ce", [0.80, 0.80], [0.5, 0.5]),
            made_up("x", "corrected", [0.83, 0.83], [0.41, 0.41]),
            made_up("x", "autoloss", [0.84, 0.84], [0.40, 0.40]),
            made_up("x", "ce data.missing=0.0", [0.90, 0.90], [0.3, 0.3]),
            made_up("y", "ce", [0.80, 0.80]),
        ]
    )
    study = grid.Study(
        ours=("autoloss",), oracles=("ce data.missing=0.0",), gap=("ce", "ce data.missing=0.0")
    )
    rows = table.of_study(results, study)
    ce, corrected, ours, clean, alone = rows
    assert corrected.gap_auc == pytest.approx(0.3)
    assert corrected.gap_calibrated == pytest.approx(0.45)
    assert (ce.gap_auc, clean.gap_auc, alone.gap_auc) == (0, 1, None)
    assert ours.p_value == 0.0  # against `corrected`
    head, _, *lines = table.to_markdown(rows).splitlines()
    assert head.endswith(f"| {table.GAP} |") and lines[1].endswith("| 30 %, 45 % |")
    assert "*ce missing=0.0*" in lines[3] and "**0.9" not in lines[3] and "**0.84" in lines[2]
    titles = ("the log", "correcting", "searching", "right labels")
    methods = ("ce", "corrected", "autoloss", "ce data.missing=0.0")
    named = table.of_study(results, dataclasses.replace(study, methods=methods, titles=titles))
    assert table.outcome(named[:4]) == (
        "Between the log and right labels lie 0.100 of test AUC. Of this, by correcting 30 %, by "
        "searching 40 % are recovered."
    )
    assert "*right labels*" in table.to_markdown(named) and not table.outcome(named[4:])


def test_a_mean_far_worse_than_the_others_is_a_figure_at_the_edge_and_does_not_stretch_the_axis():
    aucs = {"ce": 0.781, "kl": 0.78, "focal": 0.774, "autoloss": 0.782}
    rows = [
        table.Row("ml", "deepfm", method, 3, auc, 0.001, 1.2, 0.1, 1.2)
        for method, auc in aucs.items()
    ]
    hinge = table.Row("ml", "deepfm", "hinge", 3, 0.6543, 0.001, 1.2, 0.1, 1.2)
    near, far = (chart.draw(some, ("autoloss",)).axes[0] for some in (rows, [*rows, hinge]))
    assert [text.get_text() for text in far.texts] == ["0.6543"] and not near.texts
    assert far.get_xlim()[0] > 0.77 and near.get_xlim()[0] > 0.77
    best = dataclasses.replace(hinge, method="best", auc_mean=0.9, logloss_calibrated_mean=0.5)
    auc, logloss, _ = chart.draw([*rows, best], ("autoloss",)).axes
    assert not auc.texts and auc.get_xlim()[1] > 0.9
    assert not logloss.texts and logloss.get_xlim()[0] < 0.5


def test_csv_has_its_columns_and_whole_figures():
    text = table.to_csv(table.rows(dict([made_up("x", "ce", [1 / 3])]), ("autoloss",)))
    (row,) = csv.DictReader(io.StringIO(text))
    assert list(row)[:10] == [
        "dataset", "model", "method", "seeds", "auc_mean", "auc_std", "logloss_mean", "logloss_std",
        "logloss_calibrated_mean", "p_value",
    ]  # fmt: skip
    assert float(row["auc_mean"]) == 1 / 3
    assert row["auc_std"] == row["p_value"] == ""


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return grid.Study(
        name="small",
        datasets=(f"quickstart:quick {SMALLER}",),
        models=("deepfm",),
        methods=("ce", "al1"),
        ours=("al1",),
        seeds=2,
        cache=str(tmp_path_factory.mktemp("cache")),
    )


def written(results):
    """The table, without what the clock says."""
    rows = table.rows(grid.by_row(results), ("al1",))
    return table.to_csv([dataclasses.replace(row, seconds_mean=None) for row in rows])


@pytest.mark.slow
def test_a_study_killed_between_and_within_trainings_ends_with_the_same_table(
    study, tmp_path, monkeypatch
):
    whole = grid.run(study, tmp_path / "whole", quiet)
    assert [(c.method, c.seed) for c, _ in whole] == [("ce", 0), ("al1", 0), ("ce", 1), ("al1", 1)]
    plain, calls = grid.train.train, []

    def killed(cfg, workdir, say, *, shown):
        calls.append(workdir)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return plain(cfg, workdir, say, shown=shown)

    monkeypatch.setattr(grid.train, "train", killed)
    with pytest.raises(KeyboardInterrupt):
        grid.run(study, tmp_path / "killed", quiet)
    assert written(grid.run(study, tmp_path / "killed", quiet)) == written(whole)
    monkeypatch.setattr(grid.train.loop.Trainer, "open", None)  # nothing is trained again
    assert written(grid.run(study, tmp_path / "killed", quiet)) == written(whole)


def test_trainings_whose_figures_are_known_are_not_repeated(study, tmp_path, monkeypatch):
    cells = list(grid.cells(study))
    made = [
        (c, {"seed": c.seed, "test": dict.fromkeys(record.FIGURES, 0.1 + i / 7), "seconds": i / 3})
        for i, c in enumerate(cells)
    ]
    (tmp_path / "runs.csv").write_text(
        record.to_csv((dataclasses.astuple(c), r) for c, r in made[:-1])
    )
    trained = []
    monkeypatch.setattr(
        grid, "_result", lambda study, cell, workdir, say: trained.append(cell) or made[-1][1]
    )
    known = dataclasses.replace(study, known=(str(tmp_path / "runs.csv"),))
    assert grid.run(known, tmp_path, quiet) == made  # to the last digit
    assert trained == [cells[-1]]
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match=r"not the -runs\.csv of a study"):
        grid.run(dataclasses.replace(study, known=(str(tmp_path / "other.csv"),)), tmp_path, quiet)


def test_a_dataset_that_is_not_there_is_one_line(study, tmp_path):
    for datasets, message in (
        (("frappee",), "did you mean 'frappe'"),
        (("frappe",), "frappe_x1 is not there"),
        (("quickstart:quik",), "did you mean 'quick'"),
    ):
        study_of = grid.Study(
            datasets=datasets, models=("deepfm",), methods=("ce",), raw=str(tmp_path)
        )
        with pytest.raises(UserError, match=message):
            grid.run(study_of, tmp_path, quiet)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("static method.static=[.5,.5]", r"method\.static='\[\.5,\.5\]'"),
        ("autolos", "did you mean 'autoloss'"),
        ("retrain method.fold=2", "did you mean .*folds"),
        ('bohb method.pool=["ce","focl"]', "did you mean 'focal'"),
    ],
)
def test_a_slip_in_the_last_row_is_said_before_the_first_is_trained(
    study, tmp_path, method, message
):
    with pytest.raises(UserError, match=message):
        grid.run(dataclasses.replace(study, methods=("ce", method)), tmp_path, quiet)
    assert not (tmp_path / "runs").exists()


def test_a_dataset_without_a_variant_is_in_the_models(tmp_path, monkeypatch):
    monkeypatch.setattr(raw, "RAW", {"frappe": "."})
    cfg = grid.config_of(
        grid.Study(raw=str(tmp_path)), grid.Cell("frappe", "ipnn", "ce", 3), tmp_path, quiet
    )
    assert (cfg.model.name, cfg.model.batch_norm, cfg.run.seed) == ("ipnn", False, 3)
    paper = grid.Cell("frappe:paper", "ipnn", "ce", 3)
    cfg = grid.config_of(grid.Study(raw=str(tmp_path)), paper, tmp_path, quiet)
    assert (cfg.model.name, cfg.model.batch_norm, cfg.model.hidden) == ("ipnn", True, (128, 128))


def test_config_keys_may_follow_a_dataset_and_a_method(tmp_path):
    cell = grid.Cell(
        "quickstart:quick data.missing=0.4",
        "deepfm",
        'autoloss method.every=3 method.pool=["ce","mae"]',
        0,
    )
    cfg = grid.config_of(grid.Study(), cell, tmp_path, quiet)
    assert (cfg.data.missing, cfg.method.name, cfg.method.every, cfg.method.pool) == (
        0.4,
        "autoloss",
        3,
        ("ce", "mae"),
    )
    assert "/" not in cell.folder and " " not in cell.folder
    assert table.short(cell.method) == 'autoloss every=3 pool=["ce","mae"]'
    for method, message in (
        ("ce method.evry=3", "did you mean 'method.every'"),
        ("ce method.every=x", "wants int"),
    ):
        with pytest.raises(UserError, match=message):
            grid.config_of(grid.Study(), dataclasses.replace(cell, method=method), tmp_path, quiet)


@pytest.mark.slow
def test_two_processes_share_the_trainings(study, tmp_path, monkeypatch):
    plain, mine, theirs = grid.train.train, [], []

    def other(results):
        theirs.extend(results)

    def training(cfg, workdir, say, *, shown):
        mine.append(workdir.name)
        if (
            len(mine) == 1
        ):  # while this one holds its cell, another process comes and does what is left
            with workdirs.locked(workdir):
                monkeypatch.setattr(grid.train, "train", plain)
                monkeypatch.setattr(
                    grid,
                    "time",
                    types.SimpleNamespace(sleep=lambda _: (_ for _ in ()).throw(InterruptedError)),
                )
                with pytest.raises(InterruptedError):  # then it waits for the cell that is held
                    grid.run(study, tmp_path, quiet, other)
                monkeypatch.setattr(grid.train, "train", training)
        return plain(cfg, workdir, say, shown=shown)

    monkeypatch.setattr(grid.train, "train", training)
    results = grid.run(study, tmp_path, quiet)
    assert len(theirs) == 1 + 2 + 3  # seen after each of three
    assert [cell.seed for cell, _ in results] == [0, 0, 1, 1]


@pytest.mark.slow
def test_a_frozen_controller_comes_from_the_run_of_the_same_seed_that_is_named(study, tmp_path):
    transfer = dataclasses.replace(
        study,
        models=("nfm",),
        methods=("transfer method.transfer_from=slf",),
        searched_on=f"quickstart:quick {SMALLER} deepfm",
        seeds=1,
    )
    ((_, result),) = grid.run(transfer, tmp_path, quiet)
    source = tmp_path / "runs" / grid.Cell(study.datasets[0], "deepfm", "slf", 0).folder
    assert result["config"]["method"]["transfer_from"] == str(source)
    assert json.loads((source / "result.json").read_text())["method"] == "slf"
    ((_, own),) = grid.run(dataclasses.replace(transfer, searched_on=""), tmp_path / "other", quiet)
    source = Path(own["config"]["method"]["transfer_from"])
    assert json.loads((source / "result.json").read_text())["model"] == "nfm"


def test_a_study_shows_no_bar_but_its_own(study, tmp_path, monkeypatch):
    bars = []

    def training(cfg, workdir, say, *, shown=True, callbacks=()):
        bars.append((cfg.method.name, shown))
        return {"best_step": 1, "examples_per_second": 1.0, "config": {"train": {"batch_size": 1}}}

    monkeypatch.setattr(grid.train.loop, "train", training)
    grid.run(dataclasses.replace(study, methods=("retrain",), seeds=1), tmp_path, quiet)
    assert bars == [("autoloss", False), ("retrain", False)]


@pytest.mark.slow
def test_every_row_is_tuned_once_on_the_same_budget(study, tmp_path):
    tuned = dataclasses.replace(study, methods=("ce",), over=("model.dropout",), trials=2)
    results = grid.run(tuned, tmp_path, quiet)
    here = tmp_path / "tune" / grid.Cell(study.datasets[0], "deepfm", "ce", 0).folder
    best = json.loads((here / "best.json").read_text())
    assert {r["config"]["model"]["dropout"] for _, r in results} == {best["keys"]["model.dropout"]}
    assert len(json.loads((here / "trials.json").read_text())) == 2


def test_the_study_of_drift_takes_users_of_whom_every_rating_has_a_time(tmp_path):
    (tmp_path / "movielens1m").mkdir()
    with gzip.open(tmp_path / "movielens1m" / "ratings.dat.gz", "wt") as file:
        file.write("1::10::5::100\n1::11::4::101\n2::10::3::-1\n2::12::1::99\n3::10::2::50\n")
    made = raw.path(str(tmp_path), "movielens1m:time", tmp_path / "work", quiet)
    assert made.read_text() == "1::10::5::100\n1::11::4::101\n3::10::2::50\n"
    assert raw.path(str(tmp_path), "movielens1m:paper", tmp_path, quiet).name == "ratings.dat.gz"


def test_movielens_with_profiles_is_one_table_whatever_its_titles_hold(tmp_path):
    """A title has colons, quotes, and Latin-1; each rating keeps its place."""
    folder = tmp_path / "movielens1m"
    folder.mkdir()
    (folder / "ratings.dat").write_text("2::10::4::100\n1::11::3::101\n2::11::5::3\n")
    (folder / "users.dat").write_text("1::F::1::10::48067\n2::M::56::16::02138-1\n")
    (folder / "movies.dat").write_bytes(
        '10::"Misérables": a, b::Drama\n11::It::Comedy|Drama\n'.encode("latin-1")
    )
    made = raw.path(str(tmp_path), "movielens1m:profiles", tmp_path / "work", quiet)
    assert made.read_text().splitlines() == [
        "user,movie,gender,age,occupation,zip,genres,rating,liked",
        "2,10,M,56,16,02138-1,Drama,4,1",
        "1,11,F,1,10,48067,Comedy|Drama,3,0",
        "2,11,M,56,16,02138-1,Comedy|Drama,5,1",
    ]
    (folder / "users.dat").write_text("1::F::1\n")
    with pytest.raises(UserError, match=r"users\.dat: not lines of user::gender"):
        raw.path(str(tmp_path), "movielens1m:profiles", tmp_path / "other", quiet)


STUDIES = sorted((ROOT / "configs" / "studies").glob("*.py"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "path",
    further(STUDIES, [path for path in STUDIES if path.stem in ("context", "table2")]),
    ids=lambda path: path.stem,
)
def test_every_study_has_a_quick_one_that_ends_with_a_page(tmp_path, path):
    quick = runpy.run_path(str(path))["get_config"]("quick")
    searched_on = quick.searched_on.replace(" ", f" {SMALLER} ")
    smaller = {"datasets": tuple(f"{d} {SMALLER}" for d in quick.datasets), "seeds": 1}
    smaller |= {"searched_on": searched_on, "cache": str(tmp_path / "cache")}
    quick = settings.check(dataclasses.replace(quick, **smaller))
    rows = table.rows(grid.by_row(grid.run(quick, tmp_path / "runs", quiet)), quick.ours)
    assert quick.name == path.stem and {row.method for row in rows} & set(quick.ours)
    html_report.write_pictures(tmp_path, quick.name, rows, quick.ours, "python <it>", {})
    text = (tmp_path / "report.html").read_text()
    assert "<script" not in text and "://" not in text and "python &lt;it&gt;" in text
    assert text.count("<tr>") == 1 + len(rows)
    for tag in re.findall(r'src="([^"]*)"', text):
        png = base64.b64decode(tag.removeprefix("data:image/png;base64,"))
        assert png.startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_command_writes_the_table(tmp_path):
    command = [
        "autoloss_jax.studies.run",
        "--config=configs/studies/table3.py:quick",
        f"--workdir={tmp_path}", f"--config.cache={tmp_path / 'cache'}", "--config.seeds=1",
    ]  # fmt: skip
    done = commands.call(*command, "--workers=2")
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "table3.md").read_text()
    assert text.endswith(done.stdout.rstrip("\n") + "\n")
    assert (
        "table3.py:quick --workdir=DIR --config.cache=DIR --config.seeds=1\n" in text
        and f"jax {jax.__version__}" in text
    )
    assert [line.split(" | ")[2] for line in text.splitlines()[-3:]] == ["al1", "al2", "autoloss"]
    assert (tmp_path / "table3.csv").read_text().count("\n") == 4
    assert (tmp_path / "table3.png").exists() and (tmp_path / "report.html").exists()
    mistaken = commands.call(*command, "--config.sedes=1")
    assert mistaken.returncode == 2 and "did you mean 'seeds'" in mistaken.stderr
