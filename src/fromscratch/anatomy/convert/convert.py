"""The verbs `convert` and `import`: open, recognise, plan, write; all of it is there or nothing is."""

import contextlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fromscratch.anatomy.convert.copying import Written
from fromscratch.anatomy.convert.describe import (
    describe_generation,
    describe_litgpt,
    describe_llama,
    gguf_table,
    refuse_what_target_has_not,
)
from fromscratch.anatomy.convert.gguf_file import write_gguf
from fromscratch.anatomy.convert.gguf_tokenizer import gguf_tokenizer_table, tokenizing_of_gguf
from fromscratch.anatomy.convert.names import TARGETS
from fromscratch.anatomy.convert.plan import Output, Plan, nbytes
from fromscratch.anatomy.convert.planning import Decided, make_plan
from fromscratch.anatomy.convert.safetensors_file import write_index, write_safetensors
from fromscratch.anatomy.convert.settings_of import LITGPT_CONFIG, read_settings
from fromscratch.anatomy.convert.tokenizing import Tokenizing, our_tokenizing, read_tokenizing, write_tokenizing
from fromscratch.anatomy.convert.torch_file import write_torch
from fromscratch.anatomy.opening.open import open_checkpoint
from fromscratch.anatomy.structure.find import find_structure
from fromscratch.anatomy.structure.names import read_names
from fromscratch.anatomy.structure.roles import RotaryLayout, Structure
from fromscratch.anatomy.tensors import Checkpoint
from fromscratch.core.errors import FromScratchError
from fromscratch.core.files import sync_folder
from fromscratch.core.progress import progress
from fromscratch.core.settings import did_you_mean
from fromscratch.model.description import describe_model

__all__ = ["Conversion", "apply_plan", "conversion_page", "convert_model", "plan_conversion", "write_conversion"]

FLOATS = ("F32", "F16", "BF16")
KINDS = dict.fromkeys(TARGETS, FLOATS) | {"gguf": (*FLOATS, "Q8_0", "Q4_0", "Q4_1")}
READ_AS_SETTINGS = ("config.json", "model.json", LITGPT_CONFIG, "generation_config.json", "manifest.json")
READ_AS_TOKENIZER: tuple[str, ...] = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
)
READ_AS_TOKENIZER += ("added_tokens.json", "chat_template.jinja", "vocab.json", "merges.txt")
PAPERS = ("LICENSE", "LICENCE", "NOTICE", "COPYING", "USE_POLICY", "README")
"""Files that go with the weights wherever they go."""


@dataclass(frozen=True)
class Conversion:
    """All that is needed to write a model in another form."""

    checkpoint: Checkpoint
    plan: Plan
    decided: Decided
    tokenizing: Tokenizing | None


