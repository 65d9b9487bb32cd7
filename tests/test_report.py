"""The report of a run: its figures are those of independent counts, and its page says them to
people and browsers.
"""

import dataclasses
import html
import json
import re
import shlex
import shutil
import sys

import numpy as np
import polars as pl
import pytest
import scipy.stats
from sklearn import calibration, linear_model, metrics, preprocessing

import autoloss_jax
from autoloss_jax import report
from autoloss_jax.algorithm import methods
from autoloss_jax.algorithm.controller import Ensemble, ensemble
from autoloss_jax.algorithm.networks import ControllerFn
from autoloss_jax.analysis import controllers, importance, page, reliability, sections, significance
from autoloss_jax.config import Config
from autoloss_jax.config.errors import UserError
from autoloss_jax.data.schema import Schema
from autoloss_jax.distributed import documents
from autoloss_jax.training import checkpoint, controller_checkpoints, loop
from tests.support import browser
from tests.support.commands import call
from tests.support.documents import blocks
from tests.support.runs import quiet

EVIL = ("<script>alert(1)</script>", '$x_1$ & "q"', "a\x07b", "</svg><img src=x onerror=alert(2)>")
FIELD = "<i>place$^2$"
LOST = 0.6  # of the positives at the first of these places


def table(random, rows, lost=0.0):
    """Rows of a log: clicks by taste, of which some get lost at the first place."""
    taste, place = random.integers(0, 8, rows), random.integers(0, len(EVIL), rows)
    click = random.random(rows) < (taste + 0.5) / 9
    click &= ~((place == 0) & (random.random(rows) < lost))
    return pl.DataFrame(
        {
            "click": click.astype(int),
            FIELD: [EVIL[k] for k in place],
            "taste": taste,
            "noise": random.integers(0, 5, rows),
        }
    )


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """(The folder of a log, its tables.)"""
    folder, random = tmp_path_factory.mktemp("log"), np.random.default_rng(0)
    sizes = {"train": 4000, "valid": 800, "test": 1000, "trusted": 400}
    tables = {n: table(random, rows, LOST * (n == "train")) for n, rows in sizes.items()}
    (folder / "log").mkdir()
    for name, rows in tables.items():
        rows.write_csv((folder if name == "trusted" else folder / "log") / f"{name}.csv")
    return folder, tables


@pytest.fixture(scope="module")
def corrected(log):
    """A run on it that corrects its labels by place."""
    folder, _ = log
    cfg = Config().replace(
        {
            "data.name": "<b>log</b>",
            "data.path": str(folder / "log"),
            "data.trusted": str(folder / "trusted.csv"),
            "data.cache": str(folder / "cache"),
            "data.label": "click",
            "data.categorical": (FIELD, "taste", "noise"),
            "data.context": (FIELD,),
            "model.name": "fm",
            "model.embed_dim": 4,
            "method.name": "corrected",
            "optimizer.learning_rate": 0.02,
            "train.batch_size": 200,
            "train.epochs": 3,
        }
    )
    loop.train(cfg, folder / "run", quiet, shown=False)
    return folder / "run"


@pytest.fixture(scope="module")
def explained(corrected):
    return autoloss_jax.load(corrected).explain()


@pytest.fixture(scope="module")
def seeds(finished, small, once):
    """The finished run of AutoLoss, and the same with another seed."""
    cfg = small(run__seed=1)
    other = once("finished-seed-1", lambda f: loop.train(cfg, f / "run", quiet, shown=False))
    return [autoloss_jax.load(finished[1]), autoloss_jax.load(other / "run")]


@pytest.fixture(scope="module")
def compared(seeds):
    return seeds[0].explain(seeds[1])


def written(explanation):
    return page.render(sections.page(explanation, "autoloss report RUN"))


@pytest.fixture(scope="module")
def pages(explained, compared):
    return written(explained), written(compared)


