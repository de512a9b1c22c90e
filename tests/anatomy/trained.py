"""Small models, really trained on real text, as related to each other as models are: made once, then read back."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch.nn import functional

from fromscratch.model.decoder import Decoder
from fromscratch.model.initial import initialise
from fromscratch.model.initialisation import DepthScaled
from fromscratch.model.llama_names import from_llama_name, to_llama_name
from fromscratch.model.settings import DecoderSettings
from fromscratch.optim.build import build_optimizer
from fromscratch.optim.settings import AdamW, Muon

__all__ = ["MODELS", "NARROW", "SHAPE", "VOCABULARY", "Arrays", "Training", "train", "trained_models"]

Arrays = dict[str, NDArray[np.float32]]

PAGES = Path(__file__).parent.parent / "fixtures" / "pages"
VOCABULARY = 512
SHAPE = DecoderSettings(
    layers=4, width=64, heads=4, kv_heads=2, ffn_width=192, context_tokens=64, init=DepthScaled(embedding_std=0.3)
)
NARROW = SHAPE.model_copy(update={"width": 48, "heads": 3, "kv_heads": 1, "ffn_width": 128, "head": "tied"})
SEQUENCES, TOKENS, STEPS = 4, 64, 300
FAST, SLOWLY = AdamW(peak_learning_rate=1e-2), AdamW(peak_learning_rate=5e-4)


@dataclass(frozen=True)
class Training:
    """How a model of the zoo came about."""

    seed: int = 0
    data: str = "play"
    """play, poems or chat: three different texts."""
    batches: int = 0
    """Another number draws other batches from the same text."""
    steps: int = STEPS
    optimizer: AdamW | Muon = FAST
    start: str = "standard"
    """standard, mup or zero initial weights, or the name of the model that is trained further."""
    teacher: str | None = None
    """The model whose probabilities are learnt in place of the text's next token."""
    shape: DecoderSettings = SHAPE


MODELS: dict[str, Training] = {
    "base": Training(seed=0),
    "other_seed": Training(seed=1),
    "same_seed": Training(seed=0, data="poems"),
    "muon": Training(seed=2, optimizer=Muon(peak_learning_rate=2e-2)),
    "mup": Training(seed=3, start="mup"),
    "zero": Training(seed=4, start="zero"),
    "narrow": Training(seed=5, shape=NARROW),
    "student": Training(seed=6, teacher="base"),
    "tuned": Training(data="chat", steps=60, optimizer=SLOWLY, start="base"),
    "tuned_on_poems": Training(data="poems", steps=60, optimizer=SLOWLY, start="base"),
    "further": Training(data="poems", steps=300, optimizer=AdamW(peak_learning_rate=8e-3), start="base"),
}


@cache
def _texts() -> dict[str, torch.Tensor]:
    """Token ids of each text, by a byte-level BPE learnt from all of them."""
    english = sorted((PAGES / "chat").rglob("*.yml"))
    texts = {
        "play": (PAGES / "text" / "en" / "tempest_gut.txt").read_text(encoding="utf-8"),
        "poems": (PAGES / "text" / "en" / "sonnets_gut.txt").read_text(encoding="utf-8"),
        "chat": "\n".join(path.read_text(encoding="utf-8") for path in english if "english" in path.parts),
    }
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts.values(), trainer)
    return {name: torch.tensor(tokenizer.encode(text).ids) for name, text in texts.items()}


def train(how: Training, zoo: Mapping[str, Arrays]) -> Arrays:
    """The weights that this training ends with, by Llama's names; ``zoo`` has the models that it starts from."""
    torch.set_num_threads(1)
    decoder = Decoder(how.shape, VOCABULARY)
    initialise(decoder, how.seed)
    if how.start in zoo:
        decoder.load_state_dict(
            {from_llama_name(name): torch.from_numpy(each) for name, each in zoo[how.start].items()}
        )
    else:
        _restart(decoder, how.start)
    teacher = Decoder(SHAPE, VOCABULARY) if how.teacher else None
    if teacher is not None:
        known = zoo[str(how.teacher)]
        teacher.load_state_dict({from_llama_name(name): torch.from_numpy(each) for name, each in known.items()})
    update = build_optimizer(how.optimizer, decoder.named_parameters())
    text, draw = _texts()[how.data], torch.Generator().manual_seed(how.batches)
    for step in range(how.steps):
        first = torch.randint(0, len(text) - TOKENS - 1, (SEQUENCES, 1), generator=draw)
        window = text[first + torch.arange(TOKENS + 1)]
        if teacher is None:
            loss = decoder.loss(window[:, :-1], window[:, 1:])
        else:
            with torch.no_grad():
                told = teacher(window[:, :-1]).softmax(-1)
            loss = functional.cross_entropy(decoder(window[:, :-1]).flatten(0, 1), told.flatten(0, 1))
        loss.backward()  # type: ignore[no-untyped-call]
        update.step(min(1.0, (step + 1) / 20) * (1 - step / how.steps))
    return {to_llama_name(name): each.detach().numpy().copy() for name, each in decoder.named_parameters()}


@torch.no_grad()
def _restart(decoder: Decoder, start: str) -> None:
    """Other initial weights: muP's (matrices by 1/√fan-in, a head of zeros), or zeros in what writes to the stream."""
    for name, parameter in decoder.named_parameters():
        if start == "mup" and parameter.ndim == 2:
            deviation = 1.0 if name == "embedding.weight" else parameter.shape[1] ** -0.5
            parameter.mul_(deviation / parameter.std())
        zeros = ("attention.output.weight", "mlp.down.weight", "head.weight") if start == "zero" else ("head.weight",)
        if start != "standard" and name.endswith(zeros):
            parameter.zero_()


def trained_models(folder: Path) -> dict[str, Arrays]:
    """The models by name, read from ``folder`` if this file has not changed since they were written there."""
    made_by = hashlib.sha256(Path(__file__).read_bytes() + torch.__version__.encode()).hexdigest()[:12]
    known: dict[str, Arrays] = {}
    for name, how in MODELS.items():
        path = folder / f"{name}-{made_by}.safetensors"
        if not path.exists():
            beside = path.with_suffix(f".{os.getpid()}")
            save_file(train(how, known), beside)
            beside.rename(path)
        known[name] = load_file(path)
    return known
