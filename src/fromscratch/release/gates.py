"""The gates of a release: what `transformers` reads from the folder must be the model that was trained."""

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from fromscratch.core.artifact import Artifact
from fromscratch.core.errors import GateRefused
from fromscratch.core.files import write_json
from fromscratch.model.decoder import Decoder
from fromscratch.model.files import load_model
from fromscratch.model.generate import generate
from fromscratch.model.settings import Sampling
from fromscratch.release.export import END_IDS
from fromscratch.release.probe import Findings, Probe, ask, make_probe
from fromscratch.release.settings import ReleaseSettings
from fromscratch.tokenizer.chatml import encode_chat
from fromscratch.tokenizer.load import load_tokenizer
from fromscratch.tokenizer.special import IM_END

__all__ = ["Gate", "check_release", "judge"]

# P passage · T position · V vocabulary

LOGITS_APART = 1e-4
KL_NATS = 1e-6  # nats; a wrong rotary layout of a trained model gives 0.6, though often the same likeliest token
TITLES = {
    "weights": "Weights and class",
    "logits": "Logits in fp32",
    "greedy": "Greedy tokens",
    "tokenizer": "Tokenizer",
    "template": "Chat template",
    "ending": "Answers end",
}
OUR_FAULT = "the export or transformers is at fault, not your recipe: tell us, with this file"


@dataclass(frozen=True)
class Gate:
    """A judgement with its reason. ``measured`` are the figures behind it, ``hint`` is what to do after a refusal."""

    name: str
    verdict: Literal["passed", "refused", "not checked"]
    reason: str
    measured: Mapping[str, Any] = field(default_factory=dict)
    hint: str = OUR_FAULT

    def as_json(self) -> dict[str, Any]:
        """The gate as it stands in the record; the hint belongs to the refusal."""
        plain = {"title": TITLES[self.name], **asdict(self)}
        if self.verdict == "passed":
            del plain["hint"]
        return plain


def check_release(
    folder: Path, inputs: Mapping[str, Artifact], release: ReleaseSettings, threads: int, record: Path
) -> list[Gate]:
    """Judge the model in ``folder`` by every gate, and write the judgements to the file ``record``.

    Without `transformers` each gate is "not checked", and says so. Raises GateRefused, after writing, at the first
    gate that refuses.
    """
    checked_by: dict[str, str] = {}
    if importlib.util.find_spec("transformers") is None:
        reason = "transformers is not installed here"
        hint = 'pip install "fromscratch[serve]", then make the release again'
        gates = [Gate(name, "not checked", reason, hint=hint) for name in TITLES]
    else:
        decoder = load_model(inputs["tune"].path)
        probe = make_probe(inputs, decoder.settings.context_tokens)
        findings = ask(folder, probe, threads)
        checked_by = {name: findings.values[name] for name in ("transformers", "torch")}
        gates = judge(probe, findings, decoder, inputs["tokenizer"].path, release)
    write_json(record, {"checked_by": checked_by, "gates": [gate.as_json() for gate in gates]})
    for gate in gates:
        if gate.verdict == "refused":
            raise GateRefused(f"{folder}: the gate `{gate.name}` refuses: {gate.reason}", f"{gate.hint} ({record})")
    return gates


def judge(
    probe: Probe, findings: Findings, decoder: Decoder, tokenizer_folder: Path, release: ReleaseSettings
) -> list[Gate]:
    """The verdict of every gate on what the reader found, in the order in which they are read."""
    return [
        judge_weights(findings),
        judge_logits(probe, findings, decoder),
        judge_greedy(probe, findings, decoder),
        judge_tokenizer(probe, findings),
        judge_template(probe, findings, tokenizer_folder),
        judge_ending(findings, release),
    ]


def judge_weights(findings: Findings) -> Gate:
    """The class is that of plain Llama, and no tensor is missing, left over or of another shape."""
    found = findings.values["class"]
    odd = [f"{kind.replace('_', ' ')}: {names[0]}" for kind, names in findings.values["loading"].items() if names]
    measured = {"class": found, "loading": findings.values["loading"]}
    if found != "LlamaForCausalLM":
        return Gate("weights", "refused", f"the class is {found}, not LlamaForCausalLM", measured)
    if odd:
        return Gate("weights", "refused", "; ".join(odd), measured)
    return Gate("weights", "passed", "LlamaForCausalLM takes every tensor, and misses none", measured)


def judge_logits(probe: Probe, findings: Findings, decoder: Decoder) -> Gate:
    """At the end of each passage: logits within LOGITS_APART, and distributions within KL_NATS over all pieces."""
    ours_PTV = _our_logits(decoder, probe)
    theirs_PTV = findings.logits
    if ours_PTV.shape != theirs_PTV.shape:
        return Gate("logits", "refused", f"their shape is {list(theirs_PTV.shape)}, not {list(ours_PTV.shape)}")
    apart = float(np.abs(ours_PTV - theirs_PTV).max())
    nats = max(_divergence(ours_TV, theirs_TV) for ours_TV, theirs_TV in zip(ours_PTV, theirs_PTV, strict=True))
    places = f"{len(probe.passages)} × {probe.positions} held-out positions"
    reason = f"over {places} logits are at most {apart:.1e} apart, and KL is at most {max(0.0, nats):.1e} nats"
    within = apart <= LOGITS_APART and nats <= KL_NATS
    measured = {
        "largest_difference": apart,
        "largest_difference_allowed": LOGITS_APART,
        "kl_nats": nats,
        "kl_nats_allowed": KL_NATS,
        "passages": len(probe.passages),
        "positions": probe.positions,
        "passage_tokens": [len(each) for each in probe.passages],
    }
    if not within:
        reason += f"; {LOGITS_APART:g} and {KL_NATS:g} are allowed"
    return Gate("logits", "passed" if within else "refused", reason, measured)