@pytest.mark.slow
def test_the_yardsticks_are_scikit_learns(log, explained):
    _, tables = log
    (train, test), names = (tables["train"], tables["test"]), [FIELD, "taste", "noise"]
    encoder = preprocessing.OneHotEncoder().fit(train.select(names).to_numpy())
    x, x_test = (encoder.transform(rows.select(names).to_numpy()) for rows in (train, test))
    regression = linear_model.LogisticRegression(max_iter=1000).fit(x, train["click"].to_numpy())
    p = regression.predict_proba(x_test)[:, 1]
    constant = np.full(test.height, train["click"].mean())
    found = {what: figures for what, *figures in explained.outcome.iter_rows()}
    y = test["click"].to_numpy()
    for name, scores in (("logistic regression", p), ("one probability for all", constant)):
        auc, logloss, calibrated = found[name]
        assert auc == pytest.approx(metrics.roc_auc_score(y, scores), abs=1e-3)
        assert logloss == pytest.approx(metrics.log_loss(y, scores), abs=1e-3)
        assert calibrated < logloss  # train has lost clicks, validation has not
    run = autoloss_jax.load(explained.about["runs"][0]).result["test"]
    assert found["seed 0"] == [run["auc"], run["logloss"], run["logloss_calibrated"]]


@pytest.mark.slow
def test_label_rates_are_those_of_counting(log, explained):
    _, tables = log
    rates = {line["value"]: line for line in explained.rates[FIELD].iter_rows(named=True)}
    for which, prefix in (("train", ""), ("trusted", "trusted_")):
        for place in EVIL:
            rows = tables[which].filter(pl.col(FIELD) == place)
            line = rates[place]
            assert line[f"{prefix}rows"] == rows.height
            assert line[f"{prefix}positive"] == pytest.approx(rows["click"].mean())
            test = scipy.stats.binomtest(int(rows["click"].sum()), rows.height)
            interval = test.proportion_ci(method="wilson")
            assert line[f"{prefix}low"] == pytest.approx(interval.low)
            assert line[f"{prefix}high"] == pytest.approx(interval.high)
    believed = {line["value"]: line["rate"] for line in explained.beliefs["missing"].to_dicts()}
    assert believed[EVIL[0]] == pytest.approx(LOST, abs=0.15)
    assert max(believed[place] for place in EVIL[1:]) < 0.25


def test_a_calibration_curve_is_scikit_learns():
    random = np.random.default_rng(0)
    p = random.permutation(np.linspace(0.01, 0.99, 2000))
    y = (random.random(2000) < p**2).astype(int)
    found = reliability.curve(y, np.stack([1 - p, p], 1))
    observed, predicted = calibration.calibration_curve(y, p, n_bins=10, strategy="quantile")
    np.testing.assert_allclose(found["observed"], observed)
    np.testing.assert_allclose(found["predicted"], predicted)
    assert reliability.error(found) == pytest.approx(np.mean(np.abs(observed - predicted)))


def test_a_histogram_holds_all_rows_of_each_label():
    random = np.random.default_rng(0)
    p = random.dirichlet(np.ones(7), 500)
    labels = random.integers(0, 7, 500)
    found = reliability.histogram(labels, p)
    assert found["label"].unique(maintain_order=True).to_list() == [0, 3, 6]
    shares = found.group_by("label").agg(pl.col("share").sum())["share"]
    np.testing.assert_allclose(shares, 1)


def test_importance_is_what_shuffling_a_column_costs():
    random = np.random.default_rng(0)
    x = np.stack([random.integers(0, 10, 3000), 10 + random.integers(0, 10, 3000)], 1)
    rows = {"x": x.astype(np.int32), "y": (random.random(3000) < x[:, 0] / 10).astype(np.int32)}
    schema = Schema("", "", ("a", "b"), (10, 10), 2, {}, 0, {}, {}, "", (1, 1), {}, {})
    found = importance.by_field(lambda rows: rows["x"][:, :1].astype(float), rows, schema)
    auc = metrics.roc_auc_score(rows["y"], x[:, 0])
    (a, drop, deviation), (b, none, never) = found.iter_rows()
    assert (a, b) == ("a", "b") and drop == pytest.approx(auc - 0.5, abs=4 * deviation)
    assert none == never == 0 and 0 < deviation < 0.05
    with pytest.raises(UserError, match="AUC is undefined"):
        importance.by_field(lambda rows: rows["x"][:, :1], rows | {"y": 0 * rows["y"]}, schema)


