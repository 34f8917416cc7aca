"""The published JSON Schema is the one that results are written by."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from result_files import write_result

from ko_eval.errors import DataError
from ko_eval.runs.result import RunResult, read_result

PUBLISHED = Path(__file__).parents[1] / "docs" / "results.schema.json"


def test_a_result_is_as_the_published_schema_says(tmp_path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    write_result(tmp_path / "a", model="org/a", shown={"ko_gpqa": 31.0, "ko_eqbench": 20.0})
    result = json.loads((tmp_path / "a" / "results.json").read_text(encoding="utf-8"))
    schema = json.loads(PUBLISHED.read_text(encoding="utf-8"))
    # Fields that a version added have defaults, so older results are as the schema says, too.
    later = {"definition_sha256", "usage", "groups", "format_loss", "levels"}
    assert later.isdisjoint(schema["$defs"]["TaskReport"]["required"])
    jsonschema.validate(result, schema)


def test_the_first_results_are_still_read(tmp_path: Path) -> None:
    write_result(tmp_path / "a", model="org/a", shown={"ko_gpqa": 31.0})
    file = tmp_path / "a" / "results.json"
    content = json.loads(file.read_text(encoding="utf-8")) | {"schema_version": "1.0"}
    del content["index"], content["cost"]
    for task in content["tasks"]:
        for name in ("groups", "format_loss", "levels", "usage", "definition_sha256"):
            del task[name]
        del task["data"]["dropped"]
    file.write_text(json.dumps(content), encoding="utf-8")
    result = read_result(file)
    assert result.tasks[0].shown.value == content["tasks"][0]["shown"]["value"]
    assert (result.tasks[0].definition_sha256, result.tasks[0].data.dropped) == ("unknown", 0)


def test_what_is_wrong_with_a_result_is_named(tmp_path: Path) -> None:
    write_result(tmp_path / "a", model="org/a", shown={"ko_gpqa": 31.0})
    file = tmp_path / "a" / "results.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    content["tasks"][0]["shown"]["value"] = "높음"
    file.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(DataError, match=r"tasks\.0\.shown\.value: input should be a valid number"):
        read_result(file)


def test_the_published_schema_is_current() -> None:
    # To publish a change: python -m ko_eval.runs.result > docs/results.schema.json
    assert json.loads(PUBLISHED.read_text(encoding="utf-8")) == RunResult.model_json_schema()
