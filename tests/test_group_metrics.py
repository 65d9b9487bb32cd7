"""Rankings within groups are those of scikit-learn, group by group."""

import numpy as np
import pytest
from sklearn import metrics as theirs

from autoloss_jax.training import group_metrics


def made(seed, rows=600, groups=40):
    """Labels, scores of which many are level, and groups of one label, of both, and none."""
    rng = np.random.default_rng(seed)
    group = rng.zipf(1.3, rows) % groups
    labels = (rng.random(rows) < (group % 5) / 5).astype(int)
    scores = np.round(rng.normal(size=rows) + labels, 1)
    names = np.array([f"g{g}" for g in group], object)
    names[group == 3] = None
    return labels, scores, names


@pytest.mark.parametrize("seed", range(5))
def test_figures_are_scikit_learns_of_each_group(seed):
    labels, scores, groups = made(seed)
    found = group_metrics.figures(labels, scores, groups)
    aucs, weights, gains = [], [], []
    for group in sorted({*groups} - {None}):
        mine = groups == group
        y, z = labels[mine], scores[mine]
        if 0 < y.sum() < len(y):
            aucs.append(theirs.roc_auc_score(y, z))
            weights.append(len(y))
        if y.any():
            gains.append(1.0 if len(y) == 1 else theirs.ndcg_score([y], [z], k=10))
    assert found["groups"] == len(aucs)
    assert found["gauc"] == pytest.approx(np.average(aucs, weights=weights), abs=1e-12)
    assert found["ndcg@10"] == pytest.approx(np.mean(gains), abs=1e-12)
    assert found["pr_auc"] == pytest.approx(theirs.average_precision_score(labels, scores))


def test_what_nothing_defines_is_none():
    one = group_metrics.figures(np.zeros(3, int), np.arange(3.0), np.array(["a", "a", "b"]))
    assert one == {"pr_auc": None, "gauc": None, "ndcg@10": None, "groups": 0}