@pytest.mark.slow
def test_the_columns_that_matter_are_found(explained):
    drops = dict(explained.importance.select("field", "drop").iter_rows())
    assert drops["taste"] > 0.2 > 0.05 > abs(drops["noise"])


def test_the_error_of_an_auc_is_its_spread_over_samples():
    random = np.random.default_rng(0)
    y = np.arange(300) < 60
    aucs = [metrics.roc_auc_score(y, random.normal(y, 1)) for _ in range(300)]
    assert significance.auc_error(np.mean(aucs), 60, 240) == pytest.approx(np.std(aucs), rel=0.2)


def means(*of_draws):
    lines = [
        (f"seed {k}", 1, loss, weight)
        for k, weights in enumerate(of_draws)
        for loss, weight in zip(("ce", "hinge"), weights, strict=True)
    ]
    return pl.DataFrame(lines, schema=["draw", "label", "loss", "weight"], orient="row")


@pytest.mark.parametrize(
    ("weights", "start", "said"),
    [
        ([(0.9, 0.1)], 0.0, "One run cannot tell"),
        ([(0.9, 0.1), (0.2, 0.8), (0.6, 0.4)], 0.0, "cannot be told from the even mixture"),
        ([(0.9, 0.1), (0.89, 0.11), (0.91, 0.09)], 0.0, "differs from the even mixture"),
        ([(0.9, 0.1), (0.89, 0.11), (0.91, 0.09)], 0.9, "cannot be told from the mixture that its"),
        ([(0.5, 0.5), (0.5 + 1e-7, 0.5 - 1e-7)], 0.0, "cannot be told"),
    ],
)
def test_a_learned_loss_is_told_from_its_beginning_by_the_spread_over_seeds(weights, start, said):
    found = controllers.spread(means(*weights), start)
    assert said in controllers.verdict(found, len(weights), even=not start)
    if len(weights) > 2:
        first = [of_ce for of_ce, _ in weights]
        p = scipy.stats.ttest_1samp(first, start or 0.5).pvalue
        assert found["p"][0] == pytest.approx(min(1, 2 * p), rel=1e-3)  # of two, by Holm


def test_controllers_of_one_run_are_taken_apart(finished):
    """The mean of their weights is the weights of all together."""
    loaded = checkpoint.load(checkpoint.newest(finished[1] / "best"))
    snapshots = list(controller_checkpoints.read(finished[1]).values())[:2]
    V, stats = (ensemble(trees) for trees in zip(*snapshots, strict=True))
    module = Ensemble(loaded.al.controller.module, 2)
    al = dataclasses.replace(loaded.al, controller=ControllerFn(module))
    state = loaded.state.replace(controller=loaded.state.controller.replace(params=V, stats=stats))
    drawn = controllers.draws(dataclasses.replace(loaded, al=al, state=state), "seed 0")
    given = loaded.pool, np.array([[-1.0], [0.0], [2.0]]), {"y": np.array([0, 1, 1])}
    apart = controllers.means(controllers.alone(al), drawn, *given)
    whole = controllers.means(al, [controllers.Draw("all", V, stats)], *given)
    mean = apart.group_by("label", "loss", maintain_order=True).agg(pl.col("weight").mean())
    np.testing.assert_allclose(mean["weight"], whole["weight"], rtol=1e-5)
    assert apart["draw"].unique().sort().to_list() == ["seed 0, search 1", "seed 0, search 2"]
    assert apart["weight"].n_unique() > len(whole)


