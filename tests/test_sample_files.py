"""Per-sample files are read back as they were written; what is damaged is named with its line."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from ko_eval.errors import DataError
from ko_eval.runs.sample_files import SampleRecord, read_samples, samples_path
from ko_eval.runs.scoring import sample_line
from ko_eval.types import Outcome, SampleScore

LINE: dict[str, Any] = {
    "id": "a",
    "metrics": {"acc": 1.0},
    "extracted": None,
    "outcome": "ok",
    "detail": {},
}


def written(directory: Path, *lines: str) -> Path:
    path = samples_path(directory, "task")
    path.parent.mkdir(parents=True)
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def test_what_was_scored_is_read_back(tmp_path: Path) -> None:
    score = SampleScore(
        id="하나",
        metrics={"acc": 0.5, "brier": float("-inf")},
        extracted="서울",
        outcome=Outcome.WRONG_LANGUAGE,
        detail={"chosen": {"acc": 1}, "seen": [1, None, "x"]},
    )
    written(tmp_path, sample_line(score, key="k", choice_order=[2, 0, 1]))
    assert read_samples(tmp_path, "task") == [
        SampleRecord(
            id="하나",
            metrics={"acc": 0.5},  # JSON has no infinity
            extracted="서울",
            outcome=Outcome.WRONG_LANGUAGE,
            detail={"chosen": {"acc": 1}, "seen": [1, None, "x"]},
            key="k",
            choice_order=(2, 0, 1),
        )
    ]


def test_fields_of_later_versions_are_passed_over(tmp_path: Path) -> None:
    more = {**LINE, "group": "역사", "cluster": "p1", "surprise": [1]}
    written(tmp_path, json.dumps(more), "", json.dumps({**LINE, "id": "b"}))
    first, second = read_samples(tmp_path, "task")
    assert (first.group, first.cluster) == ("역사", "p1")
    assert (second.id, second.group, second.cluster, second.key) == ("b", None, None, None)


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("{", "line 2"),
        (json.dumps({**LINE, "id": 3}), "field 'id'"),
        (json.dumps({**LINE, "outcome": "fine"}), "field 'outcome'"),
        (json.dumps({**LINE, "id": "b", "metrics": {"acc": "x"}}), "field 'metrics.acc'"),
        ('{"id": "b", "metrics": {"acc": NaN}, "extracted": null, "outcome": "ok"}', "metrics.acc"),
        (json.dumps({**LINE, "id": "b", "metrics": {"acc": 1e308}}), "field 'metrics.acc'"),
        (json.dumps(LINE), "occurs twice"),
        ("[" * 100_000, "line 2"),
        ("\ud800".encode("utf-8", "surrogatepass").decode("latin-1"), "line 2"),
    ],
    ids=["torn", "id", "outcome", "text", "not a number", "huge", "twice", "deep", "no JSON"],
)
def test_a_damaged_line_is_named(line: str, what: str, tmp_path: Path) -> None:
    path = written(tmp_path, json.dumps(LINE), line)
    with pytest.raises(DataError) as error:
        read_samples(tmp_path, "task")
    assert what in str(error.value)
    assert str(path) in str(error.value)


def test_what_is_no_file_of_samples_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_samples(tmp_path, "task")
    path = written(tmp_path)
    with pytest.raises(DataError, match="holds no samples"):
        read_samples(tmp_path, "task")
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(DataError, match="ordinary file"):
        read_samples(tmp_path, "task")


def test_a_tasks_name_leads_nowhere_else(tmp_path: Path) -> None:
    assert samples_path(tmp_path, "../../x").parent == tmp_path / "samples"
