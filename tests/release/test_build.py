"""The release of a small but really trained model: loaded back by transformers, and refused when it is another one."""

import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from fromscratch.core.artifact import Artifact, Origin, begin_artifact
from fromscratch.core.errors import FromScratchError, GateRefused
from fromscratch.core.files import write_json
from fromscratch.core.ledger import Ledger
from fromscratch.core.workplace import Machine, Workplace
from fromscratch.corpus.settings import CorpusSettings
from fromscratch.corpus.sources import Package
from fromscratch.model.decoder import Decoder
from fromscratch.model.files import load_model, save_model
from fromscratch.model.generate import generate
from fromscratch.model.initial import initialise
from fromscratch.model.llama_names import to_llama_name
from fromscratch.model.settings import DecoderSettings, RotaryPositions, Sampling
from fromscratch.release import build, gates
from fromscratch.release.build import build_release
from fromscratch.release.export import export_weights
from fromscratch.release.probe import Findings, Probe, ask, make_probe
from fromscratch.release.settings import ReleaseSettings
from fromscratch.tokenizer.chatml import CHAT_TEMPLATE, encode_chat
from fromscratch.tokenizer.load import load_tokenizer
from fromscratch.tokenizer.settings import TokenizerSettings
from fromscratch.tokenizer.train import train_tokenizer
from fromscratch.tokens.pack import pack_tokens
from fromscratch.tokens.settings import TokensSettings
from tests.make_corpus import make_corpus
from tests.release.conftest import DIALOGUES, PRETRAIN, TUNE, made_scores

PACKAGES = {
    "wikipedia": Package(
        requirement="wiki==1.0",
        sha256="0" * 64,
        license="CC-BY-SA-4.0",
        notice="Articles by the contributors of Wikipedia.",
        url="https://example.org/wiki",
    ),
    "chat": Package(requirement="chat-corpus==2.0", sha256="1" * 64, license="GPL-3.0-or-later"),
}
CORPUS = CorpusSettings.model_validate(
    {
        "sources": {
            "made": {"kind": "package", "package": "wikipedia", "domain": "encyclopedia", "members": ["**"]},
            "poems": {"kind": "files", "path": "poems", "domain": "books", "license": "CC0-1.0"},
        }
    }
)
SHAPE = DecoderSettings(
    layers=2,
    width=64,
    heads=4,
    kv_heads=2,
    ffn_width=160,
    context_tokens=128,
    positions=RotaryPositions(base=5e4),
    head="untied",
)
QUESTIONS = {"What is a river?": "A river is water that flows to the sea.", "你好！": "你好，我的朋友。"}
RELEASE = ReleaseSettings(model_name="tiny-chat", description="Made in a test.")


@dataclass(frozen=True)
class Trained:
    """The inputs of the release stage, and a workplace."""

    folder: Path
    inputs: Mapping[str, Artifact]
    workplace: Workplace


def documents() -> list[dict[str, Any]]:
    library = sorted(Path(os.__file__).parent.glob("*.py"))[:24]
    code = [{"text": path.read_text(encoding="utf-8")[:4000], "language": "code", "domain": "code"} for path in library]
    english = [
        {"text": f"The river number {number} runs for {number * 7} km through hills and fields to the sea. " * 6}
        for number in range(40)
    ]
    chinese = [
        {"text": f"第{number}回　话说天下大势，分久必合，合久必分。河长{number * 9}里。" * 6, "language": "zh"}
        for number in range(40)
    ]
    odd = [
        {"text": "What a document says of <|im_end|> and <|endoftext|> is only letters.\r\n\tTabs , and spaces ."},
        {"text": "emoji 🙂 and 𠀀, a  double space, and no line break at the end"},
    ]
    rows = [*code, *english, *chinese, *odd]
    held = {len(rows) - 1, len(rows) - 2}
    return [
        {**row, "split": "heldout" if number % 5 == 0 or number in held else "train"} for number, row in enumerate(rows)
    ]


