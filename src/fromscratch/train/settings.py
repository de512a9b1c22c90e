"""How long, on what and how carefully a model is trained."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from fromscratch.core.settings import Settings, refuse
from fromscratch.optim.schedule import decay_steps
from fromscratch.optim.settings import Muon, Optimizer, Schedule, WarmupStableDecay

__all__ = ["LoopSettings", "PretrainSettings"]


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

    checkpoint_every_steps: int = Field(default=200, gt=0)
    """Steps between two checkpoints; at most this much is done again after a crash."""

    keep_checkpoints: int = Field(default=2, gt=0)
    """Checkpoints kept while training; the older ones are there in case the newest is found damaged."""

    @model_validator(mode="after")
    def _schedule_fits(self) -> Self:
        falling = decay_steps(self.schedule, self.steps) if isinstance(self.schedule, WarmupStableDecay) else 0
        if self.schedule.warmup_steps + falling > self.steps:
            refuse(
                f"`@schedule.warmup_steps` = {self.schedule.warmup_steps}"
                + (f" and {falling} steps of decay" if falling else "")
                + f" do not fit into `@steps` = {self.steps}",
                f"use at most {self.steps - falling} warm-up steps",
            )
        return self


class PretrainSettings(LoopSettings):
    """Pretraining on token shards."""

    sequence_tokens: int = Field(gt=1)
    """Positions per sequence."""

    init_from: str | None = Field(default=None, min_length=1)
    """Folder of a model to go on from, as `fromscratch import` writes it or a run's `pretrain` is; initial weights are
    drawn when absent. Its tokenizer must be this run's."""

    mixture: dict[str, Annotated[float, Field(ge=0)]] | None = None
    """Share of the tokens by group such as `en/technical`, by `en/*` or by language; as found when absent."""
