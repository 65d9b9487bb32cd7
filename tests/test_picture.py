"""Pictures of a searched loss: the arrays are the controller's and the losses', the figures hold
them.
"""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from autoloss_jax.algorithm import autoloss, losses, mixture, networks
from autoloss_jax.algorithm.networks import CandidateLosses
from autoloss_jax.analysis import curves, pictures
from autoloss_jax.config import settings
from autoloss_jax.config.errors import UserError
from autoloss_jax.training import checkpoint, controller_checkpoints, evaluation
from autoloss_jax.training.run import Run


@pytest.fixture(scope="module")
def loaded(finished):
    return checkpoint.load(checkpoint.newest(finished[1] / "best"))


def test_a_mixture_is_the_sum_of_its_losses_and_of_their_gradients():
    with jax.enable_x64(True):
        z, alpha = np.linspace(-3, 3, 8), np.linspace(0.1, 0.9, 8)
        for y in (0, 1):
            got = mixture.of(
                [losses.ce, losses.hinge],
                np.stack([alpha, 1 - alpha], 1),
                z[:, None],
                np.full(8, y),
            )
            sign, p = 2 * y - 1, 1 / (1 + np.exp(-z))
            value = alpha * np.log1p(np.exp(-sign * z)) + (1 - alpha) * np.maximum(0, 1 - sign * z)
            gradient = alpha * (p - y) - (1 - alpha) * sign * (sign * z < 1)
            np.testing.assert_allclose(got.value, value, rtol=1e-12)
            np.testing.assert_allclose(got.gradient[:, 0], gradient, rtol=1e-12)


def test_the_curves_go_through_what_evaluation_finds(loaded):
    x = np.stack([np.cumsum([0, *loaded.schema.vocab_sizes[:-1]])] * 6) + np.arange(6)[:, None] % 2
    batch = {"x": x.astype(np.int32), "y": np.arange(6, dtype=np.int32) // 3}
    logits, mixed = jax.jit(functools.partial(evaluation.step, loaded.al))(loaded.state, batch)
    V, stats = loaded.state.controller.params, loaded.state.controller.stats
    alpha = jax.jit(functools.partial(networks.mean_policy, loaded.al))(V, stats, logits, batch)
    np.testing.assert_allclose(np.sum(alpha, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(
        mixture.of(loaded.al.candidates.losses, alpha, logits, batch["y"]).value,
        mixed,
        rtol=1e-5,
    )


@pytest.mark.parametrize("num_classes", [2, 5])
def test_a_path_takes_the_label_from_one_end_to_the_other(num_classes):
    for path in curves.paths(num_classes):
        y_hat = np.asarray(autoloss.probabilities(path.logits.astype(np.float32)))
        column = y_hat[:, 0] if num_classes == 2 else y_hat[:, path.label]
        np.testing.assert_allclose(column, path.probability, rtol=1e-4)
        assert column[0] < 0.003 and column[-1] > 0.997
        if num_classes > 2:
            others = np.delete(y_hat, path.label, axis=1)
            np.testing.assert_allclose(others, others[:, :1].repeat(num_classes - 1, axis=1))


def test_a_run_is_pictured_early_midway_and_last(finished, tmp_path):
    figures = pictures.of(finished[1])
    assert set(figures) == {"weights", "loss", "movement"}
    steps, drawn = list(controller_checkpoints.read(finished[1])), figures["weights"].axes
    titles = [ax.get_title() for ax in drawn]
    assert titles == [
        f"y = {y}, step {step}" for y in (0, 1) for step in (steps[0], steps[1], steps[-1])
    ]
    total = sum(np.asarray(line.get_ydata()) for line in drawn[-1].get_lines())
    np.testing.assert_allclose(total, 1, rtol=1e-5)
    figures["loss"].savefig(tmp_path / "loss.png")
    assert (tmp_path / "loss.png").read_bytes()[:4] == b"\x89PNG"


def test_a_method_without_a_controller_is_one_line(finished, loaded, monkeypatch):
    ce = Run.of(settings.with_keys(loaded.cfg, {"method.name": "ce"}))
    monkeypatch.setattr(checkpoint, "load", lambda step: dataclasses.replace(loaded, run=ce))
    with pytest.raises(UserError, match="ce, has no controller"):
        pictures.of(finished[1])


def test_no_loss_is_drawn_of_a_pool_that_looks_at_a_whole_batch(finished, loaded, monkeypatch):
    ranks = dataclasses.replace(
        loaded.al, candidates=CandidateLosses((losses.pairwise, *loaded.al.candidates.losses[1:]))
    )
    monkeypatch.setattr(checkpoint, "load", lambda step: dataclasses.replace(loaded, al=ranks))
    assert set(pictures.of(finished[1])) == {"weights", "movement"}
