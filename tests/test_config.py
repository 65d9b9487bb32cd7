"""A config is typed, and a mistake in it is one line that names the key."""

import importlib.util
import json
from pathlib import Path

import pytest

from autoloss_jax import config
from autoloss_jax.config import renamed, settings
from autoloss_jax.config.errors import UserError
from autoloss_jax.studies import record

ROOT = Path(__file__).parent.parent
CONFIGS = sorted((ROOT / "configs").glob("*.py"))


def module(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_every_config_file_and_variant_is_valid_and_a_contract(path):
    loaded = module(path)
    for variant in ("", *loaded.VARIANTS):
        cfg = config.check(loaded.get_config(variant))
        assert config.from_dict(json.loads(settings.to_json(cfg))) == cfg
    assert "quick" in loaded.VARIANTS
    assert all(word in loaded.__doc__ for word in ("Data:", "Result:", "    "))
    with pytest.raises(UserError, match=r"no variant 'quik' here.*did you mean 'quick'"):
        loaded.get_config("quik")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("train.batch_size", 2.5, "wants int"),
        ("train.batch_size", True, "wants int"),
        ("train.batch_size", 1, "at least 2"),
        ("train.monitor", "acu", "did you mean 'auc'"),
        ("model.hidden", ("a",), "wants tuple"),
        ("model.hidden", (), "positive widths"),
        ("model.hidden", (8, 0), "positive widths"),
        ("model.dropout", float("nan"), "finite"),
        ("model.dropout", 1.0, "at most"),
        ("optimizer.l2", -0.5, "at least 0"),
        ("data.split", (0.8, 0.2), "three positive shares"),
        ("data.on_bad_row", "ignore", "not one of"),
        ("data.bag_size", 0, "at least 1"),
        ("data.bag_separator", "", "what parts the values"),
        ("data.scale", "logarithm", "did you mean 'log'"),
    ],
)
def test_a_bad_value_is_one_line_naming_the_key(key, value, message):
    with pytest.raises(UserError, match=message) as error:
        config.check(settings.with_keys(config.Config(), {key: value}))
    assert f"--config.{key}=" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("key", ["bags", "values"])
def test_bags_and_values_are_of_tables_alone(key):
    keys = {"data.format": "criteo", f"data.{key}": ("C1",)}
    with pytest.raises(UserError, match=rf"--config\.data\.{key}=.*tabular, not criteo"):
        config.check(settings.with_keys(config.Config(), keys))


def test_json_with_an_unknown_key_is_refused():
    with pytest.raises(UserError, match=r"'model.embed_dmi'; did you mean 'embed_dim'"):
        config.from_dict({"model": {"embed_dmi": 3}})


def test_with_keys_leaves_the_original_alone():
    original = config.Config()
    assert settings.with_keys(original, {"model.name": "ipnn"}).model.name == "ipnn"
    assert original.model.name == "deepfm"


def test_an_old_name_is_answered_by_the_new_one():
    known = {name for name, _, _ in settings.keys(config.Config())}
    assert set(renamed.RENAMED.values()) <= known and not set(renamed.RENAMED) & known
    for old, new in renamed.RENAMED.items():
        with pytest.raises(UserError, match=f"^{old}=1: now called {new}=1$"):
            settings.parsed(config.Config(), {old: "1"})


def test_what_earlier_versions_wrote_is_read_by_the_new_names():
    saved = json.loads((ROOT / "tests/fixtures/first_format/finished/config.json").read_text())
    assert {"signal"} <= saved["method"].keys() & saved["run"].keys()
    saved["method"]["signal"], saved["run"]["signal"], saved["data"]["engine"] = 0.5, True, "spark"
    cfg = config.from_dict(saved)
    assert (cfg.method.min_agreement, cfg.run.gradient_agreement) == (0.5, True)
    assert cfg.data.executor == "spark" and saved["method"]["signal"] == 0.5
    assert config.from_dict(json.loads(settings.to_json(cfg))) == cfg


def test_known_trainings_of_earlier_versions_are_found_by_the_new_names(tmp_path):
    (tmp_path / "runs.csv").write_text(
        "dataset,model,method,seed,auc,logloss,logloss_calibrated,seconds\n"
        '"frappe:missing data.missing=0.2 method.sees=[""field_2""]",deepfm,'
        "retrain method.epochs=0 method.signal=0.5,0,0.98,0.17,0.14,60\n"
    )
    assert set(record.read(tmp_path / "runs.csv")) == {
        (
            'frappe:missing data.missing=0.2 data.context=["field_2"]',
            "deepfm",
            "retrain method.epochs=0 method.min_agreement=0.5",
            0,
        )
    }


@pytest.mark.parametrize(
    "name", [n for n, _, f in settings.keys(config.Config()) if f.type in (int, float)]
)
def test_every_number_has_a_range(name):
    """What no array holds is said before anything begins."""
    kind = next(f.type for n, _, f in settings.keys(config.Config()) if n == name)
    for value in (kind(10**20), kind(-(10**20))) if kind is int else (1e39, -1e39):
        with pytest.raises(UserError, match=rf"--config\.{name}=.*must be at"):
            settings.check(settings.with_keys(config.Config(), {name: value}))
