"""Python files as documentation: their docstrings, found in the syntax tree of a file that is never run."""

import ast
import inspect
import warnings
from collections.abc import Iterator
from typing import IO

from fromscratch.corpus.readers.page import Page, Reading
from fromscratch.corpus.readers.streams import read_whole
from fromscratch.corpus.sources import DocstringsFormat

__all__ = ["read_docstrings"]

Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def read_docstrings(stream: IO[bytes], style: DocstringsFormat, reading: Reading) -> Iterator[Page]:
    """One page for the module's own docstring, and one for each class or function outside one, with all inside it.

    A docstring whose first line already stands on the page is left out: accessors repeat what their class says.
    """
    source = read_whole(stream, reading.limit_bytes)
    try:
        with warnings.catch_warnings(action="ignore"):  # of other people's escape sequences
            module = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:  # the parser's own limits among them
        reading.report(None, f"not Python ({error})")
        return
    outer = [module, *(each for each in module.body if isinstance(each, Documented))]
    for number, node in enumerate(outer):
        text = ""
        for docstring in _docstrings(node):
            if docstring.partition("\n")[0].strip() not in text:
                text = f"{text}\n\n{docstring}" if text else docstring
        if len(text) >= style.least_characters:
            title = None if isinstance(node, ast.Module) else node.name
            yield Page("text", text.encode(errors="replace"), str(number), title=title, charset="utf-8")


def _docstrings(node: Documented) -> Iterator[str]:
    docstring = ast.get_docstring(node, clean=False)
    if docstring and docstring.strip():
        yield inspect.cleandoc(docstring).strip()
    if not isinstance(node, ast.Module):
        for each in node.body:
            if isinstance(each, Documented):
                yield from _docstrings(each)
