"""`docs/notebook.ipynb`: every cell runs, and what is stored is what it shows."""

from __future__ import annotations

import ast
import importlib.util
import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import ko_eval

NOTEBOOK = Path(__file__).parents[1] / "docs" / "notebook.ipynb"
MODEL_LINE = 'MODEL = "demo"'


def notebook(model: Path | None = None) -> dict[str, Any]:
    """The notebook, with another model in place of the demo's."""
    content: dict[str, Any] = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    if model is not None:
        cells = [cell for cell in content["cells"] if MODEL_LINE in "".join(cell["source"])]
        assert len(cells) == 1
        text = "".join(cells[0]["source"]).replace(MODEL_LINE, f"MODEL = {str(model)!r}")
        cells[0]["source"] = text
    return content


def code_cells(content: dict[str, Any]) -> list[str]:
    return ["".join(c["source"]) for c in content["cells"] if c["cell_type"] == "code"]


def run_cell(text: str, names: dict[str, object]) -> object:
    """Runs a cell as a notebook does; gives the value of an expression that ends it."""
    tree = ast.parse(text)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)
    if not isinstance(last, ast.Expr):
        return None
    return eval(compile(ast.Expression(last.value), "cell", "eval"), names)  # noqa: S307


def test_stored_outputs_hold_no_error_and_no_place_on_a_machine() -> None:
    content = notebook()
    outputs = [out for cell in content["cells"] for out in cell.get("outputs", [])]
    assert len(outputs) >= 6
    assert {out["output_type"] for out in outputs} <= {"execute_result", "stream"}
    text = json.dumps(outputs)
    assert not [place for place in ("/tmp", "/home", "/root", "/work") if place in text]
    assert "Ko-GPQA" in text
    assert "Index (ko-index)" in text


@pytest.mark.slow
def test_every_cell_runs(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    shown = [run_cell(text, names) for text in code_cells(notebook(tiny))]
    evaluations = [one for one in shown if isinstance(one, ko_eval.Evaluation)]
    assert [len(one.scores) for one in evaluations] == [3, 9]
    assert evaluations[1].index is not None
    assert len(list((tmp_path / "results").rglob("results.json"))) == 2


@pytest.mark.slow
def test_jupyter_runs_it(tiny: Path, tmp_path: Path) -> None:
    for library in ("nbclient", "ipykernel"):
        if importlib.util.find_spec(library) is None:
            pytest.skip(f"{library} is not installed")
    content = import_module("nbformat").reads(json.dumps(notebook(tiny)), as_version=4)
    place = {"metadata": {"path": str(tmp_path)}}
    import_module("nbclient").NotebookClient(content, timeout=300, resources=place).execute()
    text = json.dumps(content)
    assert '"output_type": "error"' not in text
    assert "Index (ko-index)" in text
