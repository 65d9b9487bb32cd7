"""sparse_adam is dense Adam, at the cost of a batch; the other rules are what they say."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from autoloss_jax import config
from autoloss_jax.algorithm import networks, scan
from autoloss_jax.config.errors import UserError
from autoloss_jax.data.load import device
from autoloss_jax.data.load.shuffle import Order
from autoloss_jax.distributed import sharding
from autoloss_jax.models.embeddings import deferred_adam, lookup, optimizers
from autoloss_jax.models.embeddings.lookup import Table
from autoloss_jax.training.run import Run

NUM_ROWS, DIM, SLOTS = 400, 5, 24


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


def zipf_ids(rng, *shape, num_rows=NUM_ROWS):
    return np.minimum(rng.zipf(1.3, shape), num_rows).astype(np.int32) - 1


LONGEST = 400


def trajectories(tx, dtype, seed=0):
    """Steps -> W after so many of a made-up recommender over Zipf ids: gradients repeat within
    and across batches. One program, however many steps are asked for.
    """
    rng = np.random.default_rng(seed)
    W = {
        "rows": jnp.asarray(0.1 * rng.standard_normal((NUM_ROWS, DIM)), dtype),
        "dense": {"w": jnp.asarray(rng.standard_normal(DIM), dtype)},
    }
    ids = jnp.asarray(zipf_ids(rng, LONGEST, SLOTS))
    targets = jnp.asarray(rng.standard_normal((LONGEST, SLOTS)), dtype)

    @jax.jit
    def run(W, steps):
        def step(i, carry):
            def gradient(W, opt_state, x):
                def loss(W):
                    e = jnp.tanh(W["rows"])[x]
                    return jnp.mean((e @ W["dense"]["w"] - targets[i]) ** 2)

                return jax.grad(loss)(W), ()

            W, opt_state, _ = tx.step(*carry, jnp.ones((), dtype), gradient, ids[i])
            return W, opt_state

        W, opt_state = jax.lax.fori_loop(0, steps, step, (W, tx.init(W)))
        return tx.settle(W, opt_state, jnp.ones((), dtype))[0]

    return lambda steps: run(W, steps)


def trajectory(tx, steps, dtype):
    """After one number of them."""
    return trajectories(tx, dtype)(steps)


def make(embedding, chunk=8, **keys):
    o = config.Optimizer(**{"embedding": embedding, "learning_rate": 0.01} | keys)
    tx = optimizers.recommender(o, Table((NUM_ROWS,)), SLOTS)
    return tx if embedding == "adam" else dataclasses.replace(tx, chunk=chunk)


def gap(one, two):
    return max(jax.tree.leaves(jax.tree.map(lambda a, b: float(jnp.max(jnp.abs(a - b))), one, two)))


@pytest.mark.parametrize(
    "keys",
    [{}, {"weight_decay": 0.05}, {"l2": 0.01, "l2_scope": "batch"}, {"clip_norm": 0.05}],
    ids=lambda k: "-".join(k) or "plain",
)
def test_sparse_adam_is_dense_adam_in_float64(float64, keys):
    dense, sparse = (trajectories(make(e, **keys), np.float64) for e in ("adam", "sparse_adam"))
    for steps in (128, LONGEST):
        assert gap(dense(steps), sparse(steps)) < 1e-12


def test_chunks_change_nothing(float64):
    of_16, *others = (
        trajectory(make("sparse_adam", chunk), 200, np.float64) for chunk in (16, None, 24)
    )
    assert max(gap(of_16, other) for other in others) < 1e-13


def numpy_adam(gradients, rate=1e-3, b1=0.9, b2=0.999, eps=1e-8, decay=0.0):
    """Dense Adam by hand in float64: W after all gradients [steps, V, R], from zero."""
    p, m, v = (np.zeros(gradients.shape[1:]) for _ in range(3))
    for t, g in enumerate(gradients.astype(np.float64), 1):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        p = p - rate * (m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + eps) + decay * p)
    return p


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_in_float32_alone_sparse_adam_stays_within_1e6_of_adam_over_500_steps(decay):
    """Given gradients, so that nothing feeds back: dense float32 Adam itself is 5e-7 away from
    float64.
    """
    rng, steps = np.random.default_rng(1), 500
    ids = zipf_ids(rng, steps, SLOTS)
    size = 10.0 ** rng.uniform(-9, 1, (NUM_ROWS, 1))  # eps matters for the smallest
    gradients = np.zeros((steps, NUM_ROWS, DIM), np.float32)
    for t in range(steps):
        gradients[t, ids[t]] = size[ids[t]] * rng.standard_normal((SLOTS, DIM))
    expected = numpy_adam(gradients, decay=decay)
    tx = make("sparse_adam", learning_rate=1e-3, weight_decay=decay)
    merged = np.stack(
        [
            g[i] / np.bincount(i, minlength=NUM_ROWS)[i][:, None]
            for g, i in zip(gradients, ids, strict=True)
        ]
    )
    got = np.asarray(steps_of(tx, np.zeros((NUM_ROWS, DIM), np.float32), ids, merged), np.float64)
    assert np.max(np.abs(got - expected)) < 1e-6
    assert np.max(np.abs(expected)) > 0.05


@pytest.mark.nightly
@pytest.mark.slow
def test_in_the_whole_model_sparse_adam_is_dense_adam_over_300_steps(float64):
    """DeepFM under AutoLoss, second order with Adam's virtual step, dropout and Gumbel noise on,
    in float64.
    """
    fields, batch, steps, every = 6, 32, 300, 3
    rng = np.random.default_rng(2)
    x = zipf_ids(rng, 2, steps * batch, fields, num_rows=150) + 150 * np.arange(
        fields, dtype=np.int32
    )
    y = rng.integers(0, 2, (2, steps * batch)).astype(np.int32)
    mesh, names = sharding.make_mesh(), ("train", "val")
    feed = device.Resident(
        mesh,
        {name: Order(name, steps * batch, batch) for name in names},
        {name: device.put(mesh, ({"x": x[i], "y": y[i]},)) for i, name in enumerate(names)},
    )
    ends = []
    for embedding in ("adam", "sparse_adam"):
        cfg = config.Config(
            model=config.Model(embed_dim=4, hidden=(8, 8), embed_init_std=0.1),
            method=config.Method(hidden=(8,), every=every),
            optimizer=config.Optimizer(embedding=embedding),
            train=config.Train(batch_size=batch),
        )
        al = Run.of(cfg).build(2, Table((150,) * fields), total_steps=steps)
        state = Run.of(cfg).initial_state(al)
        state = jax.tree.map(
            lambda a: a.astype(np.float64) if jnp.issubdtype(a.dtype, jnp.floating) else a, state
        )

        state = scan.train_block(al, feed, every)(state, feed.splits, np.int32(steps))
        ends.append(jax.jit(functools.partial(networks.settle, al))(state))
    dense, sparse = ends
    assert isinstance(sparse.drs.opt_state, optimizers.SparseState)
    assert gap(dense.drs.params, sparse.drs.params) < 1e-12
    assert gap(dense.controller.params, sparse.controller.params) < 1e-12


def test_the_quadrature_is_exact_for_polynomials(float64):
    b1, nodes, horizon = 0.9, 5, 60
    x, w = deferred_adam.quadrature(nodes, horizon, b1)
    for k in (1, 3, 5, 6, 20, 60):
        j = np.arange(1, k + 1)
        for degree in range(2 * nodes if k > nodes else nodes):
            exact = np.sum(b1**j * (j / k) ** degree)
            assert np.sum(w[k] * (x[k] / k) ** degree) == pytest.approx(exact, rel=1e-12)


def given(gradients):
    """A gradient function over whatever rows: gradients[i] belongs to the i-th id."""

    def gradient(local, opt_state, slots):
        rows = jnp.zeros_like(local["rows"]).at[slots].add(gradients)
        return {"rows": rows, "dense": {"w": jnp.zeros(1)}}, ()

    return gradient


def steps_of(tx, start, ids, gradients):
    """Rows after one step of `tx` for each (ids, gradients)."""
    one = jnp.ones(())

    @jax.jit
    def run(W):
        def step(t, carry):
            return tx.step(*carry, one, given(jnp.asarray(gradients)[t]), jnp.asarray(ids)[t])[:2]

        W, opt_state = jax.lax.fori_loop(0, len(ids), step, (W, tx.init(W)))
        return tx.settle(W, opt_state, one)[0]["rows"]

    return run({"rows": jnp.asarray(start), "dense": {"w": jnp.zeros(1)}})


def test_lazy_adam_is_torchs_sparse_adam(float64):
    torch = pytest.importorskip("torch", reason="torch is not installed: it is the oracle here")
    rng, steps, rate = np.random.default_rng(3), 60, 0.01
    ids, g = zipf_ids(rng, steps, SLOTS), rng.standard_normal((steps, SLOTS, DIM))
    start = rng.standard_normal((NUM_ROWS, DIM))
    weight = torch.nn.Parameter(torch.tensor(start))
    adam = torch.optim.SparseAdam([weight], lr=rate, betas=(0.9, 0.999), eps=1e-12)
    for i, gradient in zip(ids, g, strict=True):
        weight.grad = torch.sparse_coo_tensor(
            torch.tensor(i)[None].long(), torch.tensor(gradient), start.shape, check_invariants=True
        )
        adam.step()
    ours = steps_of(make("lazy_adam", learning_rate=rate), start, ids, g)
    assert np.max(np.abs(ours - weight.detach().numpy())) < 1e-6  # torch adds its eps elsewhere


def test_rowwise_adagrad_is_its_formula(float64):
    rng, steps, rate = np.random.default_rng(4), 40, 0.05
    ids, g = zipf_ids(rng, steps, SLOTS), rng.standard_normal((steps, SLOTS, DIM))
    start = rng.standard_normal((NUM_ROWS, DIM))
    p, acc = start, np.zeros(NUM_ROWS)
    for i, gradient in zip(ids, g, strict=True):
        total = np.zeros_like(p)
        np.add.at(total, i, gradient)
        acc += np.mean(total**2, axis=1)
        p = p - rate * total / (np.sqrt(acc)[:, None] + 1e-8)
    ours = steps_of(make("rowwise_adagrad", learning_rate=rate), start, ids, g)
    assert np.max(np.abs(ours - p)) < 1e-12


@pytest.mark.parametrize("chunk", [1, 7, 64, 400, 1000])
def test_the_whole_table_is_settled_in_any_pieces(chunk):
    table = jnp.arange(400.0 * DIM).reshape(400, DIM)
    assert np.array_equal(
        lookup.whole(table, lambda r: jnp.maximum(r, 77), chunk=chunk), jnp.maximum(table, 77)
    )


def test_auto_is_dense_for_small_tables_and_for_l2_over_the_table():
    def chosen(num_rows, **keys):
        sizes = (num_rows // 10,) * 10
        return type(
            optimizers.recommender(config.Optimizer(**keys), Table(sizes), batch_size=100)
        ).__name__

    assert chosen(500) == "Dense"
    assert chosen(10**6) == "Sparse"
    assert chosen(10**6, l2=1e-3) == "Dense"
    assert chosen(10**6, l2=1e-3, l2_scope="batch") == "Sparse"
    assert chosen(10**6, weight_decay=1e-3) == "Sparse"


@pytest.mark.parametrize("embedding", ["sparse_adam", "lazy_adam", "rowwise_adagrad"])
def test_l2_over_the_whole_table_is_refused_where_only_rows_of_the_batch_move(embedding):
    with pytest.raises(UserError, match=r"moves every row in every step; set .*l2_scope=batch"):
        make(embedding, l2=1e-3)


def test_localise_gives_each_id_one_slot_and_the_scratch_back():
    rng = np.random.default_rng(5)
    scratch = jnp.asarray(rng.integers(0, 9, NUM_ROWS), jnp.int32)
    a, b = (jnp.asarray(zipf_ids(rng, *shape)) for shape in ((7, 3), (5, 3)))
    after, touched, own, slots = lookup.localise(scratch, a, b, capacity=40)
    ids = np.concatenate([np.ravel(a), np.ravel(b)])
    found = np.concatenate([np.ravel(s) for s in slots])
    assert np.array_equal(after, scratch)
    assert [s.shape for s in slots] == [a.shape, b.shape]
    assert touched.ids.size == 40
    assert int(touched.count) == len(set(ids)) == found.max() + 1
    assert set(np.asarray(touched.ids)[: int(own)]) == set(np.ravel(a).tolist())
    first = touched.first(own, NUM_ROWS)
    assert np.array_equal(first.ids[: int(own)], touched.ids[: int(own)]) and np.all(
        first.ids[int(own) :] == NUM_ROWS
    )
    assert np.array_equal(np.asarray(touched.ids)[found], ids)
    assert np.all(np.asarray(touched.ids)[int(touched.count) :] == NUM_ROWS)


@pytest.mark.parametrize("chunk", [None, 4])
def test_scattered_rows_are_those_gathered_and_no_others(chunk):
    rng = np.random.default_rng(6)
    table = jnp.asarray(rng.standard_normal((NUM_ROWS, DIM)))
    x = jnp.asarray(zipf_ids(rng, 9))
    _, touched, _, (slots,) = lookup.localise(jnp.zeros(NUM_ROWS, jnp.int32), x, capacity=12)
    local = lookup.gather(table, touched, chunk=chunk)
    assert np.array_equal(local[slots], table[x])
    after = lookup.scatter(table, touched, local, lambda r: r + 1, chunk)
    expected = np.asarray(table).copy()
    expected[np.unique(x)] += 1
    assert np.array_equal(after, expected)


ANY = {
    "momentum": optax.chain(optax.clip_by_global_norm(0.5), optax.sgd(0.1, momentum=0.9)),
    "adafactor": optax.adafactor(0.01, min_dim_size_to_factor=2, momentum=0.9),
    "lion": optax.lion(optax.cosine_decay_schedule(0.01, 60)),
}


@pytest.mark.parametrize("name", ANY)
def test_dense_with_any_optimiser_of_optax_is_that_optimiser_over_the_whole_table(float64, name):
    class Whole:
        init = staticmethod(ANY[name].init)

        def step(self, W, opt_state, lr_scale, gradient, x):
            g, aux = gradient(W, opt_state, x)
            updates, opt_state = ANY[name].update(g, opt_state, W)
            return optax.apply_updates(W, updates), opt_state, aux

        def settle(self, W, opt_state, lr_scale):
            return W, opt_state

    whole = trajectories(Whole(), np.float64)
    ours = trajectory(optimizers.Dense(ANY[name], Table((NUM_ROWS,))), 60, np.float64)
    assert gap(ours, whole(60)) < 1e-12
    assert gap(whole(60), whole(1)) > 1e-2


def test_a_virtual_step_is_scaled_by_any_adam_and_by_nothing_else():
    W = {"rows": jnp.ones((NUM_ROWS, DIM)), "dense": {"w": jnp.ones(DIM)}}
    scales = [
        optimizers.Dense(tx, Table((NUM_ROWS,))).scale(W, tx.init(W))
        for tx in (optimizers.adam(config.Optimizer()), optax.adamw(0.5), optax.nadam(0.1))
    ]
    assert gap(scales[0], scales[1]) == gap(scales[0], scales[2]) == 0
    for tx in (*ANY.values(), optax.rmsprop(0.1), optax.adabelief(0.1), optax.amsgrad(0.1)):
        with pytest.raises(UserError, match="set precondition=False"):
            optimizers.Dense(tx, Table((NUM_ROWS,))).scale(W, tx.init(W))
