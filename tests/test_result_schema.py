"""The published JSON Schema is the one that results are written by."""

from __future__ import annotations

import json
from pathlib import Path

from ko_eval.runs.result import RunResult

PUBLISHED = Path(__file__).parents[1] / "docs" / "results.schema.json"


def test_the_published_schema_is_current() -> None:
    # To publish a change: python -m ko_eval.runs.result > docs/results.schema.json
    assert json.loads(PUBLISHED.read_text(encoding="utf-8")) == RunResult.model_json_schema()
