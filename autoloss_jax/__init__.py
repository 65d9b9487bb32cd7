"""AutoLoss (Zhao et al., KDD 2021) in JAX: a loss function for every training example."""

__version__ = "0.1.0"
