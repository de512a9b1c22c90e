"""A workplace for processes that train together."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fromscratch.core.ledger import Ledger
from fromscratch.core.workplace import Machine, Workplace


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workplace]:
    folder: Path = tmp_path_factory.mktemp("workplace")
    with Ledger(folder / "process-0.jsonl") as ledger:
        yield Workplace(Machine(threads=1, device="cpu"), ledger)
