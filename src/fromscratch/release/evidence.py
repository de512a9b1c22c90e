"""What a finished run left behind, gathered from its artifacts and its ledger for the model card and the report."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fromscratch.anatomy.opening.open import open_checkpoint
from fromscratch.core.artifact import Artifact
from fromscratch.core.history import StageTime, Training, read_times, read_trainings

__all__ = ["Evidence", "gather", "resolved_recipe"]


@dataclass(frozen=True)
class Evidence:
    """Everything that the card and the report are written from. Nothing in it is measured again or rounded."""

    inputs: Mapping[str, Artifact]
    recipe: Mapping[str, Any]
    funnel: Mapping[str, Any]
    measure: Mapping[str, Any]
    index: Mapping[str, Any]
    model: Mapping[str, Any]
    parameters: int
    scores: Mapping[str, Any]
    trainings: Mapping[str, Training]
    times: Mapping[str, StageTime]


def gather(inputs: Mapping[str, Artifact], ledger: Path) -> Evidence:
    """Read what the stages wrote. Raises FromScratchError when the ledger's chain is broken."""
    weights = open_checkpoint(inputs["tune"].file("model.safetensors"))
    return Evidence(
        inputs=inputs,
        recipe=resolved_recipe(inputs.values()),
        funnel=_json(inputs["corpus"].file("funnel.json")),
        measure=_json(inputs["tokenizer"].file("measure.json")),
        index=_json(inputs["tokens"].file("index.json")),
        model=_json(inputs["tune"].file("model.json")),
        parameters=sum(math.prod(each.shape) for each in weights.tensors.values()),
        scores=_json(inputs["evaluate"].file("scores.json")),
        trainings=read_trainings(ledger),
        times={stage: time for stage, time in read_times(ledger).items() if stage in inputs},
    )


def resolved_recipe(stages: Iterable[Artifact]) -> dict[str, Any]:
    """The recipe's sections as the stages used them, defaults and overrides included."""
    sections: dict[str, Any] = {}
    for artifact in stages:
        sections.update(artifact.origin.settings)
    return {name: sections[name] for name in sorted(sections)}


def _json(path: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return value
