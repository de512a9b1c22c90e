"""A made-up run: complete artifacts with figures like those of the demo, for whatever writes about a run."""

import json
import math
import os
import random
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fromscratch.core.artifact import Artifact, Origin, begin_artifact
from fromscratch.core.files import write_json
from fromscratch.core.ledger import Ledger


@dataclass(frozen=True)
class MadeRun:
    """The artifacts of all stages but the report, and the ledger."""

    folder: Path
    inputs: Mapping[str, Artifact]

    @property
    def ledger(self) -> Path:
        return self.folder / "ledger" / "process-0.jsonl"


def size(documents: int, megabytes: float) -> dict[str, int]:
    return {"documents": documents, "bytes": int(megabytes * 1e6)}


LANGUAGES = {  # kept by language after a step: documents, megabytes
    "read": {
        "en": (56_002, 41.0),
        "zh": (34_120, 14.6),
        "code": (21_030, 55.3),
        "fr": (4_911, 6.1),
        "es": (2_929, 4.1),
    },
    "extract": {
        "en": (55_800, 31.9),
        "zh": (34_115, 13.3),
        "code": (21_030, 47.9),
        "fr": (4_911, 4.1),
        "es": (2_929, 3.0),
    },
    "language": {"en": (52_480, 30.2), "zh": (33_902, 13.1), "code": (21_004, 47.9)},
    "quality": {"en": (49_812, 27.9), "zh": (31_377, 12.4), "code": (19_890, 40.2)},
    "exact duplicates": {"en": (48_102, 27.1), "zh": (30_901, 12.1), "code": (18_873, 38.8)},
    "near duplicates": {"en": (44_950, 25.3), "zh": (28_013, 10.4), "code": (17_240, 35.6)},
}
STEPS = (
    ("read", (119_004, 121.4), {"unreadable": (12, 0.3)}),
    ("extract", (118_992, 121.1), {"markup": (0, 20.9), "empty_page": (207, 0.0)}),
    ("language", (118_785, 100.2), {"wrong_language": (11_288, 8.6), "low_confidence": (111, 0.4)}),
    (
        "quality",
        (107_386, 91.2),
        {
            "too_short": (3_905, 0.4),
            "too_repetitive": (901, 5.2),
            "symbols": (488, 2.1),
            "long_lines": (210, 2.3),
            "too_few_letters": (603, 0.6),
            "minified": (200, 0.1),
        },
    ),
    ("exact duplicates", (101_079, 80.5), {"exact_duplicate": (3_203, 2.5)}),
    ("near duplicates", (97_876, 78.0), {"near_duplicate": (7_673, 6.7)}),
)
SOURCES = {
    "wikipedia_en": ("CC-BY-SA-4.0", 10_033, 5.03, 9_810, 4.8),
    "wikipedia_fr": ("CC-BY-SA-4.0", 8_300, 3.82, 0, 0.0),
    "shakespeare": ("LicenseRef-public-domain", 420, 6.79, 399, 6.1),
    "aws_docs": ("Apache-2.0", 28_222, 15.85, 24_001, 9.9),
    "django_docs": ("BSD-3-Clause", 1_210, 6.15, 1_066, 5.2),
    "django_code": ("BSD-3-Clause", 6_003, 19.8, 5_422, 14.0),
    "novel": ("LicenseRef-public-domain", 120, 1.79, 120, 1.79),
    "idioms": ("MIT", 30_894, 8.0, 25_704, 6.9),
    "tencent_docs": ("Apache-2.0", 8_117, 3.94, 3_016, 1.8),
    "tencent_code": ("Apache-2.0", 3_810, 13.5, 3_100, 8.4),
    "pygments_examples": ("BSD-2-Clause", 1_905, 9.84, 1_711, 8.0),
    "standard_library": ("PSF-2.0", 1_970, 12.15, 1_801, 4.4),
    "aiml": ("GPL-3.0-or-later", 18_000, 0.97, 13_053, 0.4),
}
BITS = {  # documents, bytes, tokens, uniform, unigram, bigram, model, chat model
    "code/code": (312, 702_114, 214_003, 3.951, 2.874, 2.203, 1.702, 1.951),
    "en/books": (9, 190_332, 51_220, 3.489, 2.503, 2.061, 1.894, 1.961),
    "en/encyclopedia": (104, 62_005, 15_204, 3.178, 2.411, 2.188, 2.201, 2.214),
    "en/technical": (401, 193_201, 43_870, 2.944, 2.102, 1.630, 1.311, 1.402),
    "zh/books": (2, 61_090, 23_777, 5.047, 3.401, 2.998, 2.790, 2.871),
    "zh/dictionary": (512, 127_043, 45_032, 4.596, 3.098, 2.412, 2.035, 2.099),
    "zh/technical": (31, 44_870, 12_020, 3.474, 2.300, 1.710, 1.402, 1.498),
}


