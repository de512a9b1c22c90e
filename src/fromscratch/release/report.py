"""The stage that writes `report.html`: one self-contained page about the whole run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from fromscratch import __version__
from fromscratch.core.artifact import Artifact, Draft
from fromscratch.core.files import atomic_write
from fromscratch.core.workplace import Workplace
from fromscratch.release.chapters import chapters
from fromscratch.release.evidence import gather

__all__ = ["REPORT", "TEMPLATES", "render_report", "write_report"]

REPORT = "report.html"
TEMPLATES = Path(__file__).parent / "templates"


def write_report(draft: Draft, inputs: Mapping[str, Artifact], workplace: Workplace, *, name: str) -> Mapping[str, Any]:
    """Write the page from the finished artifacts and the run's ledger. Unlike any other artifact it holds times."""
    page = render_report(inputs, workplace.ledger.path, name)
    with atomic_write(draft.folder / REPORT) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return {"bytes": len(page.encode()), "summary": f"{REPORT}, {len(page.encode()) / 1e3:,.0f} kB, loads nothing"}


def render_report(inputs: Mapping[str, Artifact], ledger: Path, name: str) -> str:
    """The page as HTML. ``inputs`` are the artifacts of all stages by name, the release among them."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=select_autoescape(["html", "jinja"]),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    page = environment.get_template("report.html.jinja")
    return page.render(version=__version__, **chapters(gather(inputs, ledger), inputs["release"], name))
