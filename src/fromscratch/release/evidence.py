"""What a finished run left behind, gathered from its artifacts and its ledger for the model card and the report."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fromscratch.core.artifact import Artifact
from fromscratch.core.ledger import read_ledger
from fromscratch.release.weights import TensorEntry, read_header

__all__ = [
    "Evidence",
    "StageTime",
    "Step",
    "Training",
    "gather",
    "read_ledger_evidence",
    "resolved_recipe",
]


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
    """How long a stage worked, in seconds, and how often it was taken up again after a stop."""

    seconds: float = 0.0
    resumed: int = 0
    finished: bool = False


@dataclass(frozen=True)
class Evidence:
    """Everything that the card and the report are written from. Nothing in it is measured again or rounded."""

    inputs: Mapping[str, Artifact]
    recipe: Mapping[str, Any]
    funnel: Mapping[str, Any]
    measure: Mapping[str, Any]
    index: Mapping[str, Any]
    model: Mapping[str, Any]
    tensors: Sequence[TensorEntry]
    scores: Mapping[str, Any]
    trainings: Mapping[str, Training]
    times: Mapping[str, StageTime]

    @property
    def parameters(self) -> int:
        return sum(each.parameters for each in self.tensors)


def gather(inputs: Mapping[str, Artifact], ledger: Path) -> Evidence:
    """Read what the stages wrote. Raises FromScratchError when the ledger's chain is broken."""
    trainings, times = read_ledger_evidence(ledger)
    return Evidence(
        inputs=inputs,
        recipe=resolved_recipe(inputs.values()),
        funnel=_json(inputs["corpus"].file("funnel.json")),
        measure=_json(inputs["tokenizer"].file("measure.json")),
        index=_json(inputs["tokens"].file("index.json")),
        model=_json(inputs["tune"].file("model.json")),
        tensors=read_header(inputs["tune"].file("model.safetensors")),
        scores=_json(inputs["evaluate"].file("scores.json")),
        trainings=trainings,
        times=times,
    )


def resolved_recipe(stages: Iterable[Artifact]) -> dict[str, Any]:
    """The recipe's sections as the stages used them, defaults and overrides included."""
    sections: dict[str, Any] = {}
    for artifact in stages:
        sections.update(artifact.origin.settings)
    return {name: sections[name] for name in sorted(sections)}


def read_ledger_evidence(path: Path) -> tuple[dict[str, Training], dict[str, StageTime]]:
    """The steps and the times of each stage, by its name, as they stand at the end of the ledger."""
    trainings: dict[str, Training] = {}
    times: dict[str, StageTime] = {}
    taken_up: set[str] = set()
    for line in read_ledger(path) if path.exists() else ():
        if line["kind"] == "step":
            training = trainings.setdefault(line["stage"], Training())
            while training.steps and training.steps[-1].step >= line["step"]:  # what a crash lost and was done again
                training.steps.pop()
            if line["stage"] in taken_up:
                taken_up.remove(line["stage"])
                training.resumed_at.append(line["step"])
            training.steps.append(Step(**{name: line[name] for name in Step.__dataclass_fields__}))
        elif line["kind"] == "stage":
            stage, event = line["stage"], line["event"]
            if event == "begun":  # a new start: an earlier attempt, perhaps with other settings, is not this one's
                times[stage] = StageTime()
                trainings.pop(stage, None)
                taken_up.discard(stage)
            elif event == "resumed":
                times.setdefault(stage, StageTime()).resumed += 1
                taken_up.add(stage)
            elif event == "finished":
                times.setdefault(stage, StageTime()).seconds = line["seconds"]
                times[stage].finished = True
    return trainings, times


def _json(path: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return value