def made_funnel() -> dict[str, Any]:
    steps = []
    for step, entered, dropped in STEPS:
        losses = {reason: size(*each) for reason, each in dropped.items()}
        whole = size(*entered)
        steps.append(
            {
                "step": step,
                "entered": whole,
                "kept": {unit: whole[unit] - sum(each[unit] for each in losses.values()) for unit in whole},
                "dropped": losses,
                "kept_by_language": {language: size(*each) for language, each in LANGUAGES[step].items()},
            }
        )
    sources = {
        name: {
            "license": license_,
            **size(documents, read),
            "kept_documents": kept_documents,
            "kept_bytes": int(kept * 1e6),
        }
        for name, (license_, documents, read, kept_documents, kept) in SOURCES.items()
    }
    unreadable = [
        {"place": "broken-1.0-py3-none-any.whl!data/page.warc.gz#17", "why": "the record ends before its length"},
        {"place": "broken-1.0-py3-none-any.whl!data/<b>odd & old</b>.html", "why": "no text in any known encoding"},
    ]
    return {"steps": steps, "sources": sources, "unreadable": unreadable}


def made_measure() -> dict[str, Any]:
    rows = {"code": (702_114, 214_003, 0), "en": (445_538, 110_294, 0), "zh": (233_003, 80_829, 74_020)}
    longest = {
        "code": ["                    ", "requirements", "representation", "implementation", "initialization"],
        "en": [" configuration", " authentication", " corresponding", " information", " administrator"],
        "zh": ["出自《", "的意思。", "形容人", "比喻", "腾讯云"],
    }
    return {
        "pieces": 8000,
        "by_language": {
            language: {
                "documents": 500,
                "bytes": total,
                "tokens": tokens,
                "bytes_per_token": round(total / tokens, 4),
                "han_characters": han,
                "tokens_per_han_character": 0.7102 if han else None,
                "pieces_used": 7_204 - han // 50,
            }
            for language, (total, tokens, han) in rows.items()
        },
        "by_group": {},
        "longest_pieces": longest,
    }


def made_index() -> dict[str, Any]:
    groups = {}
    for group, (documents, total, tokens, *_) in BITS.items():
        held = {"documents": documents, "bytes": total, "tokens": tokens, "shards": []}
        groups[group] = {
            "heldout": held,
            "train": {"documents": documents * 96, "bytes": total * 98, "tokens": tokens * 97, "shards": []},
        }
    return {"vocabulary": 8000, "end_of_document": 2, "groups": groups}


