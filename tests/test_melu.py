"""MeLU-style weights: both outer gradients are those of the definition, and validation's own
rows teach nothing.
"""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from autoloss_jax.algorithm import autoloss, losses, melu, methods
from autoloss_jax.data import store
from autoloss_jax.data.load import host
from autoloss_jax.search import train as searching
from autoloss_jax.training import checkpoint, evaluator, loop
from tests.support import proof
from tests.support.runs import digest

pytestmark = pytest.mark.slow


def quiet(_):
    pass


def definition(al, state, support, query):
    """(theta, W) -> CE of the query after one SGD step of the dense layers on the theta-weighted
    support, written out.
    """
    inner, outer = (
        jax.random.split(autoloss.stream(state.key, state.step, name))[0]
        for name in ("train", "outer")
    )

    def logits(W, batch, key):
        return proof.forward(al, W, state.drs.stats, batch, key)[0]

    def of(theta, W):
        def mixture(dense):
            z = logits({"rows": W["rows"], "dense": dense}, support, inner)
            shares = jnp.exp(theta) / jnp.exp(theta).sum()
            return sum(
                s * loss(z, support["y"]).mean()
                for s, loss in zip(shares, al.candidates.losses, strict=True)
            )

        dense = jax.tree.map(lambda w, g: w - al.xi * g, W["dense"], jax.grad(mixture)(W["dense"]))
        return losses.ce(
            logits({"rows": W["rows"], "dense": dense}, query, outer), query["y"]
        ).mean()

    return of


class Whole:
    """In an optimiser's place: W's gradient, over the whole table, where its new value would be."""

    def step(self, W, opt_state, lr_scale, gradient, x, *looked_at):
        g, aux = gradient(W, opt_state, x, *looked_at)
        return g, opt_state, aux


class Plain:
    """In the controller's optimiser's place: its gradient as the update."""

    def update(self, gradient, opt_state, params):
        return gradient, opt_state


@pytest.mark.parametrize("num_classes", [2, 5])
def test_both_gradients_of_a_step_match_central_differences_of_the_definition(num_classes):
    with jax.enable_x64(True):
        al, state, batch, val = proof.problem(num_classes=num_classes, name="melu")
        al = dataclasses.replace(al, optimizer=Whole(), controller_optimizer=Plain())
        after = jax.jit(lambda s: melu.train_step(al, s, batch, val))(state)
        support, query = ({k: v[i::2] for k, v in batch.items()} for i in (0, 1))
        theta, moved = (s.controller.params["theta"] for s in (state, after))
        W = state.drs.params

        taught = definition(al, state, support, val)
        exact = proof.flatten(moved - theta)
        assert np.linalg.norm(exact) > 1e-6
        for d, difference in proof.central_differences(lambda t: taught(t, W), theta, h=1e-5):
            assert abs(exact @ proof.flatten(d) - difference) < 1e-6 * np.linalg.norm(exact) + 1e-10

        trained = definition(al, state, support, query)  # W moves under the new theta
        exact = proof.flatten(after.drs.params)
        for d, difference in proof.central_differences(lambda w: trained(moved, w), W, h=1e-5):
            assert abs(exact @ proof.flatten(d) - difference) < 1e-6 * np.linalg.norm(exact)


def test_weights_that_are_given_are_static_and_weights_to_be_found_are_taught_by_val(small):
    search, _ = methods.resolve(small(method__name="melu").method)
    found, _ = methods.resolve(
        small(method__name="melu", method__static=(0.4, 0.3, 0.2, 0.1)).method
    )
    assert search.searches and search.step is melu.train_step
    assert found == methods.METHODS["static"]


@pytest.fixture(scope="module")
def searched(small, tmp_path_factory):
    """A finished run: (config, workdir, result)."""
    workdir = tmp_path_factory.mktemp("melu") / "run"
    cfg = small(
        method__name="melu",
        train__epochs=2,
        method__xi=0.1,
        optimizer__controller_learning_rate=0.1,
    )
    return cfg, workdir, searching.train(cfg, workdir, quiet)


def test_the_weights_found_are_on_the_simplex_and_trained_under(searched):
    _, workdir, result = searched
    theta = checkpoint.load(checkpoint.newest(workdir / "search" / "best")).state.controller.params[
        "theta"
    ]
    weights = np.array(result["config"]["method"]["static"])
    assert result["method"] == "melu" and result["num_params"]["controller"] == len(weights)
    assert np.all(weights > 0) and weights.sum() == pytest.approx(1, abs=1e-6)
    assert np.abs(weights - 0.25).max() > 1e-3  # it learnt
    assert np.allclose(weights, np.exp(theta) / np.exp(theta).sum(), atol=1e-6)
    last = json.loads((workdir / "metrics.jsonl").read_text().splitlines()[-1])
    assert list(last["alpha"].values()) == pytest.approx(weights.tolist(), abs=1e-5)


@pytest.mark.nightly
def test_killed_in_the_search_and_after_it_a_run_ends_in_the_same_bits(
    searched, tmp_path, monkeypatch
):
    cfg, workdir, result = searched
    plain, calls = evaluator.Evaluator._validate, []

    def killed(*args):
        calls.append(None)
        if len(calls) in (2, 4):  # the second evaluation of the search, then of the training
            raise KeyboardInterrupt
        return plain(*args)

    monkeypatch.setattr(evaluator.Evaluator, "_validate", killed)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            searching.train(cfg, tmp_path, quiet)
    assert searching.train(cfg, tmp_path, quiet)["test"] == result["test"]
    for folder in (".", "search"):
        assert digest(tmp_path / folder) == digest(workdir / folder)


def test_nothing_is_learnt_from_early_stopping_or_test_rows(searched, small, tmp_path, monkeypatch):
    cfg, workdir, _ = searched
    halve, split = host.halve, store.Store.split

    def scrambled(rows):
        return {**rows, "x": rows["x"][::-1], "y": 1 - rows["y"]}

    def halve_scrambled(*args):
        controller, val = halve(*args)
        return controller, scrambled(val)

    def split_scrambled(self, name):
        return scrambled(split(self, name)) if name == "test" else split(self, name)

    monkeypatch.setattr(host, "halve", halve_scrambled)
    monkeypatch.setattr(store.Store, "split", split_scrambled)
    loop.train(cfg, tmp_path, quiet)
    ends = [
        checkpoint.load(checkpoint.newest(w / "checkpoints")).state
        for w in (workdir / "search", tmp_path)
    ]
    assert int(ends[0].step) == int(ends[1].step)
    trained = [(s.drs.params, s.controller.params) for s in ends]
    assert jax.tree.all(jax.tree.map(np.array_equal, *trained))