@pytest.mark.slow
def test_a_runs_mean_weights_are_those_of_its_rows(finished, compared):
    """Each label's are a mean over what evaluation says of it, and sum to 1."""
    for _, part in compared.weights.group_by("draw", "label", "prediction"):
        assert part["weight"].sum() == pytest.approx(1, abs=1e-5)
    sums = compared.spread.group_by("label").agg(pl.col("mean").sum())["mean"]
    np.testing.assert_allclose(sums, 1, rtol=1e-5)
    assert (compared.spread["least"] <= compared.spread["mean"]).all()
    assert compared.spread["deviation"].null_count() == 0
    assert compared.weights["draw"].unique(maintain_order=True).to_list() == ["seed 0", "seed 1"]


@pytest.mark.slow
def test_other_configs_are_not_taken_together(seeds, corrected):
    with pytest.raises(UserError, match=r"where .* name runs of one config"):
        seeds[0].explain(autoloss_jax.load(corrected))
    with pytest.raises(UserError, match=r"another of these runs has run\.seed=0"):
        seeds[0].explain(seeds[0])


TITLES = {
    "corrected": ["Outcome", f"Labels by {FIELD}", "Learning", *2 * [""], "Loss", "Config"],
    "compared": ["Outcome", "Learning", *2 * [""], "Learned loss", "Config"],
}


@pytest.mark.slow
def test_the_page_has_its_parts_in_order_and_no_code_of_the_datas(pages, compared):
    for name, text in zip(TITLES, pages, strict=True):
        titles = re.findall(r'<h2 id="part-\d+">(.*?)</h2>', text)
        wanted = [html.escape(title) for title in TITLES[name]]
        wanted[-4:-2] = ["Do the probabilities mean what they say?", "Which columns matter"]
        assert titles == wanted
        assert "<script" not in text and "<img" not in text and "<i>" not in text
        assert "://" not in text and "nan" not in re.findall(r"<t[dh].*?>(.*?)<", text)
        assert len(set(re.findall(r' id="([^"]+)"', text))) == text.count(' id="')
    assert "&lt;script&gt;alert(1)" in pages[0]
    told = f"By {FIELD}: train has label 1 less often than the trusted rows at {EVIL[0][:23]}….<"
    assert told in html.unescape(pages[0])
    assert compared.verdict in html.unescape(pages[1])


def ask(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["report", *map(str, words)])
    report.main()


@pytest.mark.slow
def test_the_program_writes_where_it_says(corrected, pages, tmp_path, monkeypatch, capfd):
    ask(monkeypatch, corrected, f"--output={tmp_path / 'page.html'}")
    assert capfd.readouterr().err.endswith(f"{tmp_path / 'page.html'}\n")
    text = (tmp_path / "page.html").read_text()
    assert text.replace(f"report {corrected}", "report RUN") == pages[0]
    for words, message in (
        ([], "name the folder of a finished run"),
        ([tmp_path], "no finished run here"),
        ([corrected, "--outptu=x"], "--outptu=x"),
        ([corrected, f"--output={tmp_path}/no/page.html"], "no folder"),
    ):
        with pytest.raises(UserError, match=message):
            ask(monkeypatch, *words)


@pytest.mark.slow
def test_its_command_is_that_of_the_run(explained, pages):
    """A folder that holds another run would be refused."""
    command = explained.about["command"]
    assert command in html.unescape(pages[0])
    done = call("autoloss_jax.main", *shlex.split(command)[2:])
    assert done.returncode == 0 and "this run is complete" in done.stdout + done.stderr, done


@pytest.mark.slow
def test_the_documentations_lines_of_python_run(seeds, compared, tmp_path, monkeypatch):
    (tmp_path / "runs").mkdir()
    for name, run in zip(("clicks", "seed-0", "seed-1"), (seeds[0], *seeds), strict=True):
        (tmp_path / "runs" / name).symlink_to(run.workdir)
    monkeypatch.chdir(tmp_path)
    (lines,) = blocks("docs/report.md", "python")
    found = {"autoloss_jax": autoloss_jax}
    exec(lines, found)
    assert found["found"].importance.height and found["verdict"] == compared.verdict


