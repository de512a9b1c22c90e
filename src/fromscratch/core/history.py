"""What a run's ledger tells: each step of a training as it was last taken, and the time of each stage."""

from dataclasses import dataclass, field
from pathlib import Path

from fromscratch.core.ledger import read_ledger

__all__ = ["StageTime", "Step", "Training", "read_times", "read_trainings"]


@dataclass(frozen=True)
class Step:
    """What the ledger says of one optimiser step; ``tokens`` counts from the start of the training."""

    step: int
    loss: float
    gradient_norm: float
    learning_rate: float
    tokens: int
    seconds: float


@dataclass
class Training:
    """The steps of a training stage in order, each as it was last taken, and where it was taken up after a stop."""

    steps: list[Step] = field(default_factory=list)
    resumed_at: list[int] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return sum(each.seconds for each in self.steps)

    @property
    def tokens(self) -> int:
        return self.steps[-1].tokens


@dataclass
class StageTime:
    """How long a stage worked, in seconds, and how often it was taken up again after a stop.

    What was lost with a killed process counts up to the last line that it left in the ledger.
    """

    seconds: float = 0.0
    resumed: int = 0
    finished: bool = False


def read_trainings(ledger: Path) -> dict[str, Training]:
    """The steps of each training stage as they stand at the end of the ledger. No ledger has none."""
    trainings: dict[str, Training] = {}
    taken_up: set[str] = set()
    for line in read_ledger(ledger) if ledger.exists() else ():
        if line["kind"] == "step":
            training = trainings.setdefault(line["stage"], Training())
            while training.steps and training.steps[-1].step >= line["step"]:  # what a crash lost and was done again
                training.steps.pop()
            if line["stage"] in taken_up:
                taken_up.remove(line["stage"])
                training.resumed_at.append(line["step"])
            training.steps.append(Step(**{name: line[name] for name in Step.__dataclass_fields__}))
        elif line["kind"] == "stage" and line["event"] == "begun":
            # A new start: an earlier attempt, perhaps with other settings, is not this one's.
            trainings.pop(line["stage"], None)
            taken_up.discard(line["stage"])
        elif line["kind"] == "stage" and line["event"] == "resumed":
            taken_up.add(line["stage"])
    return trainings


def read_times(ledger: Path) -> dict[str, StageTime]:
    """The time of each finished stage, in the order in which they were begun."""
    times: dict[str, StageTime] = {}
    started: dict[str, float] = {}
    last: dict[str, float] = {}
    for line in read_ledger(ledger) if ledger.exists() else ():
        stage = line.get("stage", "")
        if line["kind"] == "stage" and line["event"] == "begun":
            times[stage] = StageTime()
        elif line["kind"] == "stage" and line["event"] == "resumed":
            time = times.setdefault(stage, StageTime())
            time.seconds += last.get(stage, 0.0) - started.get(stage, 0.0)
            time.resumed += 1
        elif line["kind"] == "stage" and line["event"] == "finished":
            time = times.setdefault(stage, StageTime())
            time.seconds += line["seconds"]
            time.finished = True
        if line["kind"] == "stage" and line["event"] in ("begun", "resumed"):
            started[stage] = line["time"]
        last[stage] = line["time"]
    return {stage: time for stage, time in times.items() if time.finished}
