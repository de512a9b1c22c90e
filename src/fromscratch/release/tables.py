"""Rows that the model card and the report share: every number as the artifacts have it, written for people."""

from collections.abc import Mapping
from typing import Any

from fromscratch.release.evidence import Evidence
from fromscratch.release.funnel import reason_text
from fromscratch.release.wording import bits, by_language, bytes_text, change, count, language_name, share

__all__ = [
    "BASELINES",
    "answer_rows",
    "dialogue_rows",
    "group_rows",
    "ordered_scores",
    "score_row",
    "shape_rows",
    "training_text",
]

BASELINES = ("uniform", "unigram", "bigram")
OPTIMIZERS = {"adamw": "AdamW", "muon": "Muon for the hidden matrices and AdamW for the rest"}

Row = dict[str, Any]


def shape_rows(evidence: Evidence) -> list[tuple[str, str]]:
    """What the model is, term by term."""
    shape = evidence.model["settings"]
    return [
        ("Parameters", count(evidence.parameters)),
        ("Layers", count(shape["layers"])),
        ("Width", count(shape["width"])),
        ("Heads, query / key-value", f"{shape['heads']} / {shape['kv_heads']}"),
        ("SwiGLU width", count(shape["ffn_width"])),
        ("Context", f"{count(shape['context_tokens'])} tokens"),
        ("RoPE base", f"{shape['positions']['base']:,.0f}"),
        ("Vocabulary", count(evidence.model["vocabulary"])),
        ("Head", shape["head"]),
    ]


def training_text(evidence: Evidence) -> str:
    """How it was trained, in a sentence or two, without times."""
    pretrain, tune = evidence.recipe["pretrain"], evidence.recipe["tune"]
    per_step = pretrain["batch_sequences"] * pretrain["sequence_tokens"]
    later = pretrain.get("stages", ())
    first = f", in the first of {len(later) + 1} stages," if later else ""
    return (
        f"Pretraining took {count(pretrain['steps'])} steps of {count(per_step)} tokens "
        f"({pretrain['batch_sequences']} sequences of {pretrain['sequence_tokens']}){first} with {_method(pretrain)}. "
        f"Chat tuning took {count(tune['steps'])} steps of {tune['batch_sequences']} conversations with "
        f"{_method(tune)}, and with loss on the responses only."
    )


def group_rows(index: Mapping[str, Any]) -> list[Row]:
    """Documents and tokens of each group, the largest first, and their sum."""
    groups = sorted(index["groups"].items(), key=lambda pair: (-pair[1]["train"]["tokens"], pair[0]))
    total = {
        split: {unit: sum(group[split][unit] for _, group in groups) for unit in ("documents", "bytes", "tokens")}
        for split in ("train", "heldout")
    }
    return [
        {
            "name": name,
            "is_total": group is total,
            "documents": count(group["train"]["documents"]),
            "bytes": bytes_text(group["train"]["bytes"]),
            "tokens": count(group["train"]["tokens"]),
            "share": share(group["train"]["tokens"], total["train"]["tokens"]),
            "heldout_documents": count(group["heldout"]["documents"]),
            "heldout_tokens": count(group["heldout"]["tokens"]),
        }
        for name, group in [*groups, ("All", total)]
    ]


def dialogue_rows(evidence: Evidence) -> list[Row]:
    """What chat tuning learnt from, the largest share first."""
    sources: Mapping[str, Mapping[str, Any]] = evidence.inputs["tune"].facts["dialogues"]
    return [
        {
            "name": name,
            "conversations": count(each["conversations"]),
            "learnt_tokens": count(each["learnt_tokens"]),
            "share": share(each["share"], 1),
            "passes": f"{each['passes']:.2g}",
            "dropped": ", ".join(f"{reason_text(reason)} {count(lost)}" for reason, lost in each["dropped"].items()),
        }
        for name, each in sorted(sources.items(), key=lambda pair: (-pair[1]["share"], pair[0]))
    ]


def ordered_scores(scores: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any], bool]]:
    """Title, scores, and whether it is a language: each language, followed by its domains where it has several."""
    ordered: list[tuple[str, Mapping[str, Any], bool]] = []
    for language, row in by_language(scores["by_language"]):
        ordered.append((language_name(language), row, True))
        inner = {
            group.partition("/")[2]: each
            for group, each in sorted(scores["bits_per_byte"].items())
            if group.partition("/")[0] == language
        }
        if len(inner) > 1:
            ordered += [(domain, each, False) for domain, each in inner.items()]
    return ordered


def score_row(title: str, row: Mapping[str, Any], is_language: bool) -> Row:
    """Bits per byte of one line of the table, and how far the base model is from the bigram."""
    return {
        "title": title,
        "is_language": is_language,
        "is_behind": row["model"] >= row["bigram"],
        "margin": change(row["model"], row["bigram"]),
        "bytes": bytes_text(row["bytes"]),
        "documents": count(row["documents"]),
        **{name: bits(row[name]) for name in (*BASELINES, "model", "chat_model")},
    }


def answer_rows(scores: Mapping[str, Any]) -> list[Row]:
    """How many questions of each language were answered in it."""
    return [
        {
            "title": language_name(language),
            "asked": count(each["asked"]),
            "same": count(each["same_language"]),
            "share": share(each["same_language"], each["asked"]),
            "percent": f"{100 * each['same_language'] / each['asked']:.1f}",
        }
        for language, each in by_language(scores["language_of_answers"])
        if each["asked"]
    ]


def _method(settings: Mapping[str, Any]) -> str:
    kind, schedule = settings["optimizer"]["kind"], settings["schedule"]["kind"].replace("_", "-")
    return f"{OPTIMIZERS.get(kind, kind)} under a {schedule} schedule"
