"""A controller along its training: a run leaves it at each evaluation, and another run may
follow it.
"""

import shutil

import jax
import numpy as np
import pytest

from autoloss_jax.config import settings
from autoloss_jax.config.errors import UserError
from autoloss_jax.training import checkpoint, controller_checkpoints, loop, report
from tests.support.runs import digest, log

pytestmark = pytest.mark.slow


def quiet(_):
    pass


def evaluations(workdir):
    return [r["step"] for r in report.read_log(workdir / "metrics.jsonl") if "val" in r]


def files(workdir):
    return {p.name: p.read_bytes() for p in (workdir / "controllers").iterdir()}


def equal(ours, theirs):
    return jax.tree.all(jax.tree.map(np.array_equal, ours, theirs))


class Killed(Exception):
    """What ends a run between an evaluation and its checkpoint."""


def killed(cfg, workdir, evaluation):
    def watch(number, val):
        if number == evaluation:
            raise Killed

    with pytest.raises(Killed):
        loop.train(cfg, workdir, quiet, watch)


def test_a_run_leaves_its_controller_at_each_evaluation(finished):
    _, workdir, _result = finished
    left = controller_checkpoints.read(workdir)
    assert list(left) == evaluations(workdir) and len(left) > 1
    for folder in ("best", "checkpoints"):
        state = checkpoint.load(checkpoint.newest(workdir / folder)).state
        assert equal(left[int(state.step)], (state.controller.params, state.controller.stats))
    assert not equal(*(left[step] for step in list(left)[:2]))
    assert max(len(content) for content in files(workdir).values()) < 20_000


def test_a_resumed_run_ends_with_the_same_snapshots(finished, tmp_path):
    cfg, workdir, _ = finished
    killed(cfg, tmp_path, 2)
    loop.train(cfg, tmp_path, quiet)
    assert files(tmp_path) == files(workdir)


def test_one_flipped_bit_of_a_snapshot_is_found(finished, tmp_path):
    shutil.copytree(finished[1] / "controllers", tmp_path / "controllers")
    path = min((tmp_path / "controllers").iterdir())
    whole = path.read_bytes()
    path.write_bytes(
        whole[: len(whole) // 3]
        + bytes([whole[len(whole) // 3] ^ 4])
        + whole[len(whole) // 3 + 1 :]
    )
    with pytest.raises(UserError, match="a damaged snapshot"):
        controller_checkpoints.read(tmp_path)


@pytest.fixture(scope="module")
def replayed(finished, small, tmp_path_factory):
    """A run of two evaluations more than its source: (config, workdir, {step: the controller of
    its checkpoint}).
    """
    workdir, seen = tmp_path_factory.mktemp("replayed") / "run", {}
    cfg = small(
        method__name="transfer",
        method__policy="replay",
        method__transfer_from=str(finished[1]),
        train__epochs=5,
        train__patience=9,
    )
    save = checkpoint.Folder.save

    def saved(self, step, state, meta):
        seen[step] = jax.tree.map(np.array, (state.controller.params, state.controller.stats))
        save(self, step, state, meta)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint.Folder, "save", saved)
        loop.train(cfg, workdir, quiet)
    return cfg, workdir, seen


def test_the_controller_in_force_is_the_sources_snapshot_of_the_same_evaluation(finished, replayed):
    source, (_, workdir, seen) = list(controller_checkpoints.read(finished[1]).values()), replayed
    assert sorted(seen) == evaluations(workdir) and len(seen) == len(source) + 2
    for number, step in enumerate(sorted(seen)):
        assert equal(seen[step], source[min(number, len(source) - 1)])


def test_a_killed_replay_ends_in_the_same_bits(replayed, tmp_path):
    cfg, workdir, _ = replayed
    killed(cfg, tmp_path, 3)
    loop.train(cfg, tmp_path, quiet)
    assert digest(tmp_path) == digest(workdir)
    assert log(tmp_path) == log(workdir)


def test_replaying_the_best_controller_alone_is_the_mean_policy(finished, replayed, tmp_path):
    cfg, source = replayed[0], tmp_path / "source"
    best = checkpoint.newest(finished[1] / "best")
    shutil.copytree(finished[1] / "best", source / "best")
    (source / "controllers").mkdir()
    shutil.copy(finished[1] / "controllers" / f"{int(best.name):09d}.npz", source / "controllers")
    shutil.copy(finished[1] / "result.json", source)
    bits = set()
    for policy in ("replay", "mean"):
        keys = {"method.policy": policy, "method.transfer_from": str(source), "train.epochs": 1}
        loop.train(settings.with_keys(cfg, keys), tmp_path / policy, quiet)
        state = checkpoint.load(checkpoint.newest(tmp_path / policy / "checkpoints")).state
        bits.add(b"".join(np.asarray(x).tobytes() for x in jax.tree.leaves(state.drs.params)))
    assert len(bits) == 1


@pytest.mark.parametrize("lacking", ["controllers", "result.json"])
def test_a_source_without_snapshots_or_unfinished_cannot_be_replayed(replayed, tmp_path, lacking):
    cfg, _, _ = replayed
    source = tmp_path / "source"
    shutil.copytree(cfg.method.transfer_from, source, ignore=shutil.ignore_patterns(lacking))
    with pytest.raises(UserError, match=r"wants a finished run with snapshots .*policy=mean"):
        loop.train(
            settings.with_keys(cfg, {"method.transfer_from": str(source)}), tmp_path / "run", quiet
        )
