"""Makes a score card of our own from a finished run of a suite on the bundled items.

    ko-eval run demo --suite machine-check --dtype float32 --device cpu --limit 30
    python scripts/make_card.py results/demo/machine-check-bundled-… card.yaml

`ko-eval reproduce card.yaml` then says whether a machine computes the same.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ko_eval.errors import KoEvalError
from ko_eval.runs.card_making import card_text, make_card
from ko_eval.runs.files import write_atomically


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="run directory")
    parser.add_argument("card", type=Path, help="YAML file to write")
    parser.add_argument("--suite", help="path of the run's suite, where it is none of ours")
    parser.add_argument("--margin", type=float, help="in points; default: one item")
    parser.add_argument("--source", default="a run of ko-eval's own, by scripts/make_card.py")
    given = parser.parse_args()
    try:
        card = make_card(given.run, source=given.source, margin=given.margin, suite=given.suite)
        write_atomically(given.card, card_text(card))
    except KoEvalError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    near = sum(len(items.near_ties) for items in card.items.values())
    sys.stderr.write(f"{given.card}: {len(card.scores)} scores, {near} near ties\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
