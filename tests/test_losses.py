"""Losses equal their formulas in float64, and stay finite with two derivatives where float32 is
hardest.
"""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from autoloss_jax.algorithm import candidates, losses
from autoloss_jax.config.errors import UserError

SPECS = [
    *losses.LOSSES,
    "focal(gamma=0.5)",
    "kl(epsilon=0.1)",
    "gce(q=0.3)",
    "asymmetric_ce(positive=2, negative=0.5)",
    "missing_ce(rate=0.6)",
    "flipped_ce(rate=0.4)",
]


def probabilities(z):
    z = np.concatenate([np.zeros_like(z), z], axis=1) if z.shape[1] == 1 else z
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def crammer_singer(scores, y):
    return np.array(
        [max(0.0, 1 + max(np.delete(s, c)) - s[c]) for s, c in zip(scores, y, strict=True)]
    )


def formula(
    name, z, y, gamma=2.0, epsilon=None, q=0.7, positive=1.0, negative=1.0, spread=0.1, rate=None
):
    """What the papers write, in numpy."""
    p = probabilities(z)
    k, at = p.shape[1], p[np.arange(len(y)), y]
    hot = np.eye(k)[y]
    smooth = (1 - (epsilon or 0.05)) * hot + (epsilon or 0.05) / k
    scores = np.concatenate([np.zeros_like(z), z], axis=1) if z.shape[1] == 1 else z
    places = np.arange(k)
    apart = np.abs(places - y[:, None])
    near = np.where(apart == 1, spread, 0.0)
    near[np.arange(len(y)), y] = 1 - near.sum(axis=1)
    lost, flipped = rate or 0.3, rate or 0.1
    seen = np.concatenate(
        [p[:, :1] + lost * p[:, 1:].sum(axis=1, keepdims=True), (1 - lost) * p[:, 1:]], axis=1
    )
    marks = np.concatenate([-z, z], axis=1) if z.shape[1] == 1 else z
    softmax = np.exp(marks) / np.exp(marks).sum(axis=0)
    nearer = [
        np.mean([np.log1p(np.exp(marks[j, c] - marks[i, c])) for j in range(len(y)) if y[j] != c])
        for i, c in enumerate(y)
    ]
    return {
        "pairwise": lambda: np.array(nearer),
        "generative": lambda: -np.log(softmax[np.arange(len(y)), y]),
        "listwise": lambda: np.where(y > 0, -np.log(softmax[np.arange(len(y)), y]), 0),
        "ce": lambda: -np.log(at),
        "focal": lambda: -((1 - at) ** gamma) * np.log(at),
        "kl": lambda: np.sum(smooth * np.log(smooth / p), axis=1),
        "kl_exact": lambda: np.log(1 / at),
        "kl_reverse": lambda: np.sum(p * np.log(p / smooth), axis=1),
        "hinge": lambda: crammer_singer(scores, y),
        "hinge_prob": lambda: crammer_singer(p, y),
        "mse": lambda: np.mean((hot - p) ** 2, axis=1),
        "mae": lambda: np.mean(np.abs(hot - p), axis=1),
        "poly1": lambda: -np.log(at) + (epsilon or 1.0) * (1 - at),
        "gce": lambda: (1 - at**q) / q,
        "asymmetric_ce": lambda: -np.where(y == 0, negative, positive) * np.log(at),
        "ordinal": lambda: np.sum(near * (np.log(np.maximum(near, 1e-300)) - np.log(p)), axis=1),
        "missing_ce": lambda: -np.log(seen[np.arange(len(y)), y]),
        "flipped_ce": lambda: -np.log((1 - flipped) * at + flipped * (1 - at) / (k - 1)),
    }[name]()


def batch(num_outputs, size=64, scale=3.0):
    rng = np.random.default_rng(num_outputs)
    return scale * rng.standard_normal((size, num_outputs)), rng.integers(
        0, max(num_outputs, 2), size
    )


