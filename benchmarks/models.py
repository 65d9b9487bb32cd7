"""Every model: what it is, how far its logits are from another implementation's, and its speed
beside torchfm's.

Where torchfm has the model, ours is built as torchfm's, option for option, so that both do the
same arithmetic.
"""

import inspect
import re
import statistics
import sys

import jax

from autoloss_jax.config import settings
from autoloss_jax.models import registry
from autoloss_jax.models.embeddings.lookup import Table
from autoloss_jax.training import states
from autoloss_jax.training.run import Run
from benchmarks import ours, workload
from benchmarks.contender import Contender, take_turns
from benchmarks.peers import MODELS as TORCHFM
from benchmarks.workload import Workload
from tests.golden import fuxictr, reference
from tests.support import parity

CASES = {**reference.CASES, **fuxictr.CASES}
HEAD = (
    "| model | paper | what it computes | parameters | parity | forward, examples/s: ours, "
    "torchfm, ratio | training, examples/s: ours, torchfm, ratio "
    "|\n|---|---|---|---|---|---|---|"
)


def table(work: Workload, rounds: int, names: tuple[str, ...] = tuple(registry.MODELS)) -> str:
    """Markdown, a row a model."""
    rows = [HEAD]
    for name in names:
        rows.append(_row(name, work, rounds))
        print(rows[-1], flush=True)
    return "\n".join(rows)


def _row(name: str, work: Workload, rounds: int) -> str:
    facts = (*described(name), f"{num_params(_spec(name), work):,}", _parity(name))
    speeds = (_speeds(name, what, work, rounds) for what in ("forward", "ce"))
    return f"| `{_spec(name)}` | {' | '.join((*facts, *speeds))} |"


def described(name: str) -> tuple[str, str]:
    """(Paper, what is computed), as the docstrings of a model have them."""
    source = inspect.getdoc(sys.modules[registry.MODELS[name].__module__]) or ""
    paper = re.search(r"\((?:as in )?([^()]*\d{4}[^()]*)\)", source)
    formula = (inspect.getdoc(registry.MODELS[name]) or "").partition("\n\n")[0].replace("\n", " ")
    return paper[1] if paper else "", formula.replace("|", r"\|")


def _spec(name: str) -> str:
    return TORCHFM[name].spec if name in TORCHFM else name


def num_params(spec: str, work: Workload) -> int:
    """Of the table and of all layers."""
    cfg = settings.with_keys(ours.config_of("ce", work), {"model.name": spec})
    sizes = tuple(workload.field_dims(work).tolist())
    run = Run.of(cfg)
    al = run.build(2, Table(sizes), total_steps=1)
    return sum(states.num_params(jax.eval_shape(lambda: run.initial_state(al))).values())


def _parity(name: str) -> str:
    """The largest error over the golden files of a model."""
    found = {}
    for case in CASES:
        if re.sub("^fuxictr_", "", case) == name or case.startswith(f"{name}_"):
            peer = "FuxiCTR" if case in fuxictr.CASES else "torchfm"
            found[peer] = max(found.get(peer, 0.0), parity.error(case))
    return (
        ", ".join(f"{peer} {error:.0e}" for peer, error in found.items())
        or "its formula, term by term"
    )


def _speeds(name: str, what: str, work: Workload, rounds: int) -> str:
    peer = {"forward": "torchfm-forward", "ce": "torchfm-fused"}[what]
    contenders = [Contender(f"{what}@{_spec(name)}", work, least=1)]
    contenders += [Contender(f"{peer}@{name}", work, least=1)] if name in TORCHFM else []
    for contender in take_turns(contenders, rounds):
        contender.close()
    speeds = [work.batch_size / statistics.median(c.seconds) for c in contenders if c.seconds]
    return ", ".join(f"{s:,.0f}" for s in speeds) + (
        f", **{speeds[0] / speeds[1]:.2f}**" if len(speeds) > 1 else ""
    )
