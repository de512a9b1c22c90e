"""How long, on what and how carefully a model is trained."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from fromscratch.core.settings import Settings, refuse
from fromscratch.model.settings import Recompute
from fromscratch.optim.schedule import decay_steps
from fromscratch.optim.settings import Muon, Optimizer, Schedule, WarmupStableDecay
from fromscratch.tokens.settings import BatchForm

__all__ = ["LoopSettings", "PretrainSettings", "StageSettings"]


class LoopSettings(Settings):
    """What the one training loop needs to know, whether it pretrains or tunes."""

    steps: int = Field(gt=0)
    """Updates of the weights."""

    batch_sequences: int = Field(gt=0)
    """Sequences per update."""

    micro_batch_sequences: int | None = Field(default=None, gt=0)
    """Sequences per forward and backward pass, for batches that do not fit in memory; all at once when absent."""

    optimizer: Optimizer = Muon()
    """How gradients change the weights."""

    schedule: Schedule = WarmupStableDecay()
    """How the learning rate moves over the steps."""

    clip_norm: float | None = Field(default=1.0, gt=0)
    """Gradients are scaled down to this Euclidean norm over all parameters; never when absent."""

    z_loss: float = Field(default=0.0, ge=0)
    """Weight of the squared log-partition, which keeps logits from drifting (PaLM, arXiv:2204.02311, uses 1e-4)."""

    precision: Literal["fp32", "bf16"] = "bf16"
    """`bf16` runs products in bfloat16; weights and optimiser state stay in fp32."""

    recompute: Recompute = "none"
    """What the backward pass computes again instead of keeping it: nothing, each layer's norms, activations and scores
    but not its products (`selective`), or all of each layer (`full`), a third more work."""

    checkpoint_every_steps: int = Field(default=200, gt=0)
    """Steps between two checkpoints; at most this much is done again after a crash."""

    keep_checkpoints: int = Field(default=2, gt=0)
    """Checkpoints kept while training; the older ones are there in case the newest is found damaged."""

    @model_validator(mode="after")
    def _schedule_fits(self) -> Self:
        _refuse_what_does_not_fit(self.schedule, self.steps, "`@schedule.warmup_steps`", "`@steps`")
        return self


def _refuse_what_does_not_fit(schedule: Schedule, steps: int, of_warmup: str, of_steps: str) -> None:
    falling = decay_steps(schedule, steps) if isinstance(schedule, WarmupStableDecay) else 0
    if schedule.warmup_steps + falling > steps:
        refuse(
            f"{of_warmup} = {schedule.warmup_steps}"
            + (f" and {falling} steps of decay" if falling else "")
            + f" do not fit into {of_steps} = {steps}",
            f"use at most {steps - falling} warm-up steps",
        )


class StageSettings(Settings):
    """The end of a run, or a part of it, that is trained otherwise: annealing, or the extension to a longer context.

    What is absent stays as it was before the stage.
    """

    steps: int | None = Field(default=None, gt=0)
    """How many of the run's steps it has."""

    share: float | None = Field(default=None, gt=0, lt=1)
    """Or which share of them."""

    batch_sequences: int | None = Field(default=None, gt=0)
    """Sequences per update."""

    micro_batch_sequences: int | None = Field(default=None, gt=0)
    """Sequences per forward and backward pass."""

    sequence_tokens: int | None = Field(default=None, gt=1)
    """Positions per sequence, up to the model's context."""

    mixture: dict[str, Annotated[float, Field(ge=0)]] | None = None
    """Share of the tokens by group or language."""

    schedule: Schedule | None = None
    """How the learning rate moves over the steps of this stage; that of the whole run goes on when absent."""

    peak_share: float = Field(default=1.0, gt=0)
    """What the learning rate is multiplied with in this stage."""

    rotary_base: float | None = Field(default=None, gt=1)
    """Base of the frequencies of rotary positions; a longer context wants a larger one (arXiv 2309.16039)."""

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if (self.steps is None) == (self.share is None):
            refuse("`@steps` or `@share` says how long a stage is, one of the two", "give one, and leave out the other")
        return self

    def steps_of(self, all_steps: int) -> int:
        """Its number of steps in a run of so many."""
        return self.steps or max(1, round((self.share or 0) * all_steps))


class PretrainSettings(LoopSettings):
    """Pretraining on token shards."""

    sequence_tokens: int = Field(gt=1)
    """Positions per sequence."""

    precision: Literal["fp32", "bf16", "fp8"] = "bf16"  # type: ignore[assignment]
    """`bf16` runs products in bfloat16, `fp8` those of the layers in 8 bits (on a GPU, with torchao); weights and
    optimiser state stay in fp32."""

    attend: Literal["window", "document"] = "window"
    """Whether a position sees all before it in its sequence, or only what is of its own document (arXiv 2407.21783,
    section 3.2, which found it to matter for long sequences)."""

    compile: Literal["auto", "always", "never"] = "auto"
    """Whether steps are compiled; `auto` does where the run is long enough to win back twice what compiling costs."""

    validate_every_steps: int | None = Field(default=None, gt=0)
    """Steps between two looks at the loss on held-out tokens of each group; never when absent."""

    validate_tokens: int = Field(default=16_384, gt=0)
    """Held-out tokens of each group that are looked at."""

    init_from: str | None = Field(default=None, min_length=1)
    """Folder of a model to go on from, as `fromscratch import` writes it or a run's `pretrain` is; initial weights are
    drawn when absent. Its tokenizer must be this run's."""

    mixture: dict[str, Annotated[float, Field(ge=0)]] | None = None
    """Share of the tokens by group such as `en/technical`, by `en/*` or by language; as found when absent."""

    stages: tuple[StageSettings, ...] = ()
    """What changes later in the run, in this order and up to its end; what comes before is as said above."""

    @model_validator(mode="after")
    def _stages_fit(self) -> Self:
        later = [each.steps_of(self.steps) for each in self.stages]
        if sum(later) >= self.steps:
            refuse(
                f"`@stages` have {sum(later)} steps of `@steps` = {self.steps}, and what comes before them has none",
                f"let them have at most {self.steps - 1}, or raise `steps` to {sum(later) + 1} or more",
            )
        for number, (stage, steps) in enumerate(zip(self.stages, later, strict=True)):
            if stage.schedule is not None:
                place = f"`@stages.{number}"
                _refuse_what_does_not_fit(stage.schedule, steps, f"{place}.schedule.warmup_steps`", f"{place}.steps`")
        return self

    @property
    def in_stages(self) -> tuple[tuple[int, Self], ...]:
        """The number of steps of each stage, the first one included, with the settings as they are in it."""
        later = [each.steps_of(self.steps) for each in self.stages]
        found = [(self.steps - sum(later), self)]
        names = ("batch_sequences", "micro_batch_sequences", "sequence_tokens", "mixture")
        for stage, steps in zip(self.stages, later, strict=True):
            changes = {name: getattr(stage, name) for name in names if getattr(stage, name) is not None}
            found.append((steps, found[-1][1].model_copy(update=changes)))
        return tuple(found)

    @property
    def batch_forms(self) -> tuple[BatchForm, ...]:
        """The batches of the run, stage by stage."""
        return tuple(
            BatchForm(steps, each.batch_sequences, each.sequence_tokens, each.mixture) for steps, each in self.in_stages
        )