def judge_greedy(probe: Probe, findings: Findings, decoder: Decoder) -> Gate:
    """The likeliest continuation of each prompt is the same, token for token."""
    sampling = Sampling(temperature=0, top_p=None, max_tokens=probe.greedy_tokens)
    same = []
    for prompt, theirs in zip(probe.prompts, findings.values["greedy"], strict=True):
        ours = list(generate(decoder, prompt, sampling=sampling, stop=frozenset(), seed=0))
        pairs = zip(ours, theirs, strict=False)
        same.append(next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(ours), len(theirs))))
    measured = {"prompts": len(same), "tokens": probe.greedy_tokens, "same_tokens": same}
    if min(same) < probe.greedy_tokens:
        reason = f"a continuation differs after {min(same)} of {probe.greedy_tokens} tokens"
        return Gate("greedy", "refused", reason, measured)
    reason = f"the same {probe.greedy_tokens} tokens after each of {len(same)} prompts"
    return Gate("greedy", "passed", reason, measured)


def judge_tokenizer(probe: Probe, findings: Findings) -> Gate:
    """Each document gets the ids that our shards hold, and these come back as the document, to the byte."""
    other_ids = _first_unequal(probe.ids_of_texts, findings.values["ids"])
    not_back = _first_unequal(probe.texts, findings.values["decoded"])
    documents = len(probe.texts)
    measured = {
        "class": findings.values["tokenizer_class"],
        "documents": documents,
        "bytes": sum(len(text.encode()) for text in probe.texts),
        "tokens": sum(map(len, probe.ids_of_texts)),
    }
    if other_ids is not None:
        reason = f"a document gets other ids than in our shards, beginning {probe.texts[other_ids][:40]!r}"
        return Gate("tokenizer", "refused", reason, measured)
    if not_back is not None:
        reason = f"a document does not come back, beginning {probe.texts[not_back][:40]!r}"
        return Gate("tokenizer", "refused", reason, measured)
    reason = f"{documents:,} held-out documents get the ids of our shards and come back to the byte"
    return Gate("tokenizer", "passed", reason, measured)


def judge_template(probe: Probe, findings: Findings, tokenizer_folder: Path) -> Gate:
    """Conversations are rendered and encoded as they were in tuning, with and without the opening of an answer."""
    backend = load_tokenizer(tokenizer_folder).backend
    for name, opening in (("rendered", False), ("prompted", True)):
        ours = [encode_chat(backend, each, add_generation_prompt=opening) for each in probe.conversations]
        odd = _first_unequal(ours, findings.values[name])
        if odd is not None:
            reason = f"the conversation that begins {probe.conversations[odd][0]['content'][:40]!r} gets other ids"
            return Gate("template", "refused", reason, {"conversations": len(ours)})
    reason = f"{len(probe.conversations)} conversations get the ids of our own encoder"
    return Gate("template", "passed", reason, {"conversations": len(probe.conversations)})


def judge_ending(findings: Findings, release: ReleaseSettings) -> Gate:
    """The end tokens are declared, no answer runs past one, and enough answers come to one by themselves."""
    answers: Sequence[Sequence[int]] = findings.values["answers"]
    ended = sum(bool(answer) and answer[-1] == IM_END for answer in answers)
    measured = {
        "eos_token_id": findings.values["eos_token_id"],
        "answers": len(answers),
        "ended": ended,
        "least_ended_share": release.least_ended_share,
        "answer_tokens": [len(each) for each in answers],
    }
    if findings.values["eos_token_id"] != list(END_IDS):
        reason = f"the end tokens are {findings.values['eos_token_id']}, not {list(END_IDS)}"
        return Gate("ending", "refused", reason, measured)
    if any(token in END_IDS for answer in answers for token in answer[:-1]):
        return Gate("ending", "refused", "an answer runs on after its end token", measured)
    reason = f"{ended} of {len(answers)} sample answers end with <|im_end|> by themselves"
    if ended < release.least_ended_share * len(answers):
        hint = "tune for more steps, or lower `release.least_ended_share`"
        return Gate("ending", "refused", reason, measured, hint)
    return Gate("ending", "passed", reason, measured)


@torch.inference_mode()
def _our_logits(decoder: Decoder, probe: Probe) -> npt.NDArray[np.float32]:
    decoder = decoder.float().cpu().eval()
    passages = [decoder(torch.tensor([ids]))[0, -probe.positions :].numpy() for ids in probe.passages]
    return np.stack(passages)


def _divergence(ours_TV: npt.NDArray[np.float32], theirs_TV: npt.NDArray[np.float32]) -> float:
    """The largest KL(ours ‖ theirs) of the positions, in nats."""
    p_TV, q_TV = _log_probabilities(ours_TV), _log_probabilities(theirs_TV)
    return float((np.exp(p_TV) * (p_TV - q_TV)).sum(axis=-1).max())


def _log_probabilities(logits_TV: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    double_TV = logits_TV.astype(np.float64)
    normalised_TV: npt.NDArray[np.float64] = double_TV - np.logaddexp.reduce(double_TV, axis=-1, keepdims=True)
    return normalised_TV


def _first_unequal(ours: Sequence[Any], theirs: Sequence[Any]) -> int | None:
    pairs = enumerate(zip(ours, theirs, strict=True))
    return next((number for number, (a, b) in pairs if a != b), None)
