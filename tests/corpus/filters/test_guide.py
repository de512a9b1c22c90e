"""The filter of the guide works as it is printed there."""

import re
from pathlib import Path
from typing import Any

from fromscratch.corpus.filters.filter import Filter
from tests.conftest import Golden
from tests.corpus.filters.pages import batch_of, judged, judged_pages

GUIDE = Path(__file__).parent.parent.parent.parent / "docs" / "guides" / "adding-a-filter.md"


def filter_of_the_guide(**settings: Any) -> Filter:
    [code] = re.findall(r"^```python\n(.*?)^```", GUIDE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {"__name__": "fromscratch.corpus.filters.shouting"}
    exec(compile(code, str(GUIDE), "exec"), names)
    made: Filter = names["Shouting"](**settings)
    return made


def test_pages_that_shout_go_and_code_may_negate() -> None:
    batch = batch_of(["Buy now! Free! Today!", "买！买！买！", "One. Two!\nThree."])
    assert [reason for reason, _ in judged(filter_of_the_guide(), batch)] == ["shouting", "shouting", None]
    assert judged(filter_of_the_guide(most_exclamations_per_line=3), batch)[0] == (None, None)
    assert judged(filter_of_the_guide(), batch_of(["!a && !b && !c"], "code"))[0] == (None, None)


def test_verdicts_on_real_pages_are_the_golden_ones(golden: Golden) -> None:
    golden.check("corpus/filters/shouting.json", judged_pages(filter_of_the_guide()))
