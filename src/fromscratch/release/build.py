"""The stage that makes the release: the chat model as plain Llama, its papers, its record, and the gates it passed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fromscratch import __version__
from fromscratch.core.artifact import Artifact, Draft, code_digest
from fromscratch.core.files import remove_tree, write_json
from fromscratch.core.settings import validate_settings
from fromscratch.core.workplace import Workplace
from fromscratch.corpus.settings import CorpusSettings
from fromscratch.corpus.sources import Package
from fromscratch.model.settings import DecoderSettings
from fromscratch.release.card import write_papers
from fromscratch.release.evidence import Evidence, gather
from fromscratch.release.export import export_configuration, export_tokenizer, export_weights
from fromscratch.release.gates import check_release
from fromscratch.release.settings import ReleaseSettings

__all__ = ["build_release"]


def build_release(
    draft: Draft,
    inputs: Mapping[str, Artifact],
    workplace: Workplace,
    *,
    name: str,
    packages: Mapping[str, Package],
    corpus: CorpusSettings,
    release: ReleaseSettings,
) -> Mapping[str, Any]:
    """Write `model/`, which any Llama code loads, and `record/`, from which somebody else can check it.

    The weights are those of the `tune` stage. Raises GateRefused when the folder, loaded back, is not that model.
    """
    model, record = draft.folder / "model", draft.folder / "record"
    for folder in (model, record):
        remove_tree(folder)  # what a killed process left; all of it is written again in seconds
        folder.mkdir()
    evidence = gather(inputs, workplace.ledger.path)
    called = release.model_name or name
    tensors = _export(model, evidence, release)
    write_papers(model, evidence, packages, corpus, release, called)
    summary = _summary(evidence, called, release)
    write_json(model / "fromscratch.json", summary)
    write_json(record / "recipe.json", summary["recipe"])
    write_json(record / "tensors.json", tensors)
    (record / "manifests").mkdir()
    for stage, artifact in inputs.items():
        write_json(record / "manifests" / f"{stage}.json", _manifest(artifact))
    for file in draft.folder.rglob("*"):
        if file.is_file():
            file.chmod(0o644)  # a server that runs as somebody else must be able to read it
    gates = check_release(model, inputs, release, workplace.machine.thread_count, record / "gates.json")
    passed = sum(gate.verdict == "passed" for gate in gates)
    return {
        "summary": f"{called}, {evidence.parameters / 1e6:.2f} M parameters, {passed} of {len(gates)} gates passed",
        "gates": {gate.name: gate.verdict for gate in gates},
        "parameters": evidence.parameters,
    }


def _export(folder: Path, evidence: Evidence, release: ReleaseSettings) -> dict[str, Any]:
    tune = evidence.inputs["tune"]
    origin = f"{tune.file('model.json')}: settings"
    settings = validate_settings(DecoderSettings, evidence.model["settings"], origin)
    max_shard_bytes = int(release.max_shard_megabytes * 1e6)
    vocabulary = evidence.model["vocabulary"]
    tensors = export_weights(tune.file("model.safetensors"), folder, settings, vocabulary, max_shard_bytes)
    export_configuration(folder, settings, vocabulary, release.generation)
    export_tokenizer(evidence.inputs["tokenizer"].file("tokenizer.json"), folder, settings.context_tokens)
    return tensors


def _summary(evidence: Evidence, name: str, release: ReleaseSettings) -> dict[str, Any]:
    """The record in one file that travels with the weights: how they were made, and by which code."""
    return {
        "name": name,
        "license": release.license,
        "parameters": evidence.parameters,
        "recipe": {**evidence.recipe, "release": release.model_dump(mode="json")},
        "stages": {
            stage: {"digest": artifact.digest, "code": artifact.manifest["code"]}
            for stage, artifact in evidence.inputs.items()
        },
        "code": {"version": __version__, "digest": code_digest()},
    }


def _manifest(artifact: Artifact) -> dict[str, Any]:
    """A stage's manifest without its facts: these hold times, and an equal run must give an equal record."""
    return {key: value for key, value in artifact.manifest.items() if key != "facts"}
