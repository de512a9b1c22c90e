"""Files that are all there or not at all, whoever else writes them."""

from pathlib import Path

import pytest

from fromscratch.core.files import atomic_write


def test_two_writers_of_one_file_never_write_into_each_other(tmp_path: Path) -> None:
    path = tmp_path / "shard"
    with atomic_write(path) as lost:
        lost.write_text("half")
        with atomic_write(path) as again:
            again.write_text("whole")
        assert path.read_text() == "whole"
        lost.write_text("whole, too")
    assert path.read_text() == "whole, too"
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_is_left_of_a_write_that_failed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="on the way"), atomic_write(tmp_path / "shard") as temporary:
        temporary.write_text("half")
        raise ValueError("on the way")
    assert list(tmp_path.iterdir()) == []
