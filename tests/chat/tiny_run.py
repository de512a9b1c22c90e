"""A whole tiny run, from base model to chat model, for the tests of chat."""

import json
import zipfile
from pathlib import Path

from tokenizers import Tokenizer

from fromscratch.chat.settings import TuneSettings
from fromscratch.chat.tune import tune
from fromscratch.core.artifact import Artifact, Origin, begin_artifact
from fromscratch.core.ledger import Ledger
from fromscratch.core.settings import validate_settings
from fromscratch.core.workplace import Machine, Workplace
from fromscratch.corpus.sources import Package
from fromscratch.model.decoder import Decoder
from fromscratch.model.files import save_model
from fromscratch.model.initial import initialise
from fromscratch.model.initialisation import DepthScaled
from fromscratch.model.settings import DecoderSettings
from tests.make_corpus import make_corpus

DIALOGUES = {
    "english": "conversations:\n- [Hello!, Thank you.]\n- [What is a whale?, A whale is a mammal.]\n- broken\n",
    "chinese": "conversations:\n- [你好！, 谢谢。]\n- [鲸是什么？, 鲸是哺乳动物。]\n",
}
PAGES = [
    {"source": "pages", "title": "Mammal", "text": "A mammal is a whale. Or not."},
    {"source": "pages", "title": "Secret", "text": "A secret is held out.", "split": "heldout"},
]
PACKAGES = {"talks": Package(requirement="talks==1.0", sha256="0" * 64, license="BSD-3-Clause")}
TUNE = {
    "steps": 150,
    "batch_sequences": 4,
    "sequence_tokens": 64,
    "precision": "fp32",
    "optimizer": {"kind": "adamw", "peak_learning_rate": 1e-2, "weight_decay": 0.0},
    "checkpoint_every_steps": 25,
    "sample_prompts": ["Hello!", "鲸是什么？"],
    "dialogues": {
        "english": {"kind": "chatterbot", "package": "talks", "members": ["english/*"], "language": "en", "weight": 2},
        "chinese": {"kind": "chatterbot", "package": "talks", "members": ["chinese/*"], "language": "zh", "weight": 2},
        "pages": {"kind": "derived", "source": "pages", "questions": ["What is {title}?"]},
    },
}


def make_inputs(run: Path, tokenizer: Tokenizer) -> dict[str, Artifact]:
    """The artifacts that tuning reads."""
    fetch = begin_artifact(run / "fetch", Origin("fetch", {}, {}))
    with zipfile.ZipFile(fetch.folder / "talks-1.0-py3-none-any.whl", "w") as archive:
        for language, content in DIALOGUES.items():
            archive.writestr(f"{language}/all.yml", content)
    trained = begin_artifact(run / "tokenizer", Origin("tokenizer", {}, {}))
    (trained.folder / "tokenizer.json").write_text(tokenizer.to_str(), encoding="utf-8")
    base = begin_artifact(run / "pretrain", Origin("pretrain", {}, {}))
    settings = DecoderSettings(
        layers=2, width=32, heads=2, kv_heads=1, ffn_width=64, context_tokens=96, init=DepthScaled(std=0.1)
    )
    decoder = Decoder(settings, tokenizer.get_vocab_size())
    initialise(decoder, seed=0)
    save_model(base.folder, decoder)
    return {
        "fetch": fetch.finish(),
        "corpus": make_corpus(run / "corpus", PAGES),
        "tokenizer": trained.finish(),
        "pretrain": base.finish(),
    }


def tune_run(run: Path, inputs: dict[str, Artifact], **changes: object) -> Artifact:
    """The `tune` stage of the run, with these changes to its settings."""
    settings = validate_settings(TuneSettings, json.loads(json.dumps(TUNE | changes)), "test")
    with Ledger(run / "ledger" / "process-0.jsonl") as ledger:
        workplace = Workplace(Machine(threads=1, device="cpu"), ledger)
        draft = begin_artifact(run / "tune", Origin("tune", settings.model_dump(mode="json"), {}))
        return draft.finish(tune(draft, inputs, workplace, seed=1, packages=PACKAGES, tune=settings))
