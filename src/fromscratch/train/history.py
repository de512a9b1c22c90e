"""The losses of a run as its ledger tells them, without the steps that a restart did again."""

from dataclasses import dataclass
from pathlib import Path

from fromscratch.core.ledger import read_ledger

__all__ = ["StepLine", "read_losses"]


@dataclass(frozen=True)
class StepLine:
    """One step of the final history."""

    step: int
    """Steps finished with this one."""
    tokens: int
    """Tokens trained on so far."""
    loss: float
    """Mean loss of the step's batch in nats per token."""
    gradient_norm: float
    learning_rate: float
    seconds: float


def read_losses(ledger: Path, stage: str) -> list[StepLine]:
    """The steps of ``stage`` in order, each once and as it was last done.

    Raises FromScratchError where the ledger's chain is broken.
    """
    history: list[StepLine] = []
    for line in read_ledger(ledger):
        if line["kind"] != "step" or line["stage"] != stage:
            continue
        while history and history[-1].step >= line["step"]:  # what a crash lost, and what was begun anew
            history.pop()
        history.append(StepLine(**{name: line[name] for name in StepLine.__dataclass_fields__}))
    return history
