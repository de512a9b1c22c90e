"""The stages of a run, in order: what each reads, what is done already, what would be done again."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fromscratch.chat.dialogue_sources import dialogue_digests
from fromscratch.core.artifact import Artifact, Draft, Origin, begin_artifact, differences, open_artifact
from fromscratch.core.errors import FromScratchError
from fromscratch.core.files import write_json
from fromscratch.core.ledger import Ledger
from fromscratch.core.lock import run_lock
from fromscratch.core.progress import say
from fromscratch.core.stopping import stop_at_once
from fromscratch.core.workplace import Workplace
from fromscratch.corpus.comparison.against import against_digests
from fromscratch.corpus.readers.plan import source_digests
from fromscratch.parallel.layout import choose_layout, process_count, refuse_what_does_not_divide
from fromscratch.recipe import Recipe
from fromscratch.train.start import start_inputs

__all__ = ["STAGES", "Stage", "StageResult", "run_stages"]

StageFunction = Callable[..., Mapping[str, Any]]


@dataclass(frozen=True)
class Stage:
    """A function from finished artifacts and some sections of the recipe to a new artifact."""

    name: str
    inputs: tuple[str, ...]
    sections: tuple[str, ...]
    load: Callable[[], StageFunction]


@dataclass(frozen=True)
class StageResult:
    """A finished stage: its artifact, whether it had been there before, and the seconds that it took now."""

    artifact: Artifact
    kept: bool
    seconds: float


# Stage functions are imported when they are needed: what is done already needs no torch to be kept.
def _fetch() -> StageFunction:
    from fromscratch.corpus.fetching.fetch import fetch_packages

    return fetch_packages


def _corpus() -> StageFunction:
    from fromscratch.corpus.build import build_corpus

    return build_corpus


def _tokenizer() -> StageFunction:
    from fromscratch.tokenizer.train import train_tokenizer

    return train_tokenizer


def _tokens() -> StageFunction:
    from fromscratch.tokens.pack import pack_tokens

    return pack_tokens


def _pretrain() -> StageFunction:
    from fromscratch.train.pretrain import pretrain

    return pretrain


def _tune() -> StageFunction:
    from fromscratch.chat.tune import tune

    return tune


def _evaluate() -> StageFunction:
    from fromscratch.evaluate.score import evaluate

    return evaluate


def _release() -> StageFunction:
    from fromscratch.release.build import build_release

    return build_release


def _report() -> StageFunction:
    from fromscratch.release.report import write_report

    return write_report


MADE = ("fetch", "corpus", "tokenizer", "tokens", "pretrain", "tune", "evaluate")

STAGES = (
    Stage("fetch", (), ("packages",), _fetch),
    Stage("corpus", ("fetch",), ("packages", "corpus"), _corpus),
    Stage("tokenizer", ("corpus",), ("seed", "tokenizer"), _tokenizer),
    Stage("tokens", ("corpus", "tokenizer"), ("tokens",), _tokens),
    Stage("pretrain", ("tokens",), ("seed", "model", "pretrain"), _pretrain),
    Stage("tune", ("fetch", "corpus", "tokenizer", "pretrain"), ("seed", "packages", "tune"), _tune),
    Stage(
        "evaluate", ("corpus", "tokenizer", "tokens", "pretrain", "tune"), ("seed", "pretrain", "evaluate"), _evaluate
    ),
    Stage("release", MADE, ("name", "packages", "corpus", "release"), _release),
    Stage("report", (*MADE, "release"), ("name",), _report),
)


def run_stages(recipe: Recipe, run: Path, *, until: str = "report", redo: bool = False) -> dict[str, StageResult]:
    """Make what is missing of the stages up to ``until`` in the folder ``run``; keep what is done already.

    A finished stage whose settings or inputs changed is refused with a FromScratchError that names them, unless
    ``redo``. Raises Stopped on SIGINT and SIGTERM; the same call then goes on where it was. Under torchrun all this is
    done by process 0; the others help where they can, and are given no results.
    """
    stages = STAGES[: [stage.name for stage in STAGES].index(until) + 1]
    with _among_others() as leads:
        if not leads:
            return {}
        _refuse_what_cannot_be(recipe, [stage.name for stage in stages])
        with run_lock(run), stop_at_once() as stopping:
            if not redo:
                _refuse_changed_settings(recipe, run, stages)
            results: dict[str, StageResult] = {}
            with Ledger(run / "ledger" / "process-0.jsonl") as ledger:
                workplace = Workplace(recipe.machine, ledger)
                for stage in stages:
                    results[stage.name] = _run_stage(stage, recipe, run, results, workplace, redo)
                    say(_line(stage.name, results[stage.name]))
                    stopping.raise_if_asked()
            return results


@contextlib.contextmanager
def _among_others() -> Iterator[bool]:
    """Whether this process makes the stages. Under torchrun only the first does, and the others train with it."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield True
        return
    from fromscratch.parallel.launch import follow, release_followers

    if int(os.environ["RANK"]) > 0:
        if status := follow():
            raise SystemExit(status)
        yield False
        return
    try:
        yield True
    finally:
        release_followers()


