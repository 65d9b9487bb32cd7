"""Training and using models from Python: runs by their configs, and estimators over DataFrames.

Nothing in the package imports it but the public names in `autoloss_jax/__init__.py`.
"""