def train_briefly(decoder: Decoder, inputs: Mapping[str, Artifact]) -> None:
    """A few seconds of training on the shards and on two dialogues: an untrained model would hide a wrong rotation."""
    tokenizer = load_tokenizer(inputs["tokenizer"].path)
    groups = [np.fromfile(path, "<u2") for path in sorted(inputs["tokens"].path.glob("train/*.tokens"))]
    pool = torch.from_numpy(np.concatenate(groups).astype(np.int64))
    chats = [
        encode_chat(
            tokenizer.backend,
            [{"role": "user", "content": question}, {"role": "assistant", "content": answer}],
            add_generation_prompt=False,
        )
        for question, answer in QUESTIONS.items()
    ]
    draw = torch.Generator().manual_seed(1)
    update = torch.optim.AdamW(decoder.parameters(), lr=4e-3)
    for _ in range(120):
        starts = torch.randint(len(pool) - 65, (6,), generator=draw)
        rows = [pool[start : start + 65] for start in starts]
        rows += [torch.tensor((chat * 65)[:65]) for chat in chats]
        batch = torch.stack(rows)
        decoder.loss(batch[:, :-1], batch[:, 1:]).backward()
        update.step()
        update.zero_grad()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("trained")
    with Ledger(folder / "ledger.jsonl") as ledger:
        yield train_tiny(folder, Workplace(Machine(workers=1, threads=1), ledger))


def train_tiny(folder: Path, workplace: Workplace) -> Trained:
    inputs: dict[str, Artifact] = {"fetch": begin_artifact(folder / "fetch", Origin("fetch", {}, {})).finish()}
    inputs["corpus"] = make_corpus(folder / "corpus", documents())
    draft = begin_artifact(folder / "tokenizer", Origin("tokenizer", {}, {}))
    train_tokenizer(draft, inputs, workplace, seed=0, tokenizer=TokenizerSettings(pieces=700))
    inputs["tokenizer"] = draft.finish()
    draft = begin_artifact(folder / "tokens", Origin("tokens", {}, {}))
    pack_tokens(draft, inputs, workplace, tokens=TokensSettings())
    inputs["tokens"] = draft.finish()
    decoder = Decoder(SHAPE, load_tokenizer(inputs["tokenizer"].path).vocabulary)
    initialise(decoder, seed=3)
    train_briefly(decoder, inputs)
    for stage, settings in (("pretrain", {"pretrain": PRETRAIN}), ("tune", {"tune": TUNE})):
        draft = begin_artifact(folder / stage, Origin(stage, settings, {}))
        save_model(draft.folder, decoder)
        inputs[stage] = draft.finish({"dialogues": DIALOGUES})
    draft = begin_artifact(folder / "evaluate", Origin("evaluate", {}, {}))
    samples = [{"prompt": each, "answer": "", "language": None, "ended": True} for each in QUESTIONS]
    write_json(draft.folder / "scores.json", {**made_scores(), "samples": samples})
    inputs["evaluate"] = draft.finish()
    return Trained(folder, inputs, workplace)


def release(trained: Trained, name: str, settings: ReleaseSettings = RELEASE) -> Artifact:
    draft = begin_artifact(trained.folder / name, Origin("release", {}, {}))
    facts = build_release(
        draft, trained.inputs, trained.workplace, name="demo", packages=PACKAGES, corpus=CORPUS, release=settings
    )
    return draft.finish(facts)


@pytest.fixture(scope="module")
def released(trained: Trained) -> Artifact:
    return release(trained, "release")


@pytest.fixture(scope="module")
def probe(trained: Trained) -> Probe:
    return make_probe(trained.inputs, SHAPE.context_tokens)


@pytest.fixture(scope="module")
def decoder(trained: Trained) -> Decoder:
    return load_model(trained.inputs["tune"].path)


