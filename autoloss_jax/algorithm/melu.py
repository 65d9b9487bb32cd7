"""Static weights of the losses by meta-learning in the manner of MeLU (Lee et al., KDD 2019):
our adaptation.

MeLU learns a recommender to start from: for each user the decision layers alone take one step on
a support set, the embeddings stay, and all parameters then descend the loss of the query set at
the adapted layers. The paper lists it as a baseline and does not say how it learns weights of
losses. Here the weights V (theta, one simplex for all examples) are meta-parameters: the inner
step descends their mixture on a support batch, and the outer loss is `method.val_objective`,
cross-entropy unless it says otherwise, on a query batch. There are no users as tasks: a task is
a training batch, its even rows the support and its odd ones the query of W; the query of V is a
batch of its share of validation, so that rows of validation teach V alone, as in every method
here. Both gradients are exact; MeLU's code drops the second order. `xi` is the inner rate. W is
thrown away in the end: a recommender is trained from its start under the weights found.
"""

from typing import Any

import jax

from autoloss_jax.algorithm import autoloss
from autoloss_jax.algorithm.autoloss import AutoLoss
from autoloss_jax.algorithm.state import Batch, Params, TrainState, stream


def adapted(
    al: AutoLoss, W: Params, V: Params, state: TrainState, support: Batch
) -> tuple[Params, Any]:
    """(W', what else the pass gave): W after the inner step of plain SGD, in the dense layers
    and not in the rows.
    """
    key = stream(state.key, state.step, "train")

    def loss(dense):
        return autoloss.objective(al, {**W, "dense": dense}, V, state, support, key)

    gradient, aux = jax.grad(loss, has_aux=True)(W["dense"])
    return {**W, "dense": jax.tree.map(lambda w, g: w - al.xi * g, W["dense"], gradient)}, aux


def outer_loss(
    V: Params, W: Params, al: AutoLoss, state: TrainState, support: Batch, query: Batch
) -> tuple[jax.Array, Any]:
    """(The loss of the query at the adapted W, what else the inner pass gave): what V and W
    minimise.
    """
    W_adapted, aux = adapted(al, W, V, state, support)
    return autoloss.val_objective(al, W_adapted, V, state, query), aux


def train_step(
    al: AutoLoss, state: TrainState, batch: Batch, val_batch: Batch | None = None
) -> TrainState:
    """W descends its outer gradient; where a batch of val is given, V descends its own first, at
    the same inner step.

    The running batch statistics are those of the support.
    """
    looked_at = () if val_batch is None else (val_batch["x"],)

    def gradient(W, opt_state, x, *val_x):
        support, query = (jax.tree.map(lambda a, i=i: a[i::2], {**batch, "x": x}) for i in (0, 1))
        controller = state.controller
        if val_batch is not None:
            val = {**val_batch, "x": val_x[0]}
            grad_V, _ = jax.grad(outer_loss, has_aux=True)(
                controller.params, W, al, state, support, val
            )
            controller = controller.descend(al.controller_optimizer, grad_V)
        grad_W, ((stats, controller_stats), metrics) = jax.grad(
            outer_loss, argnums=1, has_aux=True
        )(controller.params, W, al, state, support, query)
        return grad_W, (stats, controller.replace(stats=controller_stats), metrics)

    return state.advance(al.optimizer, gradient, batch["x"], *looked_at)