@pytest.mark.slow
def test_what_is_gone_is_said_in_the_page(corrected, log, tmp_path):
    folder, _ = log
    run = tmp_path / "run"
    shutil.copytree(corrected, run)
    (folder / "trusted.csv").rename(folder / "away.csv")
    try:
        found = autoloss_jax.load(run).explain()
    finally:
        (folder / "away.csv").rename(folder / "trusted.csv")
    assert not found.rates and "trusted.csv: no such file" in found.missing["trusted rows"]
    assert found.importance.height == 3 and found.beliefs
    result = json.loads((run / "result.json").read_text())
    result["config"]["data"]["path"] = str(tmp_path / "nothing")
    result["config"]["data"]["cache"] = str(tmp_path / "empty")
    documents.write(run / "result.json", result)
    documents.write(run / "config.json", result["config"])
    shutil.rmtree(run / "best")
    found = autoloss_jax.load(run).explain()
    assert "no checkpoint here" in found.missing["model"] and found.outcome.height == 1
    text = written(found)
    assert text.count("Left out: ") == 5 and "no checkpoint here" in text


@pytest.mark.slow
def test_without_its_dataset_the_rest_is_reported(log, corrected, explained):
    folder, tables = log
    moved = [(folder / name, folder / f"{name}-away") for name in ("cache", "log")]
    for place, away in moved:
        place.rename(away)
    try:
        gone = autoloss_jax.load(corrected).explain()
        (folder / "log").mkdir()
        for name in ("train", "valid", "test"):
            tables["test"].write_csv(folder / "log" / f"{name}.csv")
        changed = autoloss_jax.load(corrected).explain()
        shutil.rmtree(folder / "log")
        moved[1][1].rename(folder / "log")
        again = autoloss_jax.load(corrected).explain()
    finally:
        for place, away in moved:
            if away.exists():
                shutil.rmtree(place, ignore_errors=True)
                away.rename(place)
    assert "and so are its raw data" in gone.missing["data"] and not gone.reliability
    assert "has changed since" in changed.missing["data"] and changed.outcome.height == 1
    assert gone.learning.equals(explained.learning) and "and so are its raw data" in written(gone)
    assert not again.missing and again.outcome.equals(explained.outcome)  # it is prepared again


def test_a_method_is_told_in_words():
    names = {name for name in methods.METHODS if name != "static"}
    for name in names:
        said = methods.description(Config().replace({"method.name": name}))
        assert "=" not in said and said == said.strip() and len(said) > 20
    signal = {"method.name": "retrain", "method.min_agreement": 0.5, "data.context": ("place",)}
    said = methods.description(Config().replace(signal))
    assert "by place" in said and "stops by its signal (an agreement below 0.5)" in said


LOOK = """(page, view, texts = svg => [...svg.querySelectorAll("text")]) => ({
  wide: page.documentElement.scrollWidth,
  width: view.innerWidth,
  charts: [...page.querySelectorAll("figure svg")].map(svg => ({
    title: svg.querySelector("title").textContent,
    marks: [...svg.querySelectorAll('[style*="--series-"]')]
      .filter(mark => { const box = mark.getBoundingClientRect(); return box.width + box.height; })
      .length,
    colours: texts(svg).map(text => view.getComputedStyle(text).fill),
    heights: texts(svg).map(text => text.getBoundingClientRect().height),
  })),
  ink: view.getComputedStyle(page.body).color,
  paper: view.getComputedStyle(page.body).backgroundColor,
})"""


@pytest.mark.slow
@pytest.mark.parametrize(("width", "dark"), [(390, True), (1440, False)])
def test_a_browser_shows_it(pages, width, dark):
    if not browser.find():
        pytest.skip(f"no browser here: install one of {', '.join(browser.NAMES)}")
    found, console = browser.look(pages, width, LOOK, dark=dark)
    assert not console
    for shown, count in zip(found, (8, 12), strict=True):
        assert shown["width"] == shown["wide"] == width  # nothing is wider than the page
        assert len(shown["charts"]) == count
        for chart in shown["charts"]:
            assert chart["marks"] and chart["title"], chart
            assert set(chart["colours"]) == {shown["ink"]} and min(chart["heights"]) > 8, chart
        light = sum(map(int, re.findall(r"\d+", shown["paper"]))) > 3 * 128
        assert light != dark
