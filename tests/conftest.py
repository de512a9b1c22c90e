"""What all tests share: golden files, and the promise that no test reaches a hub or takes both cores."""

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest

os.environ.update(
    HF_HUB_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1", OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false", NO_COLOR="1"
)

GOLDEN = Path(__file__).parent / "golden"


class Golden:
    """Compares a value with the golden file of a name; `pytest --update-golden` writes the files anew."""

    def __init__(self, update: bool) -> None:
        self._update = update

    def check(self, name: str, value: Any) -> None:
        """``name`` ends in .json for plain values (floats to a relative 5e-4) and in .txt for texts."""
        path = GOLDEN / name
        is_json = path.suffix == ".json"
        text = json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True) + "\n" if is_json else str(value)
        if self._update:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            return
        assert path.exists(), f"no golden file {name}; write it with `pytest --update-golden` and read it"
        expected = path.read_text(encoding="utf-8")
        if is_json:
            assert alike(json.loads(text), json.loads(expected)), f"differs from tests/golden/{name}"
        else:
            assert text == expected, f"differs from tests/golden/{name}"


def alike(value: Any, expected: Any) -> bool:
    """Whether two plain values are equal, floats to a relative 5e-4, since processors round differently."""
    if isinstance(value, float) and isinstance(expected, float | int):
        return math.isclose(value, expected, rel_tol=5e-4, abs_tol=1e-9)
    if isinstance(value, list) and isinstance(expected, list):
        return len(value) == len(expected) and all(map(alike, value, expected))
    if isinstance(value, dict) and isinstance(expected, dict):
        return value.keys() == expected.keys() and all(alike(each, expected[key]) for key, each in value.items())
    return bool(value == expected)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the golden files anew; read their diff")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    return Golden(request.config.getoption("--update-golden"))
