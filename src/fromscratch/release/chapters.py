"""The chapters of the report after the corpus: evidence put into sentences, rows and percentages for the template."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from fromscratch.core.artifact import Artifact
from fromscratch.core.history import Step, Training
from fromscratch.release.charts import Plot, Tick, line_plot, round_ticks
from fromscratch.release.evidence import Evidence
from fromscratch.release.funnel import funnel_chapter, sources_chapter
from fromscratch.release.tables import (
    BASELINES,
    answer_rows,
    dialogue_rows,
    group_rows,
    ordered_scores,
    score_row,
    shape_rows,
    training_text,
)
from fromscratch.release.usage import chat_snippet
from fromscratch.release.wording import (
    bits,
    by_language,
    bytes_text,
    change,
    count,
    duration,
    in_sentence,
    language_name,
    listed,
    share,
    short_count,
    signed,
)

__all__ = ["chapters"]

SECTIONS = (
    ("data", "Corpus"),
    ("sources", "Sources"),
    ("tokenizer", "Tokenizer"),
    ("training", "Training"),
    ("evaluation", "Held-out text"),
    ("answers", "Answers"),
    ("release", "Release"),
    ("record", "Record"),
)
CURVES = {"pretrain": "Pretraining", "tune": "Chat tuning"}
TONES = {"passed": "good", "refused": "bad", "not checked": "bad"}

Row = dict[str, Any]


def chapters(evidence: Evidence, release: Artifact, name: str) -> Row:
    """Everything that the template asks for, by the names that it uses."""
    gates = json.loads(release.file("record/gates.json").read_text(encoding="utf-8"))["gates"]
    model_name = json.loads(release.file("model/fromscratch.json").read_text(encoding="utf-8"))["name"]
    return {
        "name": model_name or name,
        "summary": _summary(evidence),
        "tiles": _tiles(evidence, gates),
        "sections": SECTIONS,
        "funnel": funnel_chapter(evidence.funnel),
        "sources": sources_chapter(evidence.funnel["sources"]),
        "tokenizer": _tokenizer(evidence.measure),
        "groups": {"rows": group_rows(evidence.index)},
        "training": _training(evidence),
        "evaluation": _evaluation(evidence.scores),
        "answers": {"rows": answer_rows(evidence.scores), "samples": evidence.scores["samples"]},
        "release": {"lead": _gates_in_words(gates), "gates": _gates(gates), "snippet": chat_snippet("release/model")},
        "record": _record(evidence),
    }


def _summary(evidence: Evidence) -> str:
    read, kept = evidence.funnel["steps"][0]["entered"], evidence.funnel["steps"][-1]["kept"]
    seconds = sum(each.seconds for each in evidence.times.values())
    took = f" in {duration(seconds)}" if seconds else ""
    leads = []
    for language, row in by_language(evidence.scores["by_language"]):
        fewer = "fewer" if row["model"] < row["bigram"] else "more"
        leads.append(f"{share(abs(row['bigram'] - row['model']), row['bigram'])} {fewer} in {in_sentence(language)}")
    return (
        f"A chat model of {short_count(evidence.parameters)} parameters in the layout of Llama, made from nothing but "
        f"{bytes_text(read['bytes'])} of raw text{took}; {bytes_text(kept['bytes'])} of it were kept. "
        f"Bits per byte of held-out text, against a bigram model of the same tokens: {', '.join(leads)}."
    )


def _tiles(evidence: Evidence, gates: Sequence[Mapping[str, Any]]) -> list[Row]:
    read, kept = evidence.funnel["steps"][0]["entered"], evidence.funnel["steps"][-1]["kept"]
    pool = sum(group["train"]["tokens"] for group in evidence.index["groups"].values())
    trained = evidence.scores["trained_tokens"]
    tiles = [
        _tile("Model", short_count(evidence.parameters), "parameters, LlamaForCausalLM"),
        _tile("Corpus", bytes_text(kept["bytes"]), f"kept of {bytes_text(read['bytes'])} that were read"),
        _tile("Trained on", f"{short_count(trained)} tokens", f"{trained / max(1, pool):.2f} passes over the corpus"),
    ]
    tiles += [
        _tile(
            f"{language_name(language)}, bits per byte",
            bits(row["model"]),
            f"bigram {bits(row['bigram'])}: {change(row['model'], row['bigram'])}",
            "bad" if row["model"] >= row["bigram"] else "good",
        )
        for language, row in by_language(evidence.scores["by_language"])
    ]
    agreed = evidence.scores["language_of_answers"].values()
    if asked := sum(each["asked"] for each in agreed):
        same = sum(each["same_language"] for each in agreed)
        tiles.append(_tile("Answers", share(same, asked), "in the language of the question"))
    passed = sum(each["verdict"] == "passed" for each in gates)
    tiles.append(
        _tile("Gates", f"{passed} of {len(gates)}", "passed by the release", "good" if passed == len(gates) else "bad")
    )
    if seconds := sum(each.seconds for each in evidence.times.values()):
        tiles.append(_tile("Whole run", duration(seconds), "working time of all stages"))
    return tiles


def _tile(label: str, value: str, note: str, tone: str = "") -> Row:
    return {"label": label, "value": value, "note": note, "tone": tone}


def _tokenizer(measure: Mapping[str, Any]) -> Row:
    languages = by_language(measure["by_language"])
    best = max((row["bytes_per_token"] for _, row in languages), default=1)
    return {
        "lead": (
            f"Byte-level BPE with {count(measure['pieces'])} pieces, measured on held-out documents. "
            "More bytes per token means shorter sequences for the same text; a Han character takes three bytes."
        ),
        "rows": [
            {
                "title": language_name(language),
                "bytes_per_token": f"{row['bytes_per_token']:.2f}",
                "percent": f"{100 * row['bytes_per_token'] / best:.1f}",
                "bytes": bytes_text(row["bytes"]),
                "tokens": count(row["tokens"]),
                "per_han_character": _optional(row["tokens_per_han_character"], "{:.2f}"),
                "pieces_used": count(row["pieces_used"]),
                "longest": measure["longest_pieces"].get(language, [])[:6],
            }
            for language, row in languages
        ],
    }


def _training(evidence: Evidence) -> Row:
    return {
        "lead": training_text(evidence),
        "shape": shape_rows(evidence),
        "dialogues": dialogue_rows(evidence),
        "curves": [
            _curves(title, evidence.trainings[stage], evidence.inputs[stage].facts)
            for stage, title in CURVES.items()
            if stage in evidence.trainings and len(evidence.trainings[stage].steps) > 1
        ],
    }


def _curves(title: str, training: Training, facts: Mapping[str, Any]) -> Row:
    steps = training.steps
    resumed = sorted(set(training.resumed_at))
    note = (
        f"{count(len(steps))} steps, {short_count(training.tokens)} tokens with a loss, {duration(training.seconds)}, "
        f"{count(training.tokens / max(1e-9, training.seconds))} tokens a second"
        f"{_place(facts)}. "
        "The pale band holds every step, spikes included; the line is a trimmed mean of neighbouring steps."
    )
    if resumed:
        note += f" Dashed lines: taken up again after a stop, at step {', '.join(map(count, resumed))}."
    worst = max(steps, key=lambda each: each.gradient_norm)
    charts = [
        (
            _plot("Loss, nats per token", steps, "loss", resumed, log=True),
            f"first {steps[0].loss:.3f} · mean of the last {len(_tail(steps))} steps {_tail_mean(steps):.3f}",
        ),
        (
            _plot("Learning rate", steps, "learning_rate", resumed, smooth=False),
            f"peak {max(each.learning_rate for each in steps):.2g}",
        ),
        (
            _plot("Gradient norm before clipping", steps, "gradient_norm", resumed, log=True),
            f"greatest {worst.gradient_norm:.3g} at step {count(worst.step)}",
        ),
    ]
    return {"title": title, "note": note, "charts": [{"plot": plot, "note": text} for plot, text in charts if plot]}


def _place(facts: Mapping[str, Any]) -> str:
    """On what a training ran, as its stage says."""
    if "device" not in facts:
        return ""
    threads = f"{facts['threads']} {'thread' if facts['threads'] == 1 else 'threads'} of the CPU"
    return f" on {threads if facts['device'] == 'cpu' else facts['device']} in {facts['precision']}"


def _plot(
    title: str, steps: Sequence[Step], field: str, marks: Sequence[int], *, log: bool = False, smooth: bool = True
) -> Plot | None:
    points = [(float(each.step), float(getattr(each, field))) for each in steps]
    return line_plot(title, points, log=log, smooth=smooth, marks=marks)


def _tail(steps: Sequence[Step]) -> Sequence[Step]:
    return steps[-max(10, len(steps) // 50) :]


def _tail_mean(steps: Sequence[Step]) -> float:
    return sum(each.loss for each in _tail(steps)) / len(_tail(steps))


def _evaluation(scores: Mapping[str, Any]) -> Row:
    languages, ordered = by_language(scores["by_language"]), ordered_scores(scores)
    most = max((row["uniform"] for _, row, _ in ordered), default=1.0) * 1.02
    return {
        "lead": (
            "Bits that the model needs for a byte of text that it never saw, beside three baselines with the same "
            f"tokenizer, fitted on exactly the {short_count(scores['trained_tokens'])} tokens that it was trained on. "
            f"{_verdict(languages)}"
        ),
        "rows": [{**score_row(title, row, is_language), **_dots(row, most)} for title, row, is_language in ordered],
        "ticks": [Tick(100 * each / most, f"{each:g}") for each in round_ticks(0, most)],
        "note": _evaluation_note(languages, scores["bits_per_byte"]),
    }


def _verdict(languages: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    ahead = [in_sentence(code) for code, row in languages if row["model"] < row["bigram"]]
    behind = [in_sentence(code) for code, row in languages if row["model"] >= row["bigram"]]
    if not ahead:
        return f"It does not beat the bigram in {listed(behind)}."
    return f"It beats the bigram in {listed(ahead)}" + (f", but not in {listed(behind)}." if behind else ".")


def _dots(row: Mapping[str, float], most: float) -> Row:
    """Places on the axis from 0 to ``most``, in percent."""
    low, high = sorted((row["model"], row["bigram"]))
    return {
        "from_at": f"{100 * low / most:.2f}",
        "wide": f"{100 * (high - low) / most:.2f}",
        "dots": [
            {"name": name, "at": f"{100 * row[name] / most:.2f}", "value": bits(row[name])}
            for name in (*BASELINES, "model")
        ],
    }


def _evaluation_note(languages: Sequence[tuple[str, Mapping[str, Any]]], by_group: Mapping[str, Any]) -> str:
    parts = []
    if all(row.get("standard_error") for _, row in languages):
        leads = [
            f"{in_sentence(code)} {signed(row['bigram'] - row['model'])} ± {row['standard_error']:.3f}"
            for code, row in languages
        ]
        parts.append(f"Lead over the bigram in bits per byte, with its standard error over documents: {listed(leads)}.")
    own = {group: row for group, row in by_group.items() if "bigram_own_group" in row}
    if own:
        behind = [group for group, row in own.items() if row["model"] >= row["bigram_own_group"]]
        parts.append(
            "A bigram fitted on all training text of one group alone, which no other text dilutes, is a harder "
            f"baseline: the model beats it in {len(own) - len(behind)} of {len(own)} groups"
            + (f", not in {listed(behind)}." if 0 < len(behind) < len(own) else ".")
        )
    return " ".join(parts)


def _gates_in_words(gates: Sequence[Mapping[str, Any]]) -> str:
    unchecked = [each["title"] for each in gates if each["verdict"] == "not checked"]
    text = (
        "The released folder was loaded back by plain `transformers`, in a process of its own, offline and without "
        "remote code, and compared with the model that was trained."
    )
    if unchecked:
        text = f"Not all of the release was checked: {'; '.join(unchecked)}."
    return text.replace("`", "")


def _gates(gates: Sequence[Mapping[str, Any]]) -> list[Row]:
    return [{**each, "tone": TONES[each["verdict"]]} for each in gates]


def _record(evidence: Evidence) -> Row:
    total = sum(each.seconds for each in evidence.times.values())
    times, left = [], 0.0
    for stage, time in evidence.times.items():
        times.append(_time_row(stage, time.seconds, left, total))
        left += time.seconds
    resumed = [f"{stage} ({each.resumed}×)" for stage, each in evidence.times.items() if each.resumed]
    if times:
        times.append({**_time_row("all", total, 0.0, total), "is_sum": True})
    return {
        "lead": "What a stage made is known by its digest, and each stage names the digests of what it was made from.",
        "times": times,
        "time_note": f"Taken up again after a stop: {listed(resumed)}." * bool(resumed),
        "stages": [
            {
                "name": each.origin.kind,
                "digest": each.digest,
                "code": f"{each.manifest['code']['version']} · {each.manifest['code']['digest'][:12]}",
            }
            for each in evidence.inputs.values()
        ],
    }


def _time_row(title: str, seconds: float, left: float, total: float) -> Row:
    percent = 100 / total if total else 0
    return {
        "title": title,
        "text": duration(seconds),
        "left": f"{left * percent:.2f}",
        "percent": f"{seconds * percent:.2f}",
        "is_sum": False,
    }


def _optional(value: float | None, form: str) -> str:
    return "–" if value is None else form.format(value)
