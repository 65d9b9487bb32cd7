"""python -m benchmarks.step: examples per second of CE and AutoLoss steps on made-up data of Criteo's shape.

In turn, A B A B ..., in one process; medians with minimum and maximum. A speed is a ratio within one run.
"""

import argparse
import functools
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np

from autoloss_jax import autoloss, config
from autoloss_jax import state as states

FIELDS, BATCH = 39, 2000


def batch(random: np.random.Generator, num_rows: int) -> autoloss.Batch:
    """Ids with a heavy tail (Zipf 1.1 in each field), labels at Criteo's base rate."""
    per_field = num_rows // FIELDS
    rank = np.minimum(random.zipf(1.1, (BATCH, FIELDS)), per_field) - 1
    x = rank + per_field * np.arange(FIELDS)
    return {"x": jnp.asarray(x, jnp.int32), "y": jnp.asarray(random.random(BATCH) < 0.256, jnp.int32)}


def runner(method: str, num_rows: int, steps: int):
    """A function that trains `steps` steps and returns the seconds they took."""
    cfg = config.with_keys(config.Config(), {"method.name": method})
    al = states.build(cfg, num_classes=2, total_steps=steps)
    state = states.initial(al, cfg, num_rows, FIELDS)
    train_step = jax.jit(functools.partial(autoloss.train_step, al), donate_argnums=0)
    controller_step = jax.jit(functools.partial(autoloss.controller_step, al), donate_argnums=0)
    random = np.random.default_rng(0)
    batches = [batch(random, num_rows) for _ in range(8)]

    def run() -> float:
        nonlocal state
        jax.block_until_ready(state)
        begun = time.perf_counter()
        for i in range(steps):
            if al.taught_by == "val" and i % cfg.method.every == 0:
                state = controller_step(state, batches[i % 8], batches[(i + 4) % 8])
            state = train_step(state, batches[i % 8])
        jax.block_until_ready(state)
        return time.perf_counter() - begun

    return run


def main() -> None:
    """Measure and print a Markdown table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rows", type=int, default=1_086_810, help="rows of the embedding table")
    arguments.add_argument("--steps", type=int, default=14)
    arguments.add_argument("--repeats", type=int, default=5)
    chosen = arguments.parse_args()
    runners = {m: runner(m, chosen.rows, chosen.steps) for m in ("ce", "autoloss")}
    for run in runners.values():
        run()  # compiles
    seconds = {m: [] for m in runners}
    for _ in range(chosen.repeats):
        for method, run in runners.items():
            seconds[method].append(run())
    print(
        f"{jax.devices()[0].device_kind}, {chosen.rows:,} rows, {FIELDS} fields, batch {BATCH}, DeepFM, dense Adam\n"
    )
    print("| method | examples/s, median | min | max | time / CE |\n|---|---|---|---|---|")
    ce = statistics.median(seconds["ce"])
    for method, times in seconds.items():
        speeds = sorted(chosen.steps * BATCH / t for t in times)
        median = statistics.median(times)
        print(
            f"| {method} | {statistics.median(speeds):,.0f} | {speeds[0]:,.0f} | {speeds[-1]:,.0f} | {median / ce:.2f} |"
        )


if __name__ == "__main__":
    main()
