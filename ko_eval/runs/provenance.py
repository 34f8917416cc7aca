"""Where a result comes from: versions, revision, machine."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from pathlib import Path

import ko_eval

_PACKAGES = (
    *("ko-eval", "torch", "transformers", "tokenizers", "datasets", "accelerate", "numpy"),
    "vllm",
)


def environment() -> dict[str, str]:
    """Versions of everything that can move a score."""
    versions = {"python": platform.python_version(), "platform": platform.platform()}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    versions["ko-eval"] = ko_eval.__version__
    return versions


def git_revision() -> str | None:
    """The commit of the checkout that ko-eval runs from, with `+` when it was changed; or None."""
    root = Path(ko_eval.__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return None
    try:
        commit = _git(root, "rev-parse", "HEAD")
        return commit + ("+" if _git(root, "status", "--porcelain") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True, timeout=10
    ).stdout.strip()
