"""What modelDNA says of pairs of local folders; run by anatomy.py in an environment of its own.

`python modeldna_side.py PAIRS.json` reads {name: [suspect, candidate]} and prints {name: verdict} on the last line.
"""

import json
import sys
from pathlib import Path

from modeldna.scan import compare_pair


def verdict(suspect: str, candidate: str) -> str:
    try:
        *_, found = compare_pair(suspect, candidate)
    except Exception as error:  # whatever a tool raises is its answer here
        return type(error).__name__
    return str(found.verdict.value)


if __name__ == "__main__":
    pairs = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    print(json.dumps({name: verdict(*pair) for name, pair in pairs.items()}))
