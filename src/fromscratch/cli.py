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
    "corpus": ("corpus", "raw pages to clean, deduplicated documents, with the funnel"),
    "tokenizer": ("tokens", "train the tokenizer and pack the documents into token shards"),
    "train": ("pretrain", "pretrain the model"),
    "tune": ("tune", "tune the pretrained model for chat"),
    "evaluate": ("evaluate", "bits per byte on held-out documents, beside baselines; or of any model on any text"),
    "release": ("release", "a folder that plain Llama code loads, with its gates, card, licences and record"),
    "report": ("report", "one self-contained page about the whole run"),
}


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
        return 128 + stop.signal_number
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:  # the reader of our output has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_DONE
    except OSError as error:
        mended = _machine_refusal(error, getattr(options, "run", None) or getattr(options, "target", None))
        if mended is None:
            raise
        _complain(*mended)
        return EXIT_USER


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options of one command line; ``options.verb`` is the function to call with them. Exits with 2 on nonsense."""
    return _parser().parse_args(arguments)


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
        _add_run_options(verb)
        verb.set_defaults(verb=_evaluate if name == "evaluate" else _run, until=until)
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