def convert_model(
    place: str | Path,
    target: str,
    out: Path | None = None,
    *,
    kind: str | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write the model at ``place`` in the form of ``target`` and say what was done, as plain JSON.

    A folder, or for ``gguf`` a file, is written at ``out`` or, without it, beside the working folder's other things
    under a name made of both. Raises FromScratchError for what cannot be converted, and where ``out`` exists.
    """
    made = plan_conversion(place, target, kind=kind, overrides=overrides)
    out = out or Path(f"{_name(str(place))}-{target}" if target != "gguf" else _gguf_name(made))
    if out.exists() and (out.is_file() or any(out.iterdir())):
        raise FromScratchError(f"{out}: is there already", "name another place with --out, or remove it")
    write_conversion(made, out)
    renames = made.plan.renames(made.checkpoint)
    return {
        "out": str(out),
        "to": target,
        "tensors": len(made.plan.outputs),
        "bytes": sum(nbytes(each.shape, each.kind) for each in made.plan.outputs),
        "only_renamed": renames is not None,
        "renamed": sum(old != new for old, new in renames.items()) if renames is not None else None,
        "dropped": dict(made.plan.dropped),
        "remarks": list(made.plan.remarks),
    }


def conversion_page(done: Mapping[str, Any]) -> str:
    """What ``convert_model`` returns, for a terminal."""
    size = f"{done['tensors']:,} tensors, {done['bytes'] / 1e9:,.2f} GB"
    how = "its tensors cut, turned or cast"
    if done["only_renamed"]:
        how = f"{done['renamed']:,} renamed, their bytes as they were" if done["renamed"] else "nothing to rename"
    lines = [f"{done['out']}", f"  {size}; {how}"]
    for reason in sorted(set(done["dropped"].values())):
        names = [name for name, each in done["dropped"].items() if each == reason]
        others = f" and {len(names) - 1:,} more" if len(names) > 1 else ""
        lines.append(f"  not written: `{names[0]}`{others}: {reason}")
    return "\n".join([*lines, *(f"  {remark}" for remark in done["remarks"])])


def plan_conversion(
    place: str | Path, target: str, *, kind: str | None = None, overrides: Mapping[str, Any] | None = None
) -> Conversion:
    """Everything up to the writing. Raises FromScratchError for what cannot be converted."""
    if target not in TARGETS:
        raise FromScratchError(f"--to {target}: no such names", did_you_mean(target, list(TARGETS)))
    if kind is not None and kind not in (known := KINDS[target]):
        raise FromScratchError(f"--type {kind}: not a form that {target} stores", f"known: {', '.join(known)}")
    checkpoint = open_checkpoint(place)
    structure = find_structure(checkpoint)
    settings, vocabulary = read_settings(checkpoint, structure, overrides)
    refuse_what_target_has_not(settings, target, checkpoint.place)
    if target != "native":  # a window that is left is as wide as the context
        settings = settings.model_copy(update={"window_tokens": None})
    tokenizing = _tokenizing(checkpoint)
    remarks = [*checkpoint.remarks, *_left_out(checkpoint, target)]
    remarks += [] if tokenizing else ["no tokenizer was found beside the weights"]
    layout = _layout(checkpoint, structure)
    if structure.rotary_layout not in (None, layout) and settings.positions.kind == "rotary":
        remarks.append(
            f"its weights look {structure.rotary_layout}, and the code for its names takes them as {layout}, which is "
            "kept: if the model talks nonsense, an earlier conversion was wrong"
        )
    decided = Decided(settings, vocabulary, target, layout, kind)
    if target == "gguf" and tokenizing:
        remarks += gguf_tokenizer_table(tokenizing, vocabulary, checkpoint.place)[1]
    return Conversion(checkpoint, make_plan(checkpoint, structure, decided, remarks), decided, tokenizing)


def write_conversion(made: Conversion, out: Path) -> None:
    """Apply the plan and write what belongs beside the weights; at ``out`` is all of it, or nothing."""
    decided, tokenizing, name = made.decided, made.tokenizing, _name(made.checkpoint.place)
    total = sum(nbytes(each.shape, each.kind) for each in made.plan.outputs)
    with progress("converting", total) as advance:
        if decided.target == "gguf":
            table = gguf_table(made.plan, decided, name)
            if tokenizing:
                table |= gguf_tokenizer_table(tokenizing, decided.vocabulary, made.checkpoint.place)[0]
            out.parent.mkdir(parents=True, exist_ok=True)
            write_gguf(out, table, made.plan.outputs, made.checkpoint, advance)
            out.chmod(0o644)
            return
        with _folder_at(out) as folder:
            apply_plan(made.plan, made.checkpoint, folder, advance)
            match decided.target:
                case "native":
                    describe_model(folder, decided.settings, decided.vocabulary)
                    describe_generation(folder, tokenizing)
                case "litgpt":
                    describe_litgpt(folder, decided, tokenizing, name)
                case _:
                    describe_llama(folder, made.plan, decided, tokenizing)
            if tokenizing:
                write_tokenizing(folder, tokenizing, decided.settings.context_tokens)
            for paper in _papers(made.checkpoint):
                (folder / paper).write_bytes(made.checkpoint.read_file(paper))


def apply_plan(plan: Plan, checkpoint: Checkpoint, folder: Path, written: Written = lambda _: None) -> None:
    """Write the tensors of a plan, as safetensors or as one file of PyTorch's, into a folder that is there."""
    files: dict[str, list[Output]] = {}
    for output in plan.outputs:
        files.setdefault(output.file, []).append(output)
    for file, outputs in files.items():
        write = write_torch if file.endswith(".pth") else write_safetensors
        write(folder / file, outputs, checkpoint, written)
    write_index(folder, plan.outputs)


@contextlib.contextmanager
def _folder_at(out: Path) -> Iterator[Path]:
    """A folder beside ``out`` that takes its name once everything in it is written."""
    folder = out.with_name(f".{out.name}.unfinished")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    for file in folder.iterdir():
        file.chmod(0o644)  # a server that runs as somebody else must be able to read it
    if out.is_dir():
        out.rmdir()  # empty, as was checked
    folder.rename(out)
    sync_folder(out.parent)


def _tokenizing(checkpoint: Checkpoint) -> Tokenizing | None:
    if checkpoint.format == "gguf":
        return tokenizing_of_gguf(checkpoint.config, checkpoint.place)
    if (found := read_tokenizing(checkpoint)) is not None:
        return found
    beside = Path(checkpoint.place).parent / "tokenizer" / "tokenizer.json"  # a stage of a run
    if "manifest.json" in checkpoint.other_files and beside.is_file():
        tuned = json.loads(checkpoint.read_file("manifest.json")).get("kind") == "tune"
        return our_tokenizing(beside.read_text(encoding="utf-8"), chat=tuned)
    return None


def _layout(checkpoint: Checkpoint, structure: Structure) -> RotaryLayout:
    """Which numbers of a head turn together: what the code for these names does decides, and weights without it."""
    naming, _ = read_names(checkpoint.tensors)
    if checkpoint.format == "gguf":
        return "interleaved" if checkpoint.config.get("general.architecture") == "llama" else "half_split"
    return (naming.rotary if naming else structure.rotary_layout) or "half_split"


def _left_out(checkpoint: Checkpoint, target: str) -> list[str]:
    """What of the source is not taken along, in words."""
    told = []
    code = [name for name in checkpoint.other_files if name.endswith(".py") and _is_folder(checkpoint)]
    if "auto_map" in checkpoint.config or code:
        named = f" ({', '.join(code)})" if code else ""
        told.append(f"the model's own code{named} and `auto_map` are left out: nothing needs to run it")
    known = {*code, *READ_AS_SETTINGS, *READ_AS_TOKENIZER, *_papers(checkpoint)}
    others = [name for name in checkpoint.other_files if name not in known and _is_folder(checkpoint)]
    if others:
        told.append(f"left out: {', '.join(others[:8])}" + (f" and {len(others) - 8} more" if len(others) > 8 else ""))
    if target == "yi":
        told.append("the names of Yi's first upload load only with its own code, which is not written here")
    return told


def _papers(checkpoint: Checkpoint) -> Sequence[str]:
    return [name for name in checkpoint.other_files if name.upper().startswith(PAPERS) and _is_folder(checkpoint)]


def _is_folder(checkpoint: Checkpoint) -> bool:
    """Whether a folder was named; what lies beside a file may belong to something else."""
    return not any(checkpoint.place.endswith(tensor.file) for tensor in checkpoint.tensors.values())


def _name(place: str) -> str:
    return Path(place.rstrip("/")).name.removesuffix(".gguf").removesuffix(".safetensors") or "model"


def _gguf_name(made: Conversion) -> str:
    kinds = {output.kind for output in made.plan.outputs if len(output.shape) > 1}
    return f"{_name(made.checkpoint.place)}-{made.decided.kind or '-'.join(sorted(kinds))}.gguf"
