"""Settings of the extraction of text from web pages."""

from typing import Literal

from pydantic import Field

from fromscratch.core.settings import Settings

__all__ = ["ExtractionSettings"]


class ExtractionSettings(Settings):
    """How the text of HTML pages is found; pages of text and code pass through whatever is set here."""

    kind: Literal["density", "resiliparse", "trafilatura"] = "density"
    """`density` reads pages in one compiled pass and keeps blocks by their length and share of links; `resiliparse` is
    a C++ parser with rules on a tree; `trafilatura` is the precise and slow one (needs the extra of its name)."""
    timeout_seconds: float = Field(default=20, gt=0)
    """Processor time that a page may take with the latter two; `density` takes time in proportion to a page's size."""
