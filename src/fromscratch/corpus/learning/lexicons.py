"""Lexicons that come with the package: phrases by group, and how much of each group a text has."""

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fromscratch.corpus.kernels.phrases import PhraseSet, compile_phrases, find_phrases

__all__ = ["Found", "Lexicon", "load_lexicon", "look_up"]


@dataclass(frozen=True)
class Lexicon:
    """Phrases, each of one group or several."""

    groups: tuple[str, ...]
    phrases: PhraseSet
    weights: NDArray[np.float64]
    """[phrases, groups]; 0 where a phrase does not belong to a group."""
    least: NDArray[np.int64]
    """[groups] how many different phrases of a group a text must have to count as one of it."""


class Found(NamedTuple):
    """What was found of the phrases: each text's different ones, with how often they come."""

    texts: NDArray[np.int64]
    phrases: NDArray[np.int64]
    counts: NDArray[np.int64]


@cache
def load_lexicon(name: str) -> Lexicon:
    """A lexicon of `lists/`: for each group a TOML table of phrases by language, and perhaps `weight` and `least`."""
    folder = resources.files("fromscratch.corpus") / "lists"
    groups = tomllib.loads((folder / f"{name}.toml").read_text(encoding="utf-8"))
    listed = {name: sorted({*of_group["en"], *of_group["zh"]}) for name, of_group in groups.items()}
    phrases = sorted({phrase for each in listed.values() for phrase in each})
    weights = np.zeros((len(phrases), len(groups)))
    numbers = {phrase: number for number, phrase in enumerate(phrases)}
    for column, (name, of_group) in enumerate(groups.items()):
        weights[[numbers[phrase] for phrase in listed[name]], column] = of_group.get("weight", 1.0)
    least = np.array([of_group.get("least", 1) for of_group in groups.values()])
    return Lexicon(tuple(groups), compile_phrases(phrases), weights, least)


def look_up(texts: pa.LargeStringArray, lexicon: Lexicon) -> Found:
    """The different phrases of each text, in the order of texts."""
    matches = find_phrases(texts, lexicon.phrases)
    size = max(len(lexicon.weights), 1)
    pairs, counts = np.unique(matches.texts * size + matches.phrases, return_counts=True)
    return Found(pairs // size, pairs % size, counts)