def made_scores() -> dict[str, Any]:
    names = ("documents", "bytes", "tokens", "uniform", "unigram", "bigram", "model", "chat_model")
    by_group = {group: dict(zip(names, row, strict=True)) for group, row in BITS.items()}
    by_language: dict[str, dict[str, Any]] = {}
    for language in ("code", "en", "zh"):
        rows = [row for group, row in by_group.items() if group.startswith(f"{language}/")]
        sums = {name: sum(row[name] for row in rows) for name in names[:3]}
        weighed = {name: round(sum(row[name] * row["bytes"] for row in rows) / sums["bytes"], 5) for name in names[3:]}
        by_language[language] = {**sums, **weighed, "standard_error": 0.0061}
    for row in by_group.values():
        row["bigram_own_group"] = round(row["bigram"] - 0.05, 5)
        row["standard_error"] = 0.0123
    samples = [
        ("What is a river?", "A river is a natural stream of water that flows to the sea.", "en", True),
        ("Hello, how are you?", "I am fine, thank you. How can I help you?", "en", True),
        ("Tell me a <b>joke</b>.", "Why did the chicken cross the " + "road " * 22, "en", False),
        ("你好！", "你好，我是你的朋友。", "zh", True),
        ("“画蛇添足”是什么意思？", "比喻做了多余的事，非但无益，反而不合适。也比喻虚构事实，无中生有。", "zh", True),
        ("曹操是谁？", "", None, True),
    ]
    return {
        "bits_per_byte": by_group,
        "by_language": by_language,
        "trained_tokens": 24_576_000,
        "language_of_answers": {
            "en": {"asked": 40, "same_language": 40},
            "zh": {"asked": 40, "same_language": 39},
        },
        "samples": [
            {"prompt": prompt, "answer": answer, "language": language, "ended": ended}
            for prompt, answer, language, ended in samples
        ],
    }


GATES = [
    ("weights", "Weights", "passed", "all 57 tensors are there, none is left over; the class is LlamaForCausalLM"),
    ("logits", "Logits in fp32", "passed", "greatest difference 1.9e-05 over 7 × 64 positions, at most 1e-4 allowed"),
    ("greedy", "64 greedy tokens", "passed", "the same after 7 prompts"),
    ("tokenizer", "Tokenizer", "passed", "1,000 held-out documents come back to the byte, with our ids"),
    ("template", "Chat template", "passed", "renders 6 conversations as our own encoder does"),
    ("ending", "Answers end", "passed", "8 of 8 sample answers ended with <|im_end|>"),
]
DIALOGUES = {
    "chatterbot": {
        "conversations": 2_201,
        "learnt_tokens": 40_113,
        "share": 0.4,
        "passes": 2.9,
        "dropped": {"empty_answer": 12, "wrong_language": 30},
    },
    "idioms": {"conversations": 21_004, "learnt_tokens": 610_442, "share": 0.6, "passes": 0.46, "dropped": {}},
}
DECODER = {
    "layers": 6,
    "width": 256,
    "heads": 4,
    "kv_heads": 2,
    "ffn_width": 688,
    "context_tokens": 512,
    "positions": {"kind": "rotary", "base": 10000.0, "scaling": None},
    "norm_epsilon": 1e-5,
    "head": "untied",
    "init": {"kind": "depth_scaled", "std": 0.02},
}
PRETRAIN = {
    "steps": 3000,
    "batch_sequences": 16,
    "sequence_tokens": 512,
    "optimizer": {"kind": "muon"},
    "schedule": {"kind": "warmup_stable_decay", "warmup_steps": 100},
    "mixture": None,
}
TUNE = {
    "steps": 240,
    "batch_sequences": 32,
    "optimizer": {"kind": "adamw"},
    "schedule": {"kind": "linear"},
    "dialogues": {
        "chatterbot": {"kind": "chatterbot", "package": "chat"},
        "idioms": {"kind": "derived", "source": "idioms"},
    },
}


def write_weights_header(path: Path) -> None:
    """A safetensors file with the header of the model and holes for its bytes."""
    shapes = {"embedding.weight": [8000, 256], "head.weight": [8000, 256], "layers.0.mlp.gate.weight": [688, 1536]}
    header, end = {}, 0
    for name, shape in shapes.items():
        begin, end = end, end + 4 * math.prod(shape)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}
    packed = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(packed)) + packed)
    os.truncate(path, 8 + len(packed) + end)


