"""A config, resolved once: what its names mean, before any data is read."""

import dataclasses
import functools
import math
from collections.abc import Mapping

import jax
import numpy as np

from autoloss_jax import config
from autoloss_jax.algorithm import gumbel, methods
from autoloss_jax.algorithm.autoloss import AutoLoss, Loss
from autoloss_jax.algorithm.candidates import Candidate
from autoloss_jax.algorithm.methods import Method
from autoloss_jax.algorithm.networks import (
    AdditiveRates,
    CandidateLosses,
    ControllerFn,
    CorrectedLosses,
    Rates,
    RecommenderFn,
    Transitions,
)
from autoloss_jax.algorithm.state import TrainState
from autoloss_jax.config.errors import UserError
from autoloss_jax.data.load import host
from autoloss_jax.data.schema import Schema
from autoloss_jax.distributed import sharding
from autoloss_jax.models import registry
from autoloss_jax.models.embeddings import lookup, optimizers, pooling
from autoloss_jax.models.embeddings.lookup import Table
from autoloss_jax.training import label_noise, states
from autoloss_jax.training.label_noise import LabelNoise

Noise = Mapping[str, LabelNoise]  # by kind


@dataclasses.dataclass(frozen=True)
class Run:
    """One run. Whoever comes later takes this, or a part of it, and parses no name again."""

    cfg: config.Config
    method: Method  # its row, as this config has it
    pool: dict[str, Candidate]  # the candidates by name
    val_loss: Loss | None  # what V minimises at W*(V); None: the mixture
    policy: str  # of a frozen controller: "sample", "mean" or "replay"
    told_apart: int  # members of the recommender that may have weights of their own
    data: config.Data  # as this method takes them

    @classmethod
    def of(cls, cfg: config.Config) -> "Run":
        """The run that a config describes; UserError for whatever cannot work."""
        config.check(cfg)
        method, pool = methods.resolve(cfg.method)
        # A method that searches has its controller's share of val for that, and not for W.
        train_on_trusted = cfg.data.train_on_trusted and (
            not method.searches or bool(cfg.data.trusted_fold)
        )
        return cls(
            cfg=cfg,
            method=method,
            pool=pool,
            val_loss=methods.val_loss(cfg.method),
            policy=methods.policy(method, cfg.method),
            told_apart=methods.told_apart(cfg, method, len(pool)),
            data=dataclasses.replace(cfg.data, train_on_trusted=train_on_trusted),
        )

    @property
    def sees(self) -> tuple[str, ...]:
        """The context fields of its controller, or of the rates of label noise."""
        has_context = any(self.noise_kinds) or self.method.sees_context
        return self.cfg.data.context if has_context else ()

    def context(self, schema: Schema) -> list[tuple[int, int, int]]:
        """(Slot, first id, number of values) of each context field."""
        return [schema.place(name, "--config.data.context") for name in self.sees]

    def with_context(self, schema: Schema, split: host.Split) -> host.Split:
        """A split with the values of the context fields in `seen`, if V or the loss sees any.

        The slots of x hold the recommender's inputs alone.
        """
        places = self.context(schema)
        seen = {"seen": host.values(split, places)} if places else {}
        if schema.context:
            split = host.first_slots(split, schema.num_input_slots)
        return {**split, **seen}

    def build(
        self,
        num_classes: int,
        table: Table,
        total_steps: int,
        context: tuple[int, ...] = (),
        noise: Noise | None = None,
    ) -> AutoLoss:
        """Networks, losses and optimizers.

        `context`: how many values each context field has. `noise`: what is known of the
        noise in train's labels; None: nothing.
        """
        cfg, pool = self.cfg, tuple(self.pool.values())
        l2 = tuple(candidate.l2 for candidate in pool)
        num_outputs = 1 if num_classes == 2 else num_classes
        candidates = self._candidates(num_classes, context, noise)
        seen = context if self.method.sees_context else ()
        return AutoLoss(
            recommender=RecommenderFn(
                registry.make(cfg.model, num_outputs, len(table.vocab_sizes)),
                pooled=functools.partial(pooling.pooled, slots=table.slots),
                l2=functools.partial(lookup.l2, l2) if any(l2) else None,
                members=1 if cfg.model.shared else cfg.model.members,
            ),
            controller=ControllerFn(
                methods.controller(cfg.method, self.method, len(pool), seen, self.told_apart),
                seen,
                self.told_apart,
            ),
            candidates=candidates,
            weights=self.method.weights,
            temperature=functools.partial(
                gumbel.annealed_temperature,
                floor=cfg.temperature.floor,
                horizon=cfg.temperature.horizon or max(total_steps, 1),
            ),
            optimizer=optimizers.recommender(cfg.optimizer, table, cfg.train.batch_size),
            controller_optimizer=optimizers.controller(cfg.optimizer),
            taught_by=self.method.taught_by,
            xi=cfg.method.xi,
            precondition=cfg.method.virtual_step == "adam",
            prior=getattr(candidates, "prior", None),
            val_loss=self.val_loss,
            detach=cfg.method.detach,
            members=cfg.model.members,
            shared=cfg.model.shared,
        )

    @property
    def noise_kinds(self) -> tuple[str, ...]:
        """Of each candidate, the kind of label noise that it is corrected for; empty: none."""
        if self.method.noise:
            return ("any" if self.method.noise == "matrix" else self.cfg.method.noise,)
        return tuple(candidate.searched for candidate in self.pool.values())

    @property
    def learns_rates(self) -> bool:
        """Whether rates of label noise belong to V."""
        return any(self.noise_kinds) and self.method.noise in ("", "learned")

    def _candidates(
        self, num_classes: int, context: tuple[int, ...], noise: Noise | None
    ) -> CandidateLosses:
        fixed = tuple(candidate.loss for candidate in self.pool.values())
        kinds = self.noise_kinds
        if num_classes != 2 and set(kinds) - {"", "any"}:
            raise UserError(
                f"--config.method.name={self.cfg.method.name}: rates of label noise are for two "
                f"classes, and the data have {num_classes}; --config.method.name=glc is for any"
            )
        if self.learns_rates:
            rates = tuple(_rates(kind, noise, context) if kind else None for kind in kinds)
            told = [int(known.trusted.sum()) for known in (noise or {}).values()]
            return CorrectedLosses(fixed, rates, max([1, *told]))
        if any(kinds):
            return CorrectedLosses(fixed, (Transitions(),))
        return CandidateLosses(fixed)

    def build_for(
        self,
        schema: Schema,
        mesh: jax.sharding.Mesh,
        total_steps: int,
        noise: Noise | None = None,
    ) -> AutoLoss:
        """`build` for a prepared dataset, on these devices."""
        inputs = schema.num_inputs
        placement = sharding.Placement(mesh)
        table = Table(schema.vocab_sizes[:inputs], schema.slots[:inputs], placement)
        context = tuple(size for *_, size in self.context(schema))
        return self.build(schema.num_classes, table, total_steps, context, noise)

    def initial_state(self, al: AutoLoss) -> TrainState:
        """The state before its first step."""
        return states.fresh(al, self.cfg.run.seed, self.cfg.model.embed_init_std)

    def abstract_state(self, al: AutoLoss, mesh: jax.sharding.Mesh) -> TrainState:
        """The shapes, types and places of its states."""
        return states.abstract(al, mesh, regression=bool(self.cfg.model.regression))


def _rates(kind: str, noise: Noise | None, sizes: tuple[int, ...]) -> Rates | AdditiveRates:
    """What V begins with: what is known, or, for a state that is restored, anything."""
    known, cells = (noise or {}).get(kind), math.prod(sizes)
    if cells > label_noise.MOST_CELLS:
        unknown = {"all": np.zeros(())} | {str(k): np.zeros(n) for k, n in enumerate(sizes)}
        return AdditiveRates(kind, label_noise.additive(known) if known else unknown)
    if known is None:
        return Rates(kind, np.zeros(cells), np.ones(cells))
    return Rates(kind, known.rate, np.maximum(known.rate_error, 1e-3))
