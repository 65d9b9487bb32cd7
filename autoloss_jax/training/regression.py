"""The logistic regression beside a run's recommender: its fit, and its share of the prediction."""

import jax
import jax.numpy as jnp
import numpy as np

from autoloss_jax.algorithm.state import TrainState
from autoloss_jax.data.load import host
from autoloss_jax.data.store import Store
from autoloss_jax.distributed import processes, sharding
from autoloss_jax.models.regression import Regression, blend
from autoloss_jax.training import baselines, evaluation
from autoloss_jax.training.splits import Splits

C = 0.3  # as scikit-learn counts it: the variance of a weight before any row is seen
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)


def fitted(splits: Splits, data: Store, state: TrainState, mesh: jax.sharding.Mesh) -> TrainState:
    """The state with a regression beside its recommender: on the rows that W learns from, or so
    many of them as a regression takes. It has no share yet.
    """
    processes.alone("--config.model.regression=True")
    model = baselines.regression(baselines.sample(splits.train, seed=0), data, C)
    rows = np.zeros((len(state.drs.params["rows"]), len(model.coef_)), np.float32)
    rows[: model.coef_.shape[1]] = model.coef_.T
    intercept = jnp.asarray(model.intercept_, jnp.float32)
    found = Regression(jnp.asarray(rows), intercept, jnp.float32(0))
    return sharding.put_state(mesh, state.replace(regression=found))


def best_share(rows: host.Split, of_recommender: np.ndarray, of_regression: np.ndarray) -> float:
    """The share of the regression's logits in a mean that has the least logloss on the rows,
    calibrated; of logits float64[n, C]. A smaller one where two are level.
    """

    def logloss(share: float) -> float:
        return evaluation.calibrated(rows, blend(of_recommender, of_regression, share))

    return min(SHARES, key=logloss)
