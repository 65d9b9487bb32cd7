"""Algorithm 1 of the paper: the mixture of losses, the controller that weighs them, and the
steps of both networks.

It may import `models`, `config` and `distributed`. Data, checkpoints and the training loop lie
above it.
"""
