"""The wheel, in an empty environment, far from the repository."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(target), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    return next(target.glob("*.whl"))


def test_the_wheel_carries_tasks_configs_and_seeds(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for folder, pattern in (("tasks", "*.yaml"), ("configs", "**/*.yaml"), ("seeds", "*.jsonl")):
        for path in (ROOT / folder).glob(pattern):
            assert f"ko_eval/_shipped/{path.relative_to(ROOT)}" in names
    # The modules for `evaluate` lie in folders that are no packages.
    for path in (ROOT / "ko_eval").rglob("*.py"):
        assert str(path.relative_to(ROOT)) in names
    assert not [name for name in names if name.startswith(("tests/", "scripts/"))]


def test_an_installed_wheel_works_outside_the_repository(wheel: Path, tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    pip = [str(venv / "bin" / "python"), "-m", "pip", "install", "-q"]
    pins = ["-c", str(ROOT / "constraints.txt")]
    subprocess.run([*pip, *pins, "torch"], check=True, capture_output=True)
    subprocess.run([*pip, *pins, str(wheel)], check=True, capture_output=True)

    def ko_eval(*arguments: str) -> str:
        command = [str(venv / "bin" / "ko-eval"), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
        return done.stdout

    assert ko_eval("list").count("bundled") == 9
    assert "질문:" in ko_eval("show", "ko_gsm8k")