def write_made_ledger(path: Path) -> None:
    """A ledger with 3,000 noisy steps, a spike, and a stop in the middle, then tuning and the times of the stages."""
    noise = random.Random(7)
    seconds = {"fetch": 41.0, "corpus": 62.4, "tokenizer": 24.9, "tokens": 9.3, "pretrain": 520.6, "tune": 61.0}
    with Ledger(path) as ledger:
        for stage, took in {**seconds, "evaluate": 44.7, "release": 21.3}.items():
            ledger.append("stage", stage=stage, event="begun")
            if stage in ("pretrain", "tune"):
                steps = 3000 if stage == "pretrain" else 240
                stopped, taken_up = steps * 3 // 5, steps * 3 // 5 - steps // 20
                for turn, step in enumerate([*range(1, stopped), *range(taken_up, steps + 1)], start=1):
                    if turn == stopped and stage == "pretrain":
                        ledger.append("stage", stage=stage, event="resumed")
                    shape = 2.9 + 6.1 * math.exp(-step / 90) + 1.2 * math.exp(-step / 900)
                    loss = (shape if stage == "pretrain" else 1.9 + 1.4 * math.exp(-step / 40)) + noise.gauss(0, 0.09)
                    gentle = 0.5 + 2 * math.exp(-step / 200)
                    spike = 3.3 if (stage, step) == ("pretrain", 1207) else 0.0
                    ledger.append(
                        "step",
                        stage=stage,
                        step=step,
                        batch=step - 1,
                        loss=loss + spike,
                        gradient_norm=gentle * math.exp(noise.gauss(0, 0.25)) * (1 + 9 * spike),
                        learning_rate=0.02 * min(1, step / 100, max(0.01, (steps - step) / (0.3 * steps))),
                        tokens=step * 8192,
                        seconds=took / steps,
                        tokens_per_second=47_000.0,
                    )
            ledger.append("stage", stage=stage, event="finished", seconds=took, digest="0" * 64)


@pytest.fixture(scope="session")
def made_run(tmp_path_factory: pytest.TempPathFactory) -> MadeRun:
    return make_made_run(tmp_path_factory.mktemp("made"))


def make_made_run(folder: Path) -> MadeRun:
    inputs: dict[str, Artifact] = {}

    def make(stage: str, settings: Mapping[str, Any], files: Mapping[str, Any], **facts: Any) -> None:
        made_from = {name: artifact.digest for name, artifact in inputs.items()}
        draft = begin_artifact(folder / stage, Origin(stage, settings, made_from))
        for name, value in files.items():
            (draft.folder / name).parent.mkdir(parents=True, exist_ok=True)
            write_json(draft.folder / name, value)
        if stage == "tune":
            write_weights_header(draft.folder / "model.safetensors")
        inputs[stage] = draft.finish(facts)

    gates = [dict(zip(("name", "title", "verdict", "reason"), each, strict=True)) for each in GATES]
    make("fetch", {"packages": {}}, {})
    make("corpus", {"packages": {}, "corpus": {}}, {"funnel.json": made_funnel()})
    make("tokenizer", {"seed": 0, "tokenizer": {"pieces": 8000}}, {"measure.json": made_measure()})
    make("tokens", {"tokens": {}}, {"index.json": made_index()})
    make("pretrain", {"seed": 0, "model": DECODER, "pretrain": PRETRAIN}, {})
    make(
        "tune",
        {"seed": 0, "tune": TUNE},
        {"model.json": {"settings": DECODER, "vocabulary": 8000}},
        dialogues=DIALOGUES,
    )
    make("evaluate", {"evaluate": {}}, {"scores.json": made_scores()})
    make(
        "release",
        {"name": "demo", "release": {}},
        {"record/gates.json": {"gates": gates}, "model/fromscratch.json": {"name": "fromscratch-demo"}},
    )
    write_made_ledger(folder / "ledger" / "process-0.jsonl")
    return MadeRun(folder, inputs)