@pytest.fixture(scope="module")
def findings(trained: Trained, probe: Probe, decoder: Decoder) -> Findings:
    """What transformers would find in a faultless folder, from our own decoder and tokenizer; tests then spoil it."""
    tokenizer = load_tokenizer(trained.inputs["tokenizer"].path)
    with torch.inference_mode():
        logits = [decoder(torch.tensor([ids]))[0, -probe.positions :].numpy() for ids in probe.passages]
    greedy = Sampling(temperature=0, top_p=None, max_tokens=probe.greedy_tokens)
    values = {
        "class": "LlamaForCausalLM",
        "tokenizer_class": "PreTrainedTokenizerFast",
        "loading": {"missing_keys": [], "unexpected_keys": []},
        "eos_token_id": [7, 2],
        "greedy": [list(generate(decoder, ids, sampling=greedy, stop=frozenset(), seed=0)) for ids in probe.prompts],
        "ids": probe.ids_of_texts,
        "decoded": probe.texts,
        "rendered": [encode_chat(tokenizer.backend, each, False) for each in probe.conversations],
        "prompted": [encode_chat(tokenizer.backend, each, True) for each in probe.conversations],
        "answers": [[300, 301, 7], [302, 7]],
    }
    return Findings(values, np.stack(logits))


def spoiled(findings: Findings, **values: Any) -> Findings:
    return Findings({**findings.values, **values}, findings.logits)


def test_every_gate_passes(released: Artifact) -> None:
    record = json.loads(released.file("record/gates.json").read_text(encoding="utf-8"))
    verdicts = {gate["name"]: (gate["verdict"], gate["reason"]) for gate in record["gates"]}
    assert {verdict for verdict, _ in verdicts.values()} == {"passed"}, verdicts
    assert list(verdicts) == list(gates.TITLES)
    assert "answers end with <|im_end|>" in verdicts["ending"][1]