def _run_stage(
    stage: Stage, recipe: Recipe, run: Path, results: Mapping[str, StageResult], workplace: Workplace, redo: bool
) -> StageResult:
    origin = _origin(stage, recipe, {name: results[name].artifact.digest for name in stage.inputs})
    path = run / stage.name
    made = open_artifact(path)
    if made is not None:
        changed = differences(made.origin, origin)
        if not changed:
            return StageResult(made, kept=True, seconds=0.0)
        if not redo:
            raise _would_redo(run, {stage.name: changed})
    for name in stage.inputs:
        if results[name].kept:  # what this very process wrote was digested on writing
            results[name].artifact.verify()
    started = time.monotonic()
    draft = begin_artifact(path, origin, redo=redo)
    workplace.ledger.append("stage", stage=stage.name, event="resumed" if draft.resumed else "begun")
    if draft.resumed:
        say(f"{stage.name:<10} goes on with what was begun")
    write_json(run / "recipe.json", recipe.model_dump(mode="json"))
    artifact = _make(stage, draft, recipe, results, workplace)
    seconds = time.monotonic() - started
    workplace.ledger.append(
        "stage", stage=stage.name, event="finished", seconds=round(seconds, 3), digest=artifact.digest
    )
    workplace.ledger.sync()
    return StageResult(artifact, kept=False, seconds=seconds)


def _make(
    stage: Stage, draft: Draft, recipe: Recipe, results: Mapping[str, StageResult], workplace: Workplace
) -> Artifact:
    inputs = {name: results[name].artifact for name in stage.inputs}
    sections = {name: getattr(recipe, name) for name in stage.sections}
    return draft.finish(stage.load()(draft, inputs, workplace, **sections))


def _origin(stage: Stage, recipe: Recipe, inputs: Mapping[str, str]) -> Origin:
    settings = recipe.model_dump(mode="json", include=set(stage.sections))
    if stage.name == "corpus":  # local files are inputs like any other
        examples = source_digests(recipe.corpus.examples, "corpus.examples")
        examples = {f"examples.{name}": each for name, each in examples.items()}
        earlier = against_digests(recipe.corpus.against)
        inputs = {**inputs, **source_digests(recipe.corpus.sources), **examples, **earlier}
    elif stage.name == "pretrain":
        inputs = {**inputs, **start_inputs(recipe.pretrain.init_from, recipe.model)}
    elif stage.name == "tune":
        inputs = {**inputs, **dialogue_digests(recipe.tune.dialogues)}
    return Origin(stage.name, settings, inputs)


def _refuse_what_cannot_be(recipe: Recipe, stages: Sequence[str]) -> None:
    """Before hours go into what a training needs that cannot be laid out, or for a release that cannot be written."""
    if "pretrain" in stages:
        start_inputs(recipe.pretrain.init_from, recipe.model)
        layout = choose_layout(recipe.machine.parallel, process_count(recipe.machine))
        for _, stage in recipe.pretrain.in_stages:
            sizes = stage.batch_sequences, stage.sequence_tokens, stage.micro_batch_sequences
            refuse_what_does_not_divide(layout, recipe.model, *sizes)
    if "release" not in stages:
        return
    for name, theirs in recipe.model.beyond_llama.items():
        raise FromScratchError(
            f"`model.{name}`: a release is a folder that plain Llama code loads, and that has {theirs}",
            "set it so, or go up to `fromscratch evaluate RECIPE`, which scores any model",
        )


def _refuse_changed_settings(recipe: Recipe, run: Path, stages: Sequence[Stage]) -> None:
    """Look at all stages before the first one starts: nobody wants to hear of a changed setting an hour later."""
    changed: dict[str, list[str]] = {}
    for stage in stages:
        made = open_artifact(run / stage.name)
        if made is not None:
            asked = Origin(stage.name, recipe.model_dump(mode="json", include=set(stage.sections)), made.origin.inputs)
            if found := differences(made.origin, asked):
                changed[stage.name] = found
    if changed:
        raise _would_redo(run, changed)


def _would_redo(run: Path, changed: Mapping[str, Sequence[str]]) -> FromScratchError:
    stale: list[str] = []
    for stage in STAGES:
        if stage.name in changed or any(name in stale for name in stage.inputs):
            stale.append(stage.name)
    first = next(iter(changed))
    return FromScratchError(
        f"{run}: stage `{first}` is finished with other settings: {'; '.join(changed[first][:3])}",
        f"add --redo to make again {', '.join(stale)}; or set it back; or choose another folder with --run",
    )


def _line(name: str, result: StageResult) -> str:
    summary = result.artifact.facts.get("summary", "")
    return f"{name:<10} {'kept' if result.kept else f'{result.seconds:,.1f} s':>9}  {summary}".rstrip()
