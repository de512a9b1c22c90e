"""The command line: one verb, one function. Heavy modules are imported by the verb that needs them."""

import argparse
import errno
import functools
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fromscratch import __version__
from fromscratch.core.errors import EXIT_DONE, EXIT_USER, FromScratchError
from fromscratch.core.stopping import Stopped

if TYPE_CHECKING:
    from fromscratch.recipe import Recipe

__all__ = ["main", "parse_arguments"]

DESCRIPTION = "Train a foundation model from scratch, and prove it."
EPILOG = """exit status: 0 done, 1 our fault, 2 yours (with a hint), 3 a gate refused.
Any run can be stopped with Ctrl-C or SIGTERM and goes on with the same command."""

# What each verb makes: the stages up to this one.
STAGE_VERBS = {
    "run": ("report", "every stage of the recipe in order; done stages are kept, an interrupted one goes on"),
    "corpus": (
        "corpus",
        "raw pages to clean, deduplicated documents; explain, sample and diff look inside",
    ),
    "tokenizer": ("tokens", "train the tokenizer and pack the documents into token shards"),
    "train": ("pretrain", "pretrain the model"),
    "tune": ("tune", "tune the pretrained model for chat"),
    "evaluate": ("evaluate", "bits per byte on held-out documents, beside baselines; or of any model on any text"),
    "release": ("release", "a folder that plain Llama code loads, with its gates, card, licences and record"),
    "report": ("report", "one self-contained page about the whole run"),
}

# Which extra brings what a verb may find missing; the base install has none of them.
EXTRA_OF = {
    **dict.fromkeys(("numba", "fsspec"), "anatomy"),
    **dict.fromkeys(("pyarrow", "fastwarc", "resiliparse", "tokenizers", "zstandard"), "corpus"),
    **dict.fromkeys(("torch",), "train"),
    **dict.fromkeys(("jinja2", "yaml"), "chat"),
    **dict.fromkeys(("transformers",), "serve"),
}