@pytest.mark.parametrize("num_outputs", [1, 5])
@pytest.mark.parametrize("spec", SPECS)
def test_losses_equal_their_formulas(spec, num_outputs):
    z, y = batch(num_outputs)
    name, _, arguments = spec.partition("(")
    values = {
        k.strip(): float(v)
        for k, v in (a.split("=") for a in arguments.rstrip(")").split(",") if a)
    }
    with jax.enable_x64(True):
        got = candidates.parse(spec)(jnp.asarray(z), jnp.asarray(y))
    assert got.shape == y.shape
    assert np.allclose(got, formula(name, z, y, **values), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("num_outputs", [1, 5])
def test_losses_agree_with_optax(num_outputs):
    z, y = batch(num_outputs)
    z, y = jnp.asarray(z, jnp.float32), jnp.asarray(y)
    if num_outputs == 1:
        pairs = {
            losses.ce: optax.sigmoid_binary_cross_entropy(z[:, 0], y),
            losses.hinge: optax.hinge_loss(z[:, 0], 2.0 * y - 1),
            losses.focal: optax.sigmoid_focal_loss(z[:, 0], y, gamma=2.0),
        }
    else:
        pairs = {
            losses.ce: optax.softmax_cross_entropy_with_integer_labels(z, y),
            losses.hinge: optax.losses.multiclass_hinge_loss(z, y),
            losses.poly1: optax.losses.poly_loss_cross_entropy(
                z, jax.nn.one_hot(y, 5), epsilon=1.0
            ),
        }
    for ours, theirs in pairs.items():
        assert np.allclose(ours(z, y), theirs, rtol=1e-4, atol=1e-5), ours


@pytest.mark.parametrize("spec", SPECS)
def test_losses_have_finite_second_derivatives_up_to_100(spec):
    # float32 throughout; (f, f', f'' forward over reverse, f'' reverse over reverse) in one
    # compilation each
    loss = candidates.parse(spec)
    line = jnp.asarray([-100, -88.8, -50, -17, -3, -1, 0, 1, 3, 17, 50, 88.8, 100], jnp.float32)
    rng = np.random.default_rng(0)
    corners = np.concatenate(
        [rng.choice(line, (60, 5)), np.zeros((1, 5)), 100 * np.eye(5), -100 * np.eye(5)]
    ).astype(np.float32)
    for z in (line[:, None], jnp.asarray(corners)):

        def one(z, label):
            return loss(z[None], label[None])[0]

        def derivatives(z, label, one=one):
            first = jax.grad(one)
            return (
                one(z, label),
                first(z, label),
                jax.jacfwd(first)(z, label),
                jax.jacrev(first)(z, label),
            )

        each_label = jax.vmap(jax.vmap(derivatives, (0, None)), (None, 0))
        for order, values in enumerate(jax.jit(each_label)(z, jnp.arange(max(z.shape[1], 2)))):
            assert values.dtype == jnp.float32
            assert jnp.all(jnp.isfinite(values)), (spec, z.shape, order)


@pytest.mark.parametrize("num_outputs", [1, 5])
@pytest.mark.parametrize("spec", SPECS)
def test_two_derivatives_match_central_differences(spec, num_outputs):
    z, y = batch(num_outputs, size=8)
    direction, h = np.random.default_rng(1).standard_normal(z.shape), 1e-6
    loss = candidates.parse(spec)

    def total(z, y):
        return jnp.sum(loss(z, y))

    with jax.enable_x64(True):
        both = jax.jit(jax.value_and_grad(total))
        (up, grad_up), (down, grad_down) = (both(z + s * h * direction, y) for s in (1, -1))
        first, second = jax.jit(
            lambda z, y: jax.jvp(lambda z: jax.grad(total)(z, y), (z,), (direction,))
        )(z, y)
    assert np.isclose(
        np.sum(np.asarray(first) * direction), float(up - down) / (2 * h), rtol=1e-6, atol=1e-8
    )
    assert np.allclose(
        second, (np.asarray(grad_up) - np.asarray(grad_down)) / (2 * h), rtol=1e-5, atol=1e-8
    )


def test_kl_exact_equals_ce():
    z, y = batch(5)
    assert np.array_equal(losses.kl_exact(z, y), losses.ce(z, y))
    assert not np.allclose(losses.kl(z, y), losses.ce(z, y))


def test_binary_hinge_prob_is_hinge_on_two_p_minus_one():
    z, y = batch(1)
    s, p = 2 * y - 1, 1 / (1 + np.exp(-z[:, 0]))
    assert np.allclose(losses.hinge_prob(z, y), np.maximum(0, 1 - s * (2 * p - 1)), atol=1e-6)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("focl", "did you mean 'focal'"),
        ("focal(gama=1)", "focal takes gamma; did you mean 'gamma'"),
        ("ce(x=1)", "ce takes no parameters"),
        ("focal(,)", "focal takes gamma"),
        ("focal(gamma=1,gamma=2)", "gamma is given twice"),
        ("focal(gamma=-1)", "focal(gamma=-1): wants 0 <= gamma <= 100"),
        ("kl_reverse(epsilon=0)", "kl_reverse(epsilon=0): wants 1e-06 <= epsilon"),
        ("gce(q=0)", "gce(q=0): wants 0.001 <= q <= 1"),
        ("asymmetric_ce(negative=-2)", "wants 0 <= negative"),
        ("ordinal(spread=0.6)", "wants 1e-06 <= spread <= 0.5"),
        ("missing_ce(rate=1)", "wants 0 <= rate <= 0.99"),
        ("flipped_ce(rate=0)", "wants 1e-06 <= rate"),
        ("poly1(epsilon=-3)", "wants -1 <= epsilon"),
        ("focal(gamma=one)", "'one' is not a finite number"),
        ("focal(gamma=nan)", "not a finite number"),
        ("focal(gamma", "not one of"),
        ("__import__('os')", "not one of"),
        ("", "not one of"),
    ],
)
def test_a_bad_loss_is_one_line(spec, message):
    with pytest.raises(UserError, match=re.escape(message)) as error:
        candidates.parse(spec)
    assert "\n" not in str(error.value)


def test_a_pool_is_read_as_a_tuple_or_as_a_list_in_one_flag():
    assert list(candidates.parse_pool(("ce", "focal(gamma=1.0)"))) == ["ce", "focal(gamma=1.0)"]
    assert list(candidates.parse_pool(("ce,asymmetric_ce(positive=2,negative=1)",))) == [
        "ce",
        "asymmetric_ce(positive=2,negative=1)",
    ]
    for pool in ((), ("",), ("ce", "ce")):
        with pytest.raises(UserError, match=r"method\.pool"):
            candidates.parse_pool(pool)
