"""What modelDNA says of pairs of local folders; run by anatomy.py in an environment of its own.

`python modeldna_side.py PAIRS.json` reads {name: [suspect, candidate, …]} and prints {name: answer} on the last line: a
verdict, or, of several candidates, what share of the suspect each of them is said to be.
"""

import json
import sys
from pathlib import Path

from modeldna.merge import decompose_targets
from modeldna.scan import compare_pair


def answer(suspect: str, candidates: list[str]) -> str:
    try:
        if len(candidates) > 1:
            found = decompose_targets(suspect, candidates)
            return f"{found.summary} " + " ".join(f"{found.alphas[each]:.3f}" for each in candidates)
        *_, verdict = compare_pair(suspect, candidates[0])
    except Exception as error:  # whatever a tool raises is its answer here
        return type(error).__name__
    return str(verdict.verdict.value)


if __name__ == "__main__":
    asked = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    print(json.dumps({name: answer(suspect, candidates) for name, (suspect, *candidates) in asked.items()}))
