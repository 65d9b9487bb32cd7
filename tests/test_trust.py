"""Opening somebody's run runs nothing of theirs."""

import sys

import pytest

import autoloss_jax
from autoloss_jax.config import import_string
from autoloss_jax.config.errors import UserError
from autoloss_jax.training import loop, prediction
from tests.support.commands import call
from tests.support.nightly import further
from tests.support.runs import quiet

CODE = """
from pathlib import Path

import flax.linen as nn

from autoloss_jax.algorithm.losses import ce

Path({mark!r}).touch()  # what a module does when it is imported


def loss(logits, labels):
    return ce(logits, labels)


class Tower(nn.Module):
    num_outputs: int

    @nn.compact
    def __call__(self, rows, train):
        return nn.Dense(self.num_outputs)(rows.reshape(len(rows), -1))
"""
KEYS = {
    "loss": {"method__pool": ("ce", "theirs_loss:loss"), "model__name": "lr"},
    "model": {"method__name": "ce", "model__name": "theirs_model:Tower"},
}


@pytest.fixture(scope="module", params=further(KEYS, daily=["loss"]))
def theirs(request, small, tmp_path_factory):
    """(The folder of their code, its module, their run, the mark that the code leaves)."""
    folder, module = tmp_path_factory.mktemp(request.param), f"theirs_{request.param}"
    mark = folder / "mark"
    (folder / f"{module}.py").write_text(CODE.format(mark=str(mark)))
    sys.path.insert(0, str(folder))
    loop.train(small(train__epochs=1, **KEYS[request.param]), folder / "run", quiet)
    sys.path.remove(str(folder))
    forget(module)
    mark.unlink()
    return folder, module, folder / "run", mark


def forget(module):
    """As if nobody had named it in this process."""
    import_string._named.discard(module)
    sys.modules.pop(module, None)


@pytest.mark.slow
def test_a_run_with_code_of_others_is_opened_where_its_module_is_named(theirs, monkeypatch):
    folder, module, run, mark = theirs
    monkeypatch.chdir(folder)  # where the module lies
    monkeypatch.syspath_prepend(folder)
    forget(module)
    with pytest.raises(UserError, match=rf"{run}.*--allow-imports={module}") as error:
        prediction.load(run, None, {})
    assert "\n" not in str(error.value) and not mark.exists()
    with pytest.raises(UserError, match=r"allow_imports=\['"):
        autoloss_jax.load(run, allow_imports=["another"]).evaluate()
    assert not mark.exists()
    assert autoloss_jax.load(run, allow_imports=[module]).evaluate()["num_examples"]
    assert mark.exists()
    mark.unlink()
    forget(module)


@pytest.mark.slow
def test_no_program_runs_the_code_of_a_run_unasked(theirs, tmp_path):
    folder, module, run, mark = theirs
    new = tmp_path / "new.txt"
    new.write_text("\t".join(["1"] * 13 + ["a"] * 26) + "\n")
    scores = ("--mode=predict", f"--config.data.path={new}", f"--output={tmp_path / 's.csv'}")
    programs = {
        "evaluate": ("autoloss_jax.main", "--mode=evaluate", f"--workdir={run}"),
        "predict": ("autoloss_jax.main", *scores, f"--workdir={run}"),
        "plot": ("autoloss_jax.cli.plot", f"--workdir={run}"),
        "export": ("autoloss_jax.cli.export_loss", f"--workdir={run}", f"--output={tmp_path}"),
        "report": ("autoloss_jax.report", str(run), f"--output={tmp_path / 'r.html'}"),
    }
    for name, words in programs.items():
        done = call(*words, cwd=folder)
        assert done.returncode == (0 if name == "report" else 2), done.stderr  # a page has less
        assert f"--allow-imports={module}" in done.stderr
        assert not mark.exists()
    done = call(*programs["predict"], f"--allow-imports={module}", cwd=folder)
    assert done.returncode == 0 and mark.exists(), done.stderr
    mark.unlink()


@pytest.mark.slow
def test_a_run_does_not_say_where_others_write(finished, small, tmp_path, monkeypatch):
    """A dataset that is gone is prepared where this user keeps such, not where the run says."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "mine"))
    elsewhere = tmp_path / "elsewhere"
    cfg = small(data__cache=str(elsewhere), train__epochs=1, method__name="ce", model__name="lr")
    loop.train(cfg, tmp_path / "run", quiet)
    for path in sorted(elsewhere.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    run = autoloss_jax.load(tmp_path / "run")
    assert run.evaluate()["auc"] == pytest.approx(run.result["test"]["auc"], abs=1e-9)
    assert not [*elsewhere.iterdir()] and (tmp_path / "mine" / "autoloss_jax").is_dir()
