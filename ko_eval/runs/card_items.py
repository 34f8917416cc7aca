"""What became of each item of a card of ours, as a hash that a run elsewhere can be held against.

What is exact on every machine in float32 are scores and choices, not the digits of
log-likelihoods: sums are taken in another order on another processor, and differ by about 1e-4
nats. So the hash is over scores (rounded to nine digits) and choices, without the near ties that a
card names. Of generated texts only the scores are hashed: a token that two machines choose
differently changes the text, but hardly ever what it is worth.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from ko_eval.runs.cards import Card
from ko_eval.runs.sample_files import SampleRecord, read_samples, samples_path
from ko_eval.types import JsonValue

_DIGITS = 9


def outcomes_hash(
    records: Sequence[SampleRecord], metric: str, *, near_ties: Sequence[str] = ()
) -> str:
    """SHA-256 over what became of each item, in the order of their ids.

    Args:
        metric: the one whose values count.
        near_ties: ids that are left out.
    """
    left_out = set(near_ties)
    lines = [
        json.dumps(_outcome(record, metric), ensure_ascii=False)
        for record in sorted(records, key=lambda record: record.id)
        if record.id not in left_out
    ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def hashes_for(card: Card, run_directory: Path) -> dict[str, str]:
    """The same for each task of a card that has items, as far as the run has their files.

    Raises:
        DataError: a file is damaged.
    """
    hashes = {}
    for task, items in card.items.items():
        if samples_path(run_directory, task).is_file():
            records = read_samples(run_directory, task)
            hashes[task] = outcomes_hash(
                records, card.shown[task].metric, near_ties=items.near_ties
            )
    return hashes


def _outcome(record: SampleRecord, metric: str) -> list[JsonValue]:
    value = record.metrics.get(metric)
    number = None if value is None else round(value, _DIGITS)
    if "loglikelihoods" in record.detail:
        return [record.id, number, record.extracted]
    return [record.id, number]