# What can be asked of a finished corpus; a recipe that is called so is named with its path.
CORPUS_VERBS = ("corpus explain", "corpus sample", "corpus diff")
CORPUS_EPILOG = """of a finished corpus, with options of their own:
  fromscratch corpus explain RUN ID     one document: each step, what was measured, the verdict
  fromscratch corpus sample RUN         some documents with their verdicts, of each reason or of one
  fromscratch corpus diff RUN_A RUN_B   what a changed threshold did"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit status."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing is loaded from a hub, and nothing reports home
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    options = parse_arguments(arguments)
    verb: Callable[[argparse.Namespace], int] = options.verb
    try:
        return verb(options)
    except FromScratchError as error:
        _complain(error.message, error.hint)
        return error.exit_code
    except Stopped as stop:
        _complain(f"stopped by {stop}", "the same command goes on from here", label="stopped")
        return stop.exit_code
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:  # the reader of our output has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_DONE
    except ModuleNotFoundError as error:
        extra = EXTRA_OF.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        _complain(f"this needs {error.name}, which is not installed", f'pip install "fromscratch[{extra}]"')
        return EXIT_USER
    except OSError as error:
        mended = _machine_refusal(error, getattr(options, "run", None) or getattr(options, "target", None))
        if mended is None:
            raise
        _complain(*mended)
        return EXIT_USER


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options of one command line; ``options.verb`` is the function to call with them. Exits with 2 on nonsense."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if " ".join(words[:2]) in CORPUS_VERBS:
        words[:2] = [" ".join(words[:2])]
    return _parser().parse_args(words)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fromscratch",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=functools.partial(argparse.RawDescriptionHelpFormatter, max_help_position=16),
    )
    parser.add_argument("--version", action="version", version=f"fromscratch {__version__}")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    for name, (until, text) in STAGE_VERBS.items():
        verb = verbs.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        if name == "corpus":
            verb.epilog, verb.formatter_class = CORPUS_EPILOG, argparse.RawDescriptionHelpFormatter
        _add_run_options(verb)
        verb.set_defaults(verb=_evaluate if name == "evaluate" else _run, until=until)
        if name == "train":
            verb.add_argument(
                "--profile", action="store_true", help="say where the time of a few steps goes; leave a trace"
            )
        if name == "evaluate":
            verb.add_argument("--on", nargs="+", metavar="FILE", type=Path, help="score a model folder on these texts")
    chat = verbs.add_parser(
        "chat", help="talk to a model in the terminal", description="Talk to a released model, or to that of a run."
    )
    chat.add_argument("model", type=Path, metavar="MODEL", help="a released model folder, or a run")
    chat.add_argument("--message", metavar="TEXT", help="ask once, print the answer alone, and leave")
    chat.add_argument("--system", metavar="TEXT", help="what the model is told before the conversation")
    chat.add_argument("--temperature", type=float, metavar="X", help="0 always takes the likeliest token")
    chat.add_argument(
        "--top-p", type=float, metavar="X", help="sample from the likeliest tokens of this total probability"
    )
    chat.add_argument("--max-tokens", type=int, metavar="N", help="length of an answer at most")
    chat.add_argument("--seed", type=int, default=0, metavar="N", help="equal seeds give equal answers")
    chat.add_argument("--json", action="store_true", help="one JSON object per answer")
    chat.set_defaults(verb=_chat)
    _add_corpus_verbs(verbs)
    inspect = verbs.add_parser(
        "inspect",
        help="the architecture card of a model, of a known one, or of a recipe's",
        description="Say what a decoder is on the four axes, and what it takes to train and to run it. A model is "
        "opened without running anything of it, and read by the shapes and the numbers of its tensors.",
    )
    inspect.add_argument(
        "subject",
        metavar="MODEL|PRESET|RECIPE",
        help="a checkpoint (file, folder or URL), or such as yi-34b; `all` lists the presets",
    )
    inspect.add_argument("--blind", action="store_true", help="look at a model without its names and its config")
    inspect.add_argument(
        "--set", action="append", default=[], metavar="PATH=VALUE", dest="assignments", help="change a recipe's setting"
    )
    inspect.add_argument("--json", action="store_true", help="the same as one JSON object")
    inspect.set_defaults(verb=_inspect)
    _add_comparisons(verbs)
    _add_conversions(verbs)
    for name, text, verb_function in (
        ("ledger", "what happened in a run, with every chain of its ledger checked", _ledger),
        ("goodput", "where the time of a run's training went", _goodput),
    ):
        verb = verbs.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        verb.add_argument("run", metavar="RUN", type=Path, help="the folder of a run")
        verb.add_argument("--json", action="store_true", help="the same as JSON")
        verb.set_defaults(verb=verb_function)
    schema = verbs.add_parser(
        "schema", help="the JSON Schema of recipes, for editors", description="Print the JSON Schema of recipes."
    )
    schema.set_defaults(verb=_schema)
    doctor = verbs.add_parser(
        "doctor",
        help="what this machine has",
        description="Say what this machine has: cores, memory, GPU, extras, disk.",
    )
    doctor.add_argument("--json", action="store_true", help="the same as one JSON object")
    doctor.set_defaults(verb=_doctor)
    return parser


def _add_corpus_verbs(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    verb = verbs.add_parser(
        "corpus explain",
        description="Say of one document where it came from, what each step measured against which bound, and why it "
        "was kept or dropped.",
    )
    verb.add_argument("run", metavar="RUN", type=Path, help="the folder of a run")
    verb.add_argument("document", metavar="ID", help="a document's id, the beginning of it, or its address")
    verb.add_argument("--json", action="store_true", help="the same as one JSON object")
    verb.set_defaults(verb=_explain)
    verb = verbs.add_parser(
        "corpus sample",
        description="Show documents drawn at random: some of each reason, or some that meet all that is asked.",
    )
    verb.add_argument("run", metavar="RUN", type=Path, help="the folder of a run")
    verb.add_argument("--reason", metavar="R", help="dropped for this reason; `kept` for those that stayed")
    verb.add_argument("--step", metavar="S", help="dropped by this step")
    verb.add_argument("--language", metavar="L", help="of this language, such as en, zh or code")
    verb.add_argument("--source", metavar="S", help="from this source of the recipe")
    verb.add_argument("--count", metavar="N", type=_positive, help="so many (default: 10, or 2 of each reason)")
    verb.add_argument("--seed", metavar="N", type=int, default=0, help="another seed draws other documents")
    verb.add_argument("--json", action="store_true", help="the same as one JSON object")
    verb.set_defaults(verb=_sample)
    verb = verbs.add_parser(
        "corpus diff",
        description="Compare the corpora of two runs: settings that differ, documents kept or dropped now, and "
        "those with another reason.",
    )
    verb.add_argument("run", metavar="RUN_A", type=Path, help="the folder of a run")
    verb.add_argument("other", metavar="RUN_B", type=Path, help="the folder of the run to compare with it")
    verb.add_argument("--count", metavar="N", type=_positive, default=3, help="examples of each change (default: 3)")
    verb.add_argument("--seed", metavar="N", type=int, default=0, help="another seed draws other examples")
    verb.add_argument("--json", action="store_true", help="the same as one JSON object")
    verb.set_defaults(verb=_diff)


def _add_comparisons(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    compare = verbs.add_parser(
        "compare",
        help="is it the same model: architecture, weights, and what licences ask for",
        description="Say of two models whether the architecture is the same, whether the weights are related and how, "
        "and what the licences along the lineage ask for. Nothing of them is run, and each is read once.",
    )
    compare.add_argument("model", metavar="A", help="a file or folder, here or behind a URL")
    compare.add_argument("other", metavar="B", nargs="?", help="the model to compare with it")
    compare.add_argument(
        "--among", type=Path, metavar="DIR", help="compare A with each fingerprint of a folder instead"
    )
    compare.add_argument("--html", type=Path, metavar="FILE", help="write a self-contained page with the map of layers")
    compare.set_defaults(verb=_compare)
    fingerprint = verbs.add_parser(
        "fingerprint",
        help="a few megabytes of a model, for compare --among",
        description="Read a model once and write what comparisons need of it, a few megabytes.",
    )
    fingerprint.add_argument("model", metavar="MODEL", help="a file or folder, here or behind a URL")
    fingerprint.add_argument("--out", type=Path, metavar="FILE", help="where to write it (default: NAME.fingerprint)")
    fingerprint.set_defaults(verb=_fingerprint)
    for verb in (compare, fingerprint):
        verb.add_argument("--blind", action="store_true", help="leave names and configs aside")
        verb.add_argument("--json", action="store_true", help="the same as one JSON object")


def _add_conversions(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    convert = verbs.add_parser(
        "convert",
        help="a model under other names or in another format: llama, yi, gguf, litgpt, native",
        description="Write a model in another form, with its config, tokenizer and chat template. Nothing of it is "
        "run, and it is never loaded whole.",
    )
    convert.add_argument(
        "--to", required=True, metavar="NAMES", help="llama, yi, gguf, litgpt or native, which is ours"
    )
    convert.add_argument(
        "--type",
        metavar="FORM",
        dest="kind",
        help="F32, F16 or BF16, and in GGUF Q8_0, Q4_0 or Q4_1; as it is if absent",
    )
    convert.add_argument(
        "--plan", action="store_true", help="print what would become of each tensor, as JSON, and leave"
    )
    convert.set_defaults(verb=_convert)
    imported = verbs.add_parser(
        "import",
        help="a model as ours, to go on training it: see pretrain.init_from",
        description="Write a model as a folder that `pretrain.init_from` of a recipe can name.",
    )
    imported.set_defaults(verb=_convert, to="native", kind=None, plan=False)
    for verb in (convert, imported):
        verb.add_argument("model", metavar="MODEL", help="a file or folder, here or behind a URL")
        verb.add_argument(
            "--out", type=Path, metavar="PLACE", required=verb is imported, help="where to write it; must not exist"
        )
        verb.add_argument(
            "--set",
            action="append",
            default=[],
            metavar="PATH=VALUE",
            dest="assignments",
            help="say what its config does not, e.g. positions.base=5e6",
        )
        verb.add_argument("--json", action="store_true", help="print the result as one JSON object")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not a positive number")
    return number


def _add_run_options(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("target", metavar="RECIPE", type=Path, help="a recipe (TOML), or the folder of a run")
    verb.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="PATH=VALUE",
        dest="assignments",
        help="change a setting, e.g. model.layers=4",
    )
    verb.add_argument("--run", type=Path, metavar="DIR", help="folder of the run (default: runs/NAME)")
    verb.add_argument("--redo", action="store_true", help="make stages again whose settings or inputs changed")
    verb.add_argument("--json", action="store_true", help="print the result as one JSON object")


def _run(options: argparse.Namespace) -> int:
    from fromscratch.pipeline import run_stages

    recipe, run = _recipe_and_run(options)
    results = run_stages(recipe, run, until=options.until, redo=options.redo)
    if not results:  # another process of torchrun has them
        return EXIT_DONE
    if options.json:
        stages = {
            name: {
                "kept": result.kept,
                "seconds": round(result.seconds, 3),
                "digest": result.artifact.digest,
                "facts": result.artifact.facts,
            }
            for name, result in results.items()
        }
        print(json.dumps({"run": str(run), "stages": stages}, ensure_ascii=False))
        return EXIT_DONE
    if all(result.kept for result in results.values()):
        print(f"nothing to do: every stage of {run} is done")
    if options.until == "report":
        from fromscratch.release.closing import closing_lines

        print("\n".join(closing_lines(run, _own_name())))
    return EXIT_DONE


def _recipe_and_run(options: argparse.Namespace) -> "tuple[Recipe, Path]":
    from fromscratch.core.recipe_file import parse_overrides
    from fromscratch.recipe import load_recipe

    target: Path = options.target
    overrides = parse_overrides(options.assignments)
    if getattr(options, "profile", False):
        overrides = {"machine.profile_steps": 3, **overrides}
    if target.is_dir():
        recorded = target / "recipe.json"
        if not recorded.exists():
            raise FromScratchError(
                f"{target}: not a run; it has no recipe.json", "name a recipe file, or the folder of a run"
            )
        return load_recipe(recorded, overrides), options.run or target
    recipe = load_recipe(target, overrides)
    return recipe, options.run or Path("runs") / recipe.name


def _own_name() -> str:
    """How a shell in this folder finds this command: by name if it is on the path, else as it was called."""
    if shutil.which("fromscratch"):
        return "fromscratch"
    called = Path(sys.argv[0])
    return str(called) if called.name == "fromscratch" else f"{sys.executable} -m fromscratch"


def _evaluate(options: argparse.Namespace) -> int:
    if not options.on:
        return _run(options)
    from fromscratch.evaluate.texts import evaluate_texts

    print(
        json.dumps(evaluate_texts(options.target, options.on), ensure_ascii=False, indent=None if options.json else 1)
    )
    return EXIT_DONE


def _chat(options: argparse.Namespace) -> int:
    from fromscratch.chat.talk import talk

    return talk(
        options.model,
        message=options.message,
        system=options.system,
        temperature=options.temperature,
        top_p=options.top_p,
        max_tokens=options.max_tokens,
        seed=options.seed,
        as_json=options.json,
    )


def _explain(options: argparse.Namespace) -> int:
    from fromscratch.corpus.verdicts.explain import explain
    from fromscratch.corpus.verdicts.pages import explain_page, show

    found = explain(options.run, options.document)
    print(json.dumps(found, ensure_ascii=False)) if options.json else show(explain_page(found))
    return EXIT_DONE


def _sample(options: argparse.Namespace) -> int:
    from fromscratch.corpus.verdicts.pages import sample_page, show
    from fromscratch.corpus.verdicts.sample import sample

    filters = {name: getattr(options, name) for name in ("reason", "step", "language", "source")}
    found = sample(options.run, **filters, count=options.count, seed=options.seed)
    if options.json:
        print(json.dumps({"run": str(options.run), "documents": found}, ensure_ascii=False))
    else:
        show(sample_page(found))
    return EXIT_DONE


def _diff(options: argparse.Namespace) -> int:
    from fromscratch.corpus.verdicts.diff import diff
    from fromscratch.corpus.verdicts.pages import diff_page, show

    found = diff(options.run, options.other, examples=options.count, seed=options.seed)
    print(json.dumps(found, ensure_ascii=False)) if options.json else show(diff_page(found))
    return EXIT_DONE


def _inspect(options: argparse.Namespace) -> int:
    from fromscratch.inspect_model import inspect_subject

    print(inspect_subject(options.subject, options.assignments, as_json=options.json, blind=options.blind))
    return EXIT_DONE


def _convert(options: argparse.Namespace) -> int:
    from fromscratch.anatomy.convert.convert import conversion_page, convert_model, plan_conversion
    from fromscratch.anatomy.convert.plan import plan_text
    from fromscratch.core.recipe_file import parse_overrides

    overrides = parse_overrides(options.assignments)
    if options.plan:
        made = plan_conversion(options.model, options.to, kind=options.kind, overrides=overrides)
        print(plan_text(made.plan))
        return EXIT_DONE
    done = convert_model(options.model, options.to, options.out, kind=options.kind, overrides=overrides)
    print(json.dumps(done, ensure_ascii=False) if options.json else conversion_page(done))
    return EXIT_DONE


def _compare(options: argparse.Namespace) -> int:
    from fromscratch.anatomy.among import compare_among
    from fromscratch.anatomy.compare import compare
    from fromscratch.anatomy.pages.html import comparison_html
    from fromscratch.anatomy.pages.plain import comparison_json, plain
    from fromscratch.anatomy.pages.terminal import comparison_page, ranking_page, show
    from fromscratch.core.files import atomic_write

    if (options.other is None) == (options.among is None):
        raise FromScratchError(
            "compare takes two models, or one and --among", "compare A B, or compare A --among FINGERPRINTS"
        )
    if options.among is not None:
        ranking = compare_among(options.model, options.among, blind=options.blind)
        print(json.dumps(plain(ranking), ensure_ascii=False)) if options.json else show(ranking_page(ranking))
        return EXIT_DONE
    found = compare(options.model, options.other, blind=options.blind)
    if options.html:
        with atomic_write(options.html) as temporary:
            temporary.write_text(comparison_html(found), encoding="utf-8")
    print(json.dumps(comparison_json(found), ensure_ascii=False)) if options.json else show(comparison_page(found))
    return EXIT_DONE


def _fingerprint(options: argparse.Namespace) -> int:
    from fromscratch.anatomy.among import write_fingerprint

    path, made = write_fingerprint(options.model, options.out, blind=options.blind)
    size = path.stat().st_size
    if options.json:
        print(json.dumps({"file": str(path), "bytes": size, "digest": made.digest, "layers": made.layers}))
    else:
        print(f"{path}: {size / 1e6:.1f} MB, digest {made.digest}")
    return EXIT_DONE


def _ledger(options: argparse.Namespace) -> int:
    from fromscratch.core.account import account_page, merged_lines

    lines = merged_lines(options.run)
    if options.json:
        for file, line in lines:
            print(json.dumps({"file": file, **line}, ensure_ascii=False))
    else:
        print(account_page(lines))
    return EXIT_DONE


def _goodput(options: argparse.Namespace) -> int:
    from fromscratch.core.account import goodput_page, time_spent

    spent = time_spent(options.run)
    found = {stage: each.as_json() for stage, each in spent.items()}
    print(json.dumps(found, ensure_ascii=False) if options.json else goodput_page(spent))
    return EXIT_DONE


def _schema(_options: argparse.Namespace) -> int:
    from fromscratch.recipe import Recipe

    print(json.dumps(Recipe.model_json_schema(), ensure_ascii=False, indent=2))
    return EXIT_DONE


def _doctor(options: argparse.Namespace) -> int:
    from fromscratch.doctor import examine, page

    found = examine()
    print(json.dumps(found, ensure_ascii=False) if options.json else page(found))
    return EXIT_DONE


def _machine_refusal(error: OSError, asked: Path | None) -> tuple[str, str] | None:
    """The sentence for what the machine refuses and its user can mend; None for what is ours."""
    place = f"{error.filename or asked}: " if error.filename or asked else ""
    known: dict[int | None, tuple[str, str]] = {
        errno.ENOSPC: ("no space is left on the disk", "free some, then run the same command: it goes on from here"),
        errno.EDQUOT: ("the disk quota is used up", "free some, then run the same command: it goes on from here"),
        errno.EROFS: ("this file system is read-only", "choose a folder that can be written, with --run"),
        errno.EACCES: ("permission denied", "choose a folder that you may write, with --run"),
        errno.EPERM: ("operation not permitted", "choose a folder that you may write, with --run"),
        errno.ENOTDIR: ("not a folder", "choose another folder with --run"),
    }
    number = error.errno if error.errno is not None or "No space left" not in str(error) else errno.ENOSPC
    if number not in known:
        return None
    sentence, hint = known[number]
    return place + sentence, hint


def _complain(message: str, hint: str, label: str = "error") -> None:
    print(f"{label}: {message}\nhint: {hint}", file=sys.stderr)