def test_the_folder_holds_what_engines_and_people_look_for(released: Artifact, trained: Trained) -> None:
    names = {each.name for each in (released.path / "model").iterdir()}
    assert names == {
        "LICENSE", "NOTICE", "README.md", "chat_template.jinja", "config.json", "fromscratch.json",
        "generation_config.json", "model.safetensors", "special_tokens_map.json", "tokenizer.json",
        "tokenizer_config.json",
    }  # fmt: skip
    assert {stat.S_IMODE(each.stat().st_mode) for each in (released.path / "model").iterdir()} == {0o644}
    generation = json.loads(released.file("model/generation_config.json").read_text(encoding="utf-8"))
    assert (generation["eos_token_id"], generation["max_new_tokens"]) == ([7, 2], SHAPE.context_tokens // 2)
    summary = json.loads(released.file("model/fromscratch.json").read_text(encoding="utf-8"))
    assert summary["stages"]["tune"]["digest"] == trained.inputs["tune"].digest
    assert summary["recipe"]["release"]["model_name"] == "tiny-chat"


def test_both_generations_of_transformers_find_their_keys(released: Artifact) -> None:
    config = json.loads(released.file("model/config.json").read_text(encoding="utf-8"))
    assert (config["rope_theta"], config["rope_parameters"]["rope_theta"], config["rope_scaling"]) == (5e4, 5e4, None)
    assert config["torch_dtype"] == config["dtype"] == "float32"
    tokenizer = json.loads(released.file("model/tokenizer_config.json").read_text(encoding="utf-8"))
    assert tokenizer["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert tokenizer["model_input_names"] == ["input_ids", "attention_mask"]
    assert not tokenizer["clean_up_tokenization_spaces"] and not tokenizer["add_bos_token"]
    assert tokenizer["model_max_length"] == SHAPE.context_tokens and tokenizer["eos_token"] == "<|im_end|>"
    template = released.file("model/chat_template.jinja").read_text(encoding="utf-8")
    assert template == tokenizer["chat_template"] == CHAT_TEMPLATE


def test_the_record_names_every_tensor_by_digest_and_holds_no_times(released: Artifact, trained: Trained) -> None:
    tensors = json.loads(released.file("record/tensors.json").read_text(encoding="utf-8"))
    ours = load_file(trained.inputs["tune"].file("model.safetensors"))
    assert len(tensors) == len(ours)
    for name, each in tensors.items():
        theirs = load_file(released.file("model/model.safetensors"))[name].numpy()
        assert np.array_equal(theirs, ours[each["trained_as"]].numpy())
        assert hashlib.sha256(theirs.tobytes()).hexdigest() == each["sha256"]
    manifests = sorted(each.stem for each in (released.path / "record" / "manifests").iterdir())
    assert manifests == sorted(trained.inputs)
    tune = json.loads(released.file("record/manifests/tune.json").read_text(encoding="utf-8"))
    assert tune["digest"] == trained.inputs["tune"].digest and "facts" not in tune


def test_a_killed_release_made_again_is_the_same(
    trained: Trained, released: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "check_release", lambda *_: [])
    left = trained.folder / ".again.unfinished" / "model"
    left.mkdir(parents=True)
    (left / "half.safetensors").write_bytes(b"what a killed process left")
    write_json(left.parent / "begun.json", {"kind": "release", "settings": {}, "inputs": {}})
    again = release(trained, "again")
    files = {name: each for name, each in released.manifest["files"].items() if name != "record/gates.json"}
    assert again.manifest["files"] == files


def test_weights_larger_than_a_shard_are_split_and_read_back(
    trained: Trained, decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "check_release", lambda *_: [])
    split = release(trained, "split", RELEASE.model_copy(update={"max_shard_megabytes": 0.2}))
    index = json.loads(split.file("model/model.safetensors.index.json").read_text(encoding="utf-8"))
    shards = sorted((split.path / "model").glob("model-*.safetensors"))
    assert len(shards) > 2 and {each.name for each in shards} == set(index["weight_map"].values())
    assert max(each.stat().st_size for each in shards) < 220_000
    theirs = {name: tensor for each in shards for name, tensor in load_file(each).items()}
    assert theirs.keys() == index["weight_map"].keys()
    for name, parameter in decoder.named_parameters():
        assert torch.equal(theirs[to_llama_name(name)], parameter)


def test_the_cards_program_runs(
    released: Artifact, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    card = released.file("model/README.md").read_text(encoding="utf-8")
    program = card.partition("```python\n")[2].partition("```")[0]
    monkeypatch.chdir(released.path / "model")
    torch.manual_seed(0)
    exec(compile(program, "README.md", "exec"), {})
    assert "river" in capsys.readouterr().out


def test_a_spoiled_reading_is_refused_by_the_gate_in_charge(
    trained: Trained, probe: Probe, decoder: Decoder, findings: Findings
) -> None:
    greedy, ids, decoded = (list(findings.values[name]) for name in ("greedy", "ids", "decoded"))
    other = [*greedy[0][:40], greedy[0][40] ^ 1, *greedy[0][41:]]
    noise = np.zeros_like(findings.logits)
    noise[1, 7, 11] = 2e-4
    cases = {
        "weights": [
            spoiled(findings, **{"class": "YiForCausalLM"}),
            spoiled(findings, loading={"missing_keys": ["a"]}),
        ],
        "logits": [
            Findings(findings.values, findings.logits + noise),
            Findings(findings.values, findings.logits[:, 1:]),
        ],
        "greedy": [spoiled(findings, greedy=[other, *greedy[1:]])],
        "tokenizer": [
            spoiled(findings, ids=[[1, *ids[0]], *ids[1:]]),
            spoiled(findings, decoded=[*decoded[:-1], decoded[-1][:-1]]),
        ],
        "template": [
            spoiled(findings, rendered=[each[:-1] for each in findings.values["rendered"]]),
            spoiled(findings, prompted=findings.values["rendered"]),
        ],
        "ending": [
            spoiled(findings, eos_token_id=2),
            spoiled(findings, answers=[[300, 7, 301, 7], [302, 7]]),
            spoiled(findings, answers=[[300] * 64, [300] * 64, [302, 7]]),
        ],
    }
    folder = trained.inputs["tokenizer"].path
    judges: dict[str, Callable[[Findings], gates.Gate]] = {
        "weights": gates.judge_weights,
        "logits": lambda reading: gates.judge_logits(probe, reading, decoder),
        "greedy": lambda reading: gates.judge_greedy(probe, reading, decoder),
        "tokenizer": lambda reading: gates.judge_tokenizer(probe, reading),
        "template": lambda reading: gates.judge_template(probe, reading, folder),
        "ending": lambda reading: gates.judge_ending(reading, RELEASE),
    }
    assert {each.verdict for each in gates.judge(probe, findings, decoder, folder, RELEASE)} == {"passed"}
    assert list(judges) == list(cases) == list(gates.TITLES)
    for name, readings in cases.items():
        assert {judges[name](reading).verdict for reading in readings} == {"refused"}, name


def test_another_rotary_base_is_refused_although_most_tokens_agree(
    probe: Probe, decoder: Decoder, findings: Findings
) -> None:
    other = Decoder(SHAPE.model_copy(update={"positions": RotaryPositions(base=1e4)}), decoder.vocabulary)
    other.load_state_dict(decoder.state_dict())
    gate = gates.judge_logits(probe, findings, other)
    assert gate.verdict == "refused" and gate.measured["kl_nats"] > 1e-3


def test_a_refusal_is_recorded_and_says_where_and_what_to_do(
    trained: Trained, findings: Findings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    endless = spoiled(findings, answers=[[300] * 64], transformers="5.0", torch="2.13")
    monkeypatch.setattr(gates, "ask", lambda *_: endless)
    with pytest.raises(GateRefused) as refused:
        gates.check_release(tmp_path, trained.inputs, RELEASE, 1, tmp_path / "gates.json")
    assert refused.value.exit_code == 3
    assert "0 of 1 sample answers" in refused.value.message and "least_ended_share" in refused.value.hint
    record = json.loads((tmp_path / "gates.json").read_text(encoding="utf-8"))
    assert [gate["verdict"] for gate in record["gates"]] == ["passed"] * 5 + ["refused"]
    lenient = RELEASE.model_copy(update={"least_ended_share": 0.0})
    assert gates.check_release(tmp_path, trained.inputs, lenient, 1, tmp_path / "gates.json")[-1].verdict == "passed"


def test_without_transformers_every_gate_says_that_it_was_not_checked(
    trained: Trained, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(gates.importlib.util, "find_spec", lambda _: None)
    found = gates.check_release(tmp_path, trained.inputs, RELEASE, 1, tmp_path / "gates.json")
    record = json.loads((tmp_path / "gates.json").read_text(encoding="utf-8"))
    assert {gate.verdict for gate in found} == {gate["verdict"] for gate in record["gates"]} == {"not checked"}
    assert all("transformers is not installed" in gate["reason"] and gate["hint"] for gate in record["gates"])


def test_a_folder_that_cannot_be_read_is_refused_with_the_last_line(
    probe: Probe, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    reader = tmp_path / "reader.py"
    reader.write_text("raise ValueError('no such architecture')", encoding="utf-8")
    monkeypatch.setattr("fromscratch.release.probe.READER", reader)
    with pytest.raises(GateRefused, match="ValueError: no such architecture"):
        ask(tmp_path, probe, threads=1)


def test_weights_of_another_shape_are_refused_by_name(trained: Trained, tmp_path: Path) -> None:
    deeper = SHAPE.model_copy(update={"layers": 3})
    vocabulary = load_tokenizer(trained.inputs["tokenizer"].path).vocabulary
    with pytest.raises(FromScratchError, match="of layer 2"):
        export_weights(trained.inputs["tune"].file("model.safetensors"), tmp_path, deeper, vocabulary, 10**9)


@pytest.mark.peer
def test_transformers_4_reads_the_same(trained: Trained, released: Artifact) -> None:
    interpreter = os.environ.get("TRANSFORMERS_4_PYTHON")
    if not interpreter:
        pytest.skip("TRANSFORMERS_4_PYTHON does not name an interpreter that has transformers 4")
    decoder = load_model(trained.inputs["tune"].path)
    probe = make_probe(trained.inputs, SHAPE.context_tokens)
    findings = ask(released.path / "model", probe, threads=1, interpreter=interpreter)
    assert findings.values["transformers"].startswith("4.")
    verdicts = gates.judge(probe, findings, decoder, trained.inputs["tokenizer"].path, RELEASE)
    assert {gate.verdict for gate in verdicts} == {"passed"}, verdicts
