"""python -m autoloss_jax.data.prepare: what `autoloss prepare` does."""

import runpy

runpy.run_module("autoloss_jax.cli.prepare", run_name="__main__", alter_sys=True)
