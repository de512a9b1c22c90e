"""What each engine makes of a converted model, asked in a process of its own, and how far two answers are apart.

P passage · T position · V vocabulary
"""

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fromscratch.model.files import load_model

__all__ = ["Distance", "Reading", "Request", "apart", "our_reading", "read_with", "texts_of_the_tests"]

TESTS = Path(__file__).parent.parent.parent / "tests"
LogProbabilities = NDArray[np.float32]


@dataclass(frozen=True)
class Request:
    """Token ids to run through a model, how many last positions of each to look at, and texts to be cut into ids."""

    passages: Sequence[Sequence[int]]
    positions: int
    texts: Sequence[str] = ()
    attention: str | None = None
    """`eager` for the plain implementation of transformers."""


@dataclass(frozen=True)
class Reading:
    """What an engine answered."""

    log_probabilities: LogProbabilities
    """[P, T, V]"""
    told: Mapping[str, Any]


def texts_of_the_tests() -> dict[str, str]:
    """Real text in English, Chinese and code, as it lies in this repository."""
    extract = TESTS / "golden" / "corpus" / "extract"
    english = "\n".join((extract / f"{name}.txt").read_text(encoding="utf-8") for name in ("isolation", "wal-intro"))
    return {
        "English": english,
        "Chinese": (extract / "cmn_hant.txt").read_text(encoding="utf-8"),
        "code": (TESTS.parent / "src" / "fromscratch" / "core" / "artifact.py").read_text(encoding="utf-8"),
    }


def read_with(python: Path | str, script: str, model: Path, request: Request) -> Reading:
    """Ask ``script`` of this folder, run by the interpreter of an engine. Ends the program if it fails."""
    with tempfile.TemporaryDirectory() as folder:
        asked, result = Path(folder) / "request.json", Path(folder) / "result"
        content = {"passages": request.passages, "positions": request.positions, "texts": request.texts}
        content |= {"attention": request.attention}
        asked.write_text(json.dumps(content), encoding="utf-8")
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        environment |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TRANSFORMERS_VERBOSITY": "error"}
        command = [str(python), str(Path(__file__).with_name(script)), str(model), str(asked), str(result)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{script} failed on {model}:\n{done.stderr[-3000:]}")
        return Reading(np.load(f"{result}.npy"), json.loads(Path(f"{result}.json").read_text(encoding="utf-8")))


def our_reading(folder: Path, request: Request) -> Reading:
    """What our own decoder answers, in fp32."""
    decoder = load_model(folder).eval()
    with torch.inference_mode():
        rows = [
            decoder(torch.tensor([ids]))[0, -request.positions :].double().log_softmax(-1).float().numpy()
            for ids in request.passages
        ]
    return Reading(np.stack(rows), {"version": "our decoder"})


@dataclass(frozen=True)
class Distance:
    """How far two readings are apart, at worst."""

    of_text: float
    """Of the log-probability of the token that follows in the text, at any position."""
    of_any: float
    """Of the log-probability of any token of the vocabulary, at any position; the least likely differ most."""
    nats: float
    """KL over the vocabulary, at any position."""


def apart(request: Request, one: Reading, other: Reading) -> Distance:
    """The largest differences at the positions that were asked for."""
    of_text, of_any, nats = 0.0, 0.0, 0.0
    for ids, one_TV, other_TV in zip(request.passages, one.log_probabilities, other.log_probabilities, strict=True):
        difference_TV = one_TV.astype(np.float64) - other_TV
        following = np.array(ids[len(ids) - request.positions + 1 :])
        of_text = max(of_text, float(np.abs(difference_TV[np.arange(len(following)), following]).max()))
        of_any = max(of_any, float(np.abs(difference_TV).max()))
        nats = max(nats, float((np.exp(one_TV.astype(np.float64)) * difference_TV).sum(-1).max()))
    return Distance(of_text, of_any, nats)
