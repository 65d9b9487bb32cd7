"""How far our logits are from another implementation's, with its weights."""

import jax
import jax.numpy as jnp
import numpy as np

from autoloss_jax import config
from autoloss_jax.models.embeddings.lookup import Table
from autoloss_jax.training.run import Run
from tests.golden import fuxictr, reference
from tests.support import proof
from tests.support.transplant import transplant


def ours(name, spec, data, embed_dim=4, batch_norm=True):
    """An AutoLoss of the same shape with CE, its state with the other's weights, and the ids
    that it is given.
    """
    hidden, field_dims = tuple(int(h) for h in data["hidden"]), data["field_dims"]
    model = config.Model(
        name=spec, embed_dim=embed_dim, hidden=hidden, dropout=0.0, batch_norm=batch_norm
    )
    cfg = config.Config(model=model, method=config.Method(name="ce"))
    vocab_sizes = tuple(field_dims.tolist())
    al = Run.of(cfg).build(2, Table(vocab_sizes), total_steps=1)
    state = Run.of(cfg).initial_state(al)
    W, stats = transplant(name, data, "start/")
    assert jax.tree.map(jnp.shape, W) == jax.tree.map(jnp.shape, state.drs.params)
    assert jax.tree.map(jnp.shape, stats) == jax.tree.map(jnp.shape, state.drs.stats)
    ids = jnp.asarray(data["x"] + np.cumsum([0, *field_dims[:-1]]), jnp.int32)
    return al, state.replace(drs=state.drs.replace(params=W, stats=stats)), ids


def error(name, data=None):
    """The largest difference of logits, in evaluation and in training, over 1 + the size of the
    logit, of a case.

    Its data are those of its golden file, or given.
    """
    case, data = (
        {**reference.CASES, **fuxictr.CASES}[name],
        reference.load(name) if data is None else data,
    )
    al, state, ids = ours(name, case.spec, data, batch_norm=getattr(case, "batch_norm", True))
    W, stats = state.drs.params, state.drs.stats

    @jax.jit
    def forward(*keys):
        return proof.forward(al, W, stats, {"x": ids[0]}, *keys)[0][:, 0]

    pairs = (forward(), data["logits_eval"]), (forward(jax.random.key(0)), data["logits_train"])
    return max(np.max(np.abs(got - want) / (1 + np.abs(want))) for got, want in pairs)
