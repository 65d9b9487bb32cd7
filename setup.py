"""What pyproject.toml cannot say: the repository's configs/ is autoloss_jax.configs in a wheel."""

from setuptools import find_packages, setup

CONFIGS = {"autoloss_jax.configs": "configs", "autoloss_jax.configs.studies": "configs/studies"}

setup(packages=[*find_packages(include=["autoloss_jax*"]), *CONFIGS], package_dir=CONFIGS)
