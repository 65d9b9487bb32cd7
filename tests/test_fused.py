"""Algorithm 1 as the paper writes it and as it trains: equal in float64 after 20 steps."""

import functools

import jax
import numpy as np
import pytest

from autoloss_jax.algorithm import autoloss, fused, networks
from tests.support import proof

AUTOLOSS, SGD = {"name": "autoloss"}, {"virtual_step": "sgd"}
CE, MIXTURE = {"val_objective": "ce"}, {"val_objective": "mixture"}
ADAM = {"virtual_step": "adam"}
# each method with each level of the others, and every pair of levels somewhere
CASES = {
    "al2, 1": (2, "adam", {"name": "al2"} | MIXTURE | SGD),
    "al2, 2": (5, "sparse_adam", {"name": "al2"} | CE | ADAM),
    "darts, 1": (2, "sparse_adam", {"name": "darts"} | MIXTURE | ADAM),
    "darts, 2": (5, "adam", {"name": "darts"} | CE | SGD),
    "slf, 1": (2, "sparse_adam", {"name": "slf"}),
    "slf, 2": (5, "adam", {"name": "slf"}),
    "autoloss, 1": (2, "sparse_adam", AUTOLOSS | CE | SGD),
    "autoloss, 2": (5, "adam", AUTOLOSS | MIXTURE | ADAM),
    "first order": (2, "sparse_adam", AUTOLOSS | MIXTURE | {"xi": 0.0}),
    "not detached": (2, "adam", AUTOLOSS | CE | SGD | {"detach": False}),
    "L2": (2, "sparse_adam", AUTOLOSS | CE | SGD | {"pool": ("ce", "focal(l2=0.5)")}),
    "members": (2, "sparse_adam", AUTOLOSS | CE | ADAM | {"members": 3}),
    "members that share": (2, "sparse_adam", AUTOLOSS | CE | SGD | {"members": 3, "shared": True}),
    "context": (2, "sparse_adam", AUTOLOSS | CE | ADAM | {"context": ("a", "b")}),
}

AT_NIGHT = ("al2, 2", "darts, 2", "slf, 2", "autoloss, 2", "not detached", "L2", "members")


def marks(case):
    if case == "slf, 1":
        return ()
    return pytest.mark.nightly if case in AT_NIGHT else pytest.mark.slow


def trained(step, al, state, batches, steps=20):
    """The state after so many steps, V's before every third one."""

    def one(state, due, batch, val):
        return step(al, state, batch, val) if due else step(al, state, batch)

    one = jax.jit(one, static_argnums=1)
    for t in range(steps):
        state = one(state, t % 3 == 0 and al.taught_by == "val", batches[t % 2], batches[2])
    return jax.jit(functools.partial(networks.settle, al))(state)


@pytest.mark.parametrize(
    "case",
    [pytest.param(c, marks=marks(c)) for c in CASES],
)
def test_both_give_the_same_networks(case):
    num_classes, embedding, keys = CASES[case]
    with jax.enable_x64(True):
        al, state, *batches = proof.problem(
            num_classes=num_classes, embedding=embedding, batches=3, **keys
        )
        ends = [trained(step, al, state, batches) for step in (autoloss.step, fused.train_step)]
        for what in ("drs", "controller"):
            before, paper, fast = (getattr(s, what) for s in (state, *ends))
            for part in ("params", "stats"):
                ours, theirs = getattr(fast, part), getattr(paper, part)
                gaps = jax.tree.map(lambda a, b: float(abs(a - b).max()), ours, theirs)
                assert max(jax.tree.leaves(gaps), default=0) < 1e-12, gaps
            learns = what == "drs" or al.taught_by != "never"
            moved = proof.flatten(fast.params) - proof.flatten(before.params)
            assert np.abs(moved).max() > 1e-4 or not learns


@pytest.mark.parametrize("words", [("bag", "l2", "seen", "context", "slots", "weight of")])
def test_the_paper_knows_nothing_of_what_is_closed_over(words):
    """Bags, values, L2 and context are the networks' business."""
    with open(autoloss.__file__) as file:
        lines = file.read().lower().splitlines()
    assert len(lines) < 190
    assert not [word for word in words if any(word in line for line in lines)]
