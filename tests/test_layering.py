"""The house has floors: a package imports only from packages below it (DESIGN section 2)."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "ko_eval"
GROUND = {"types", "errors", "resources", "safe_text", "bounds", "yaml_files", "ko_eval"}
MAY_IMPORT: dict[str, set[str]] = {
    "types": set(),
    "safe_text": set(),
    "errors": {"safe_text"},
    "resources": set(),
    "bounds": set(),
    "yaml_files": set(),
    "korean": {"types", "errors"},
    "stats": {"types", "errors"},
    "scorers": {"korean", "stats"},
    "engines": set(),
    "tasks": {"scorers"},
    "runs": {"tasks", "engines", "scorers", "stats"},
    "reports": {"runs", "stats", "tasks"},
    "cluster": {"runs", "tasks", "engines"},
    "doctor": {"runs", "tasks", "engines", "scorers", "korean"},
    "interop": {"runs", "tasks", "engines", "scorers", "reports", "stats"},
    "api": {"runs", "tasks", "engines", "reports", "cluster", "interop"},
    "cli": {
        *("runs", "tasks", "engines", "reports", "cluster", "doctor", "interop", "scorers"),
        "stats",
    },
}


def imported(path: Path) -> set[str]:
    """First-level names of our package that a module imports, wherever the import stands."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "ko_eval" and len(parts) > 1:
                found.add(
                    parts[1] if (PACKAGE / parts[1]).exists() or _is_module(parts[1]) else "ko_eval"
                )
    return found


def _is_module(name: str) -> bool:
    return (PACKAGE / f"{name}.py").exists()


MODULES = sorted(
    path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.stem != "__init__"
)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_import_runs_upward(path: Path) -> None:
    floor = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert floor in MAY_IMPORT, f"{floor} is a new package: give it a floor here and in DESIGN"
    allowed = MAY_IMPORT[floor] | {floor}
    if floor not in ("types", "errors", "safe_text"):
        allowed |= GROUND
    assert imported(path) <= allowed


def test_the_check_sees_an_import_inside_a_function() -> None:
    assert "engines" in imported(PACKAGE / "runs" / "evaluate.py")
    assert "reports" in imported(PACKAGE / "cli" / "run_command.py")
