"""A run's config: a tree of typed fields, from a file of `configs/`, flags or JSON. It imports
nothing else of ours.
"""

from autoloss_jax.config.schema import (
    Config,
    Data,
    Mesh,
    Method,
    Model,
    Optimizer,
    Run,
    Search,
    Temperature,
    Train,
    check,
    from_dict,
)

__all__ = [
    "Config",
    "Data",
    "Mesh",
    "Method",
    "Model",
    "Optimizer",
    "Run",
    "Search",
    "Temperature",
    "Train",
    "check",
    "from_dict",
]
