"""A controller along its training: a run leaves it at each evaluation, and another run may follow it."""

import shutil

import jax
import numpy as np
import pytest

from autoloss_jax import checkpoint, report, snapshots, train
from autoloss_jax.settings import UserError


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
        train.train(cfg, workdir, quiet, watch)


def test_a_run_leaves_its_controller_at_each_evaluation(finished):
    _, workdir, _result = finished
    left = snapshots.read(workdir)
    assert list(left) == evaluations(workdir) and len(left) > 1
    for folder in ("best", "checkpoints"):
        state = checkpoint.load(checkpoint.newest(workdir / folder)).state
        assert equal(left[int(state.step)], (state.controller.params, state.controller.stats))
    assert not equal(*(left[step] for step in list(left)[:2]))
    assert max(len(content) for content in files(workdir).values()) < 20_000


def test_a_resumed_run_ends_with_the_same_snapshots(finished, tmp_path):
    cfg, workdir, _ = finished
    killed(cfg, tmp_path, 2)
    train.train(cfg, tmp_path, quiet)
    assert files(tmp_path) == files(workdir)


def test_one_flipped_bit_of_a_snapshot_is_found(finished, tmp_path):
    shutil.copytree(finished[1] / "controllers", tmp_path / "controllers")
    path = min((tmp_path / "controllers").iterdir())
    whole = path.read_bytes()
    path.write_bytes(
        whole[: len(whole) // 3] + bytes([whole[len(whole) // 3] ^ 4]) + whole[len(whole) // 3 + 1 :]
    )
    with pytest.raises(UserError, match="a damaged snapshot"):
        snapshots.read(tmp_path)
