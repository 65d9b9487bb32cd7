"""The proof of the repository: Eq. (13) is differentiated exactly."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from autoloss_jax import config
from autoloss_jax.algorithm import autoloss, fused, gumbel, losses, networks
from autoloss_jax.config.errors import UserError
from autoloss_jax.models.embeddings.lookup import Table
from autoloss_jax.training import evaluation
from autoloss_jax.training.run import Run
from tests.support import proof
from tests.support.nightly import further
from tests.support.proof import (
    NUM_ROWS,
    VOCAB_SIZES,
    central_differences,
    flatten,
    full_table_outer_loss,
    hypergradient,
    problem,
    relative,
)

CASES = [
    pytest.param(*case, marks=pytest.mark.slow if case != ("deepfm", 2) else ())
    for case in itertools.product(("deepfm", "ipnn"), (2, 5))
]


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


@functools.cache
def solved(model, num_classes, method):
    """A problem and its hypergradient, in float64; `method` is a tuple of items."""
    al, state, train_batch, val_batch = problem(model, num_classes, **dict(method))
    gradient = jax.jit(lambda s: hypergradient(al, s, train_batch, val_batch))(state)
    return al, state, train_batch, val_batch, gradient


def holding_scale(al, state, train_batch):
    """`al` with the scale of the virtual step held at this state's value: to the hypergradient
    it is a constant.
    """
    W, V, key = (
        state.drs.params,
        state.controller.params,
        autoloss.stream(state.key, state.step, "train"),
    )

    @jax.jit
    def found(W):
        gradient, _ = jax.grad(autoloss.objective, argnums=1, has_aux=True)(
            al, W, V, state, train_batch, key
        )
        return autoloss.virtual_step(al, W, gradient, state.drs.opt_state)[1]

    scale = found(W)

    class Held:
        def scale(self, gradient, opt_state):
            return scale

    return dataclasses.replace(al, optimizer=Held())


VARIANTS = [
    {"val_objective": "mixture"},
    {"val_objective": "ce"},
    {"val_objective": "mixture", "virtual_step": "adam"},
    {"val_objective": "mixture", "detach": False},
    {"val_objective": "ce", "name": "al2"},
    {"val_objective": "ce", "name": "darts"},
    {"val_objective": "pairwise", "virtual_step": "adam"},
    {"val_objective": "mixture", "context": ("one field", "another")},
    {"val_objective": "ce", "virtual_step": "adam", "pool": ("ce", "focal(l2=0.5)", "ce(l2=0.3)")},
]
DAILY = (*VARIANTS[:2], VARIANTS[-1])
EVERYWHERE = VARIANTS[:2]  # the others on one binary and one 5-class model


@pytest.mark.parametrize(
    ("model", "num_classes", "method"),
    [
        pytest.param(*case.values, v, marks=case.marks if v in DAILY else pytest.mark.nightly)
        for v in VARIANTS
        for case in (CASES if v in EVERYWHERE else [CASES[0], CASES[3]])
    ],
    ids=lambda v: "-".join(map(str, v.values())) if isinstance(v, dict) else str(v),
)
def test_hypergradient_matches_central_differences(float64, model, num_classes, method):
    al, state, train_batch, val_batch, gradient = solved(model, num_classes, tuple(method.items()))
    f = full_table_outer_loss(holding_scale(al, state, train_batch), state, train_batch, val_batch)
    scale = np.linalg.norm(flatten(gradient))
    assert scale > 1e-6
    for direction, difference in central_differences(f, state.controller.params):
        exact = flatten(gradient) @ flatten(direction)
        assert abs(exact - difference) < 1e-6 * max(scale, 1e-2), (exact, difference)


@pytest.mark.parametrize(("model", "num_classes"), CASES)
@pytest.mark.parametrize("val_objective", ["mixture", "ce"])
def test_hypergradient_equals_the_darts_hessian_vector_form(
    float64, model, num_classes, val_objective
):
    """DARTS, Eq. (7) there: direct term minus xi times the mixed second derivative applied to
    grad_W' L_val.
    """
    al, state, train_batch, val_batch, exact = solved(
        model, num_classes, (("val_objective", val_objective),)
    )
    W, V = state.drs.params, state.controller.params
    inner = autoloss.stream(state.key, state.step, "train")
    outer = autoloss.stream(state.key, state.step, "outer")

    def train_loss(W, V):
        return autoloss.objective(
            dataclasses.replace(al, detach=True), W, V, state, train_batch, inner
        )[0]

    def val_loss(W, V):
        if val_objective == "mixture":
            return autoloss.objective(
                dataclasses.replace(al, detach=False), W, V, state, val_batch, outer
            )[0]
        logits, _ = proof.forward(al, W, state.drs.stats, val_batch, jax.random.split(outer)[0])
        return jnp.mean(losses.ce(logits, val_batch["y"]))

    def darts(W, V):
        W_star = jax.tree.map(lambda w, g: w - al.xi * g, W, jax.grad(train_loss)(W, V))
        v, direct = jax.grad(val_loss, argnums=(0, 1))(W_star, V)
        mixed = jax.grad(lambda V: jax.jvp(lambda W: train_loss(W, V), (W,), (v,))[1])(V)
        return jax.tree.map(lambda d, m: d - al.xi * m, direct, mixed)

    assert relative(exact, jax.jit(darts)(W, V)) < 1e-8


@pytest.mark.parametrize(("model", "num_classes"), [CASES[0], CASES[3]])
@pytest.mark.parametrize("virtual_step", ["sgd", "adam"])
def test_rows_of_both_batches_give_the_full_table_hypergradient(
    float64, model, num_classes, virtual_step
):
    method = (
        ("val_objective", "mixture"),
        *((("virtual_step", "adam"),) if virtual_step == "adam" else ()),
    )
    al, state, train_batch, val_batch, over_rows = solved(model, num_classes, method)
    seen = []
    hypergradient(al, state, train_batch, val_batch, lambda W: seen.append(len(W["rows"])))
    assert seen[0] < NUM_ROWS
    full = jax.jit(jax.grad(full_table_outer_loss(al, state, train_batch, val_batch)))(
        state.controller.params
    )
    assert relative(over_rows, full) < 1e-10


def test_first_order_is_the_direct_term(float64):
    al, state, train_batch, val_batch = problem(val_objective="mixture", xi=0.0)
    W, key = state.drs.params, autoloss.stream(state.key, state.step, "outer")
    direct = jax.grad(
        lambda V: autoloss.objective(
            dataclasses.replace(al, detach=False), W, V, state, val_batch, key
        )[0]
    )(state.controller.params)
    assert relative(hypergradient(al, state, train_batch, val_batch), direct) < 1e-12


def test_ce_at_xi_zero_has_no_gradient_and_is_refused(float64):
    al, state, train_batch, val_batch = problem(val_objective="ce")
    al = dataclasses.replace(al, xi=0.0)
    assert np.all(flatten(hypergradient(al, state, train_batch, val_batch)) == 0)
    with pytest.raises(UserError, match="identically zero"):
        problem(val_objective="ce", xi=0.0)


def test_temperature_is_the_papers_by_default():
    t = jnp.asarray([0, 7000, 19_800, 50_000])
    assert np.allclose(
        gumbel.annealed_temperature(t), np.maximum(0.01, 1 - 0.00005 * np.asarray(t)), atol=1e-6
    )
    assert np.isclose(gumbel.annealed_temperature(jnp.asarray(100), horizon=100), 0.01)


def test_gumbel_softmax_selects_in_proportion_to_alpha():
    alpha = jnp.asarray([0.1, 0.2, 0.7])
    log_alpha = jnp.broadcast_to(jnp.log(alpha), (200_000, 3))
    p = gumbel.gumbel_softmax(jax.random.key(0), log_alpha, jnp.asarray(0.3))
    share = np.bincount(np.argmax(p, axis=-1), minlength=3) / len(p)
    assert np.allclose(p.sum(-1), 1, atol=1e-5)
    assert np.allclose(share, alpha, atol=0.005)


def test_hard_selection_is_one_hot_with_the_soft_gradient():
    log_alpha = jax.nn.log_softmax(jax.random.normal(jax.random.key(1), (50, 4)))
    soft, hard = (
        jax.value_and_grad(
            lambda a, h=h: jnp.sum(
                gumbel.gumbel_softmax(jax.random.key(2), a, 0.5, hard=h)[:, 0] * jnp.arange(50.0)
            )
        )
        for h in (False, True)
    )
    z = gumbel.gumbel_softmax(jax.random.key(2), log_alpha, 0.5, hard=True)
    assert np.allclose(np.sort(z, axis=-1), [0, 0, 0, 1], atol=1e-6)
    assert np.allclose(soft(log_alpha)[1], hard(log_alpha)[1], atol=1e-5)


def test_detach_stops_the_drs_gradient_through_the_controllers_input(float64):
    """With the controller's input held fixed by hand, the detached gradient is the same, the
    other is not.
    """
    al, state, batch, _ = problem(val_objective="mixture")
    V, key = state.controller.params, autoloss.stream(state.key, state.step, "train")
    fixed, _ = proof.forward(al, state.drs.params, state.drs.stats, batch, jax.random.split(key)[0])

    class Held:
        def apply(self, variables, labels, y_hat, **kwargs):
            return al.controller.module.apply(
                variables, labels, autoloss.probabilities(fixed), **kwargs
            )

    def gradient(al, detach):
        return jax.grad(
            lambda W: autoloss.objective(
                dataclasses.replace(al, detach=detach), W, V, state, batch, key
            )[0]
        )(state.drs.params)

    controller = dataclasses.replace(al.controller, module=Held())
    held = gradient(dataclasses.replace(al, controller=controller), False)
    assert relative(gradient(al, True), held) < 1e-12
    assert relative(gradient(al, False), held) > 1e-3


def test_slf_learns_on_the_training_batch_and_never_on_validation():
    al, state, train_batch, _ = problem(name="slf")
    after = jax.jit(lambda s: fused.train_step(al, s, train_batch))(state)
    assert relative(after.controller.params, state.controller.params) > 0


@pytest.mark.parametrize("name", ["al1", "ce", "transfer"])
def test_train_step_leaves_an_untaught_controller_alone(name):
    al, state, train_batch, _ = problem(name=name, transfer_from="somewhere")
    after = jax.jit(lambda s: fused.train_step(al, s, train_batch))(state)
    same = jax.tree.map(
        np.array_equal,
        (after.controller.params, after.controller.stats),
        (state.controller.params, state.controller.stats),
    )
    assert all(jax.tree.leaves(same))
    assert relative(after.drs.params, state.drs.params) > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "embedding",
    further(["adam", "sparse_adam", "lazy_adam", "rowwise_adagrad"], daily=["adam", "sparse_adam"]),
)
def test_a_step_with_a_val_batch_moves_v_by_the_hypergradient_and_then_w_under_the_new_v(
    float64, embedding
):
    al, state, train_batch, val_batch = problem(embedding=embedding)
    after = jax.jit(lambda s: fused.train_step(al, s, train_batch, val_batch))(state)
    gradient = hypergradient(al, state, train_batch, val_batch)
    updates, _ = al.controller_optimizer.update(
        gradient, state.controller.opt_state, state.controller.params
    )
    V = optax.apply_updates(state.controller.params, updates)
    assert relative(after.controller.params, V) < 1e-9
    moved = state.replace(controller=after.controller.replace(stats=state.controller.stats))
    alone = jax.jit(lambda s: fused.train_step(al, s, train_batch))(moved)
    assert relative(after.drs, alone.drs) < 1e-12  # rows that only val touches rest
    assert relative(after.metrics, alone.metrics) < 1e-12


@pytest.mark.slow
def test_al1_is_the_mean_of_the_pool():
    al, state, batch, _ = problem(name="al1")
    assert np.allclose(fused.train_step(al, state, batch).metrics.share, 0.25)
    logits, mixed = evaluation.step(al, state, batch)
    assert np.allclose(
        mixed,
        np.mean([loss(logits, batch["y"]) for loss in al.candidates.losses], axis=0),
        rtol=1e-5,
    )


@pytest.mark.parametrize("name", ["autoloss", "al2", "slf", "darts", "melu"])
@pytest.mark.parametrize(
    ("start", "pool", "weights"),
    [
        (0.0, ("ce", "focal", "kl"), (1 / 3, 1 / 3, 1 / 3)),
        (0.9, ("ce", "focal"), (0.9, 0.1)),
        (0.7, ("ce", "focal", "kl", "hinge"), (0.7, 0.1, 0.1, 0.1)),
        (0.9, ("ce",), (1.0,)),
    ],
)
def test_a_search_begins_with_the_weight_of_the_first_loss_that_start_gives(
    name, start, pool, weights
):
    cfg = config.Config(method=config.Method(name=name, pool=pool, start=start, hidden=(8,)))
    al = Run.of(cfg).build(2, Table(VOCAB_SIZES), total_steps=1000)
    first = Run.of(cfg).initial_state(al).controller
    batch = {"y": np.array([0, 1, 1, 0])}
    alpha = networks.mean_policy(
        al, first.params, first.stats, jnp.array([[-2.0], [0.0], [1.0], [9.0]]), batch
    )
    assert np.allclose(alpha, np.tile(weights, (4, 1)), atol=1e-6)
