"""Callbacks hear what a training writes down, and MLflow and Weights & Biases are told the same."""

import json
import math
import sys
import types

import pytest

import autoloss_jax
from autoloss_jax.config import settings
from autoloss_jax.config.errors import UserError
from autoloss_jax.search import train as searching
from autoloss_jax.training import callbacks, loop, report
from tests.support.runs import quiet


class Heard(callbacks.Callback):
    """Keeps what it hears."""

    def __init__(self):
        self.began, self.logged, self.evaluated, self.ended = [], {}, {}, []

    def on_train_begin(self, config):
        self.began.append(config)

    def on_log(self, step, figures):
        self.logged[step] = figures

    def on_evaluate(self, step, figures):
        self.evaluated[step] = figures

    def on_train_end(self, result):
        self.ended.append(result)


@pytest.fixture
def quick(small):
    """A config of a few dozen steps."""
    return small(
        method__name="al1",
        method__pool=("ce", "focal(gamma=1.0)"),
        model__name="lr",
        train__epochs=2,
    )


@pytest.mark.slow
def test_a_callback_hears_what_is_in_the_log_and_the_result(quick, tmp_path):
    heard = Heard()
    run = autoloss_jax.train(quick, tmp_path, progress=False, callbacks=[heard])
    records = {r["step"]: r for r in report.read_log(tmp_path / "metrics.jsonl")}
    assert heard.began == [quick] and heard.ended == [run.result]
    assert heard.logged.keys() == records.keys()
    for step, figures in heard.logged.items():
        assert figures["loss"] == records[step]["loss"]
        assert figures["alpha/focal(gamma=1.0)"] == records[step]["alpha"]["focal(gamma=1.0)"]
        assert not any(name.startswith("val/") for name in figures)
    evaluated = {step: r["val"] for step, r in records.items() if "val" in r}
    assert {step: f["val/auc"] for step, f in heard.evaluated.items()} == {
        step: val["auc"] for step, val in evaluated.items()
    }
    autoloss_jax.train(quick, tmp_path, progress=False, callbacks=[heard])  # it was complete
    assert len(heard.began) == len(heard.ended) == 1


def test_callbacks_hear_of_the_training_and_not_of_the_search_before_it(
    small, tmp_path, monkeypatch
):
    heard, trained = Heard(), []

    def train(cfg, workdir, say, *, shown, callbacks=()):
        trained.append((cfg.method.name, workdir, callbacks))

    monkeypatch.setattr(loop, "train", train)
    searching.train(small(method__name="retrain"), tmp_path, quiet, callbacks=[heard])
    assert trained == [("autoloss", tmp_path / "search", ()), ("retrain", tmp_path, [heard])]


@pytest.mark.slow
def test_a_callback_that_fails_is_one_line_and_the_training_goes_on_when_begun_again(
    quick, tmp_path
):
    class Failing(callbacks.Callback):
        def on_evaluate(self, step, figures):
            raise ConnectionError("no route to host")

    with pytest.raises(
        UserError, match=r"^Failing\.on_evaluate: .*ConnectionError: no route to host$"
    ):
        loop.train(quick, tmp_path, quiet, shown=False, callbacks=[Failing()])
    heard = Heard()
    result = loop.train(quick, tmp_path, quiet, shown=False, callbacks=[heard])
    assert heard.ended == [result]


class Tracker(types.ModuleType):
    """In the place of mlflow and of wandb: keeps what is said."""

    def __init__(self, name):
        super().__init__(name)
        self.params, self.metrics, self.summary, self.said = {}, [], {}, []

    def active_run(self):
        return None

    def set_experiment(self, name):
        self.said.append(name)

    def start_run(self, run_name):
        self.said.append(run_name)

    def log_params(self, params):
        assert len(params) <= 100
        self.params |= params

    def log_metrics(self, metrics, step=None):
        self.metrics.append((step, metrics))

    def end_run(self):
        self.said.append("ended")

    def init(self, config, **options):
        self.params |= config
        self.said.append(options)
        return self

    def log(self, metrics, step):
        self.metrics.append((step, metrics))

    def finish(self):
        self.said.append("ended")


def told(callback):
    """A made-up training of one step."""
    config = autoloss_jax.Config()
    every = callbacks.Callbacks([callback])
    every.on_train_begin(config)
    every.on_log(5, {"loss": 0.5, "alpha/focal(gamma=1.0)": 0.25})
    every.on_evaluate(5, {"val/auc": 0.7})
    every.on_train_end({"test": {"auc": None, "logloss": 0.4, "auc_undefined": "one class"}})
    return settings.plain(config)


def test_mlflow_is_told_the_config_the_figures_and_the_end(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", mlflow := Tracker("mlflow"))
    params = told(callbacks.MLflow("ctr", "first"))
    assert mlflow.params == params and params["model.hidden"] == "128, 128"
    assert mlflow.metrics == [
        (5, {"loss": 0.5, "alpha/focal_gamma_1.0_": 0.25}),
        (5, {"val/auc": 0.7}),
        (None, {"test/logloss": 0.4}),
    ]
    assert mlflow.said == ["ctr", "first", "ended"]


def test_wandb_is_told_the_same(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", wandb := Tracker("wandb"))
    params = told(callbacks.WeightsAndBiases(project="ctr"))
    assert wandb.params == params
    assert [step for step, _ in wandb.metrics] == [5, 5]
    assert wandb.summary == {"test/logloss": 0.4}
    assert wandb.said == [{"project": "ctr"}, "ended"]


@pytest.mark.parametrize("make", [callbacks.MLflow, callbacks.WeightsAndBiases])
def test_what_is_not_installed_is_one_line(make, monkeypatch):
    for name in ("mlflow", "wandb"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match="is not installed: pip install"):
        make()


def test_tensorboard_shows_hyperparameters_config_command_and_versions(finished):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import metadata

    cfg, workdir, _ = finished
    events = EventAccumulator(str(workdir / "tensorboard"))
    events.Reload()
    tag = metadata.SESSION_START_INFO_TAG
    content = events.SummaryMetadata(tag).plugin_data.content
    shown = metadata.parse_session_start_info_plugin_data(content).hparams
    assert shown.keys() == settings.plain(cfg).keys()
    assert math.isclose(shown["optimizer.learning_rate"].number_value, 1e-3)
    assert shown["model.batch_norm"].bool_value and shown["model.hidden"].string_value == "8"
    pages = {}
    for name in ("config", "command", "versions"):
        (page,) = events.Tensors(name)
        assert events.SummaryMetadata(name).plugin_data.plugin_name == "text"
        lines = page.tensor_proto.string_val[0].decode().splitlines()
        pages[name] = "\n".join(line.removeprefix("    ") for line in lines)
    assert json.loads(pages["config"]) == json.loads(settings.to_json(cfg))
    assert "python" in pages["command"] and "jax " in pages["versions"]
