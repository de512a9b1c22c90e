"""What a run's ledgers tell as an account: what happened in which order, and where the time of a training went."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from heapq import merge
from pathlib import Path
from typing import Any

from fromscratch.core.errors import FromScratchError
from fromscratch.core.ledger import read_ledger

__all__ = ["KINDS", "TimeSpent", "account_page", "goodput_page", "merged_lines", "time_spent"]

KINDS = {
    "training": "steps that count",
    "checkpoint": "the loop waited for a checkpoint",
    "restarting": "from a failure until steps were finished again",
    "repeating": "steps that had been finished before, and were lost",
    "evaluating": "validation",
    "idle": "nobody was there, or what is left: starting, writing the model",
}
QUIET = ("step", "checkpoint", "worked")  # told by their number, not line by line


@dataclass
class TimeSpent:
    """Where the wall-clock seconds of one training stage went, from its beginning to its last line."""

    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(KINDS, 0.0))
    steps: int = 0
    """Steps finished in the end."""
    repeated_steps: int = 0
    checkpoints: int = 0
    restarts: int = 0
    """By itself, or by the command that was given again."""
    causes: Counter[str] = field(default_factory=Counter)
    """Of failures, in the words of the ledger."""

    @property
    def total_seconds(self) -> float:
        return sum(self.seconds.values())

    @property
    def effective_share(self) -> float:
        """The share of the time that went into steps that count."""
        return self.seconds["training"] / self.total_seconds if self.total_seconds else 0.0

    def as_json(self) -> dict[str, Any]:
        return {
            "seconds": {kind: round(seconds, 3) for kind, seconds in self.seconds.items()},
            "total_seconds": round(self.total_seconds, 3),
            "effective_share": round(self.effective_share, 5),
            "steps": self.steps,
            "repeated_steps": self.repeated_steps,
            "checkpoints": self.checkpoints,
            "restarts": self.restarts,
            "causes": dict(self.causes),
        }


def merged_lines(run: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The lines of all processes in order of time, each with its file's name; every chain is checked on the way.

    Raises FromScratchError for a folder without ledgers, and names the first line of a chain that is broken.
    """
    files = sorted((run / "ledger").glob("process-*.jsonl"))
    if not files:
        raise FromScratchError(f"{run}: no ledger is here", "name the folder of a run, such as runs/demo")
    streams = [[(file.name, line) for line in read_ledger(file)] for file in files]
    return merge(*streams, key=lambda each: each[1]["time"])


def time_spent(run: Path) -> dict[str, TimeSpent]:
    """By training stage. Process 0 speaks for all, as they move in step."""
    file = run / "ledger" / "process-0.jsonl"
    if not file.exists():
        raise FromScratchError(f"{run}: no ledger is here", "name the folder of a run, such as runs/demo")
    found: dict[str, _Clock] = {}
    stage = None
    for line in read_ledger(file):
        if line["kind"] == "stage" and line["event"] == "begun":
            found.pop(line["stage"], None)  # an earlier attempt is not this one's
        if line["kind"] == "stage":
            stage = line["stage"]
            clock = found.setdefault(stage, _Clock(line["time"]))
        if stage is not None:
            clock = found[stage]
            clock.hear(line)
            if line["kind"] == "stage" and line["event"] == "finished":
                stage = None
    return {stage: clock.spent for stage, clock in found.items() if clock.spent.steps}


@dataclass
class _Clock:
    """Gives each stretch of time between two lines to what the second one ends."""

    last: float
    spent: TimeSpent = field(default_factory=TimeSpent)
    recovering: bool = False

    def hear(self, line: Mapping[str, Any]) -> None:
        gap, self.last = max(0.0, line["time"] - self.last), line["time"]
        kind = line["kind"]
        match kind:
            case "step":
                self._step(line, gap)
            case "checkpoint" | "checkpoint_failed":
                self.spent.checkpoints += kind == "checkpoint"
                waited = min(gap, line.get("waited_seconds", gap))
                self._give(checkpoint=waited, idle=gap - waited)
            case "validation":
                self._give(evaluating=gap)
            case "failed":
                self.spent.causes[line["cause"]] += 1
                self.recovering = True
                self._give(restarting=gap)
            case "restart":
                self.spent.restarts += 1
                self._give(restarting=gap)
            case "stage" if line["event"] == "resumed":
                self.spent.restarts += 1
                self.recovering = True
                self._give(idle=gap)  # from the last sign of the one that was stopped
            case _:
                self._give(**{"restarting" if self.recovering else "idle": gap})

    def _step(self, line: Mapping[str, Any], gap: float) -> None:
        seconds = min(gap, line["seconds"])
        again = line["step"] <= self.spent.steps
        self.spent.repeated_steps += again
        self.spent.steps = max(self.spent.steps, line["step"])
        self._give(**{"repeating" if again else "training": seconds})
        self._give(**{"restarting" if self.recovering else "idle": gap - seconds})
        self.recovering = False

    def _give(self, **seconds: float) -> None:
        for kind, each in seconds.items():
            self.spent.seconds[kind] += each


def goodput_page(spent: Mapping[str, TimeSpent]) -> str:
    """Effective time by stage, and what the rest of it was, in lines for a terminal."""
    lines = []
    for stage, each in spent.items():
        lines.append(f"{stage}: {each.effective_share:.1%} of {each.total_seconds:,.1f} s went into steps that count")
        for kind, text in KINDS.items():
            share = each.seconds[kind] / each.total_seconds if each.total_seconds else 0.0
            lines.append(f"  {kind:<11}{each.seconds[kind]:>12,.1f} s {share:>7.1%}  {text}")
        lines.append(
            f"  {each.steps:,} steps, {each.repeated_steps:,} of them repeated; {each.checkpoints:,} checkpoints; "
            f"{each.restarts:,} restarts"
        )
        lines += [f"  {count:>5} × {cause}" for cause, count in each.causes.most_common()]
    return "\n".join(lines) or "no training has finished a step here"


def account_page(lines: Iterator[tuple[str, Mapping[str, Any]]]) -> str:
    """Every event in a line, and runs of steps and checkpoints as one."""
    told: list[str] = []
    quiet: Counter[str] = Counter()
    files: set[str] = set()
    count = 0
    for file, line in lines:
        files.add(file)
        count += 1
        if line["kind"] in QUIET:
            quiet[f"{file.removesuffix('.jsonl')}: {line['kind']}"] += 1
            continue
        told += _numbers(quiet)
        quiet.clear()
        moment = datetime.fromtimestamp(line["time"], UTC).strftime("%Y-%m-%d %H:%M:%S")
        facts = {name: value for name, value in line.items() if name not in ("kind", "time", "previous", "hash")}
        words = ", ".join(f"{name} {_short(value)}" for name, value in facts.items() if value not in (None, "", {}))
        told.append(f"{moment}  {file.removesuffix('.jsonl'):<10}  {line['kind']:<20} {words}")
    told += _numbers(quiet)
    return "\n".join([*told, f"{count:,} lines of {len(files)} processes, every one chained to the one before"])


def _numbers(quiet: Counter[str]) -> list[str]:
    return [
        f"{'':<19}  {name.partition(': ')[0]:<10}  {name.partition(': ')[2]:<20} × {n:,}" for name, n in quiet.items()
    ]


def _short(value: Any) -> str:
    text = str(value).partition("\n")[0]
    return text if len(text) <= 60 else text[:57] + "…"
