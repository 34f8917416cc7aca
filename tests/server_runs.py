"""Runs against the server of `misbehaving_server`, and what they leave."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from misbehaving_server import Ask, MisbehavingServer

from ko_eval.engines.server_options import ServerOptions
from ko_eval.runs.evaluate import RunOutcome, evaluate
from ko_eval.runs.plan import RunOptions
from ko_eval.tasks.prepare import prepare_task
from ko_eval.tasks.registry import load_task
from ko_eval.types import GenerateRequest, LoglikelihoodRequest

LIMIT = 4
Reply = Callable[[Ask, dict[str, Any]], dict[str, Any]]


def options(server: MisbehavingServer, out: Path, **more: Any) -> RunOptions:
    """Options of a run that does not wait long.

    Args:
        more: other options; those of the server in `asked`.
    """
    quick = {"concurrency": 4, "timeout": 5.0, "backoff": 0.01, **more.pop("asked", {})}
    fields: dict[str, Any] = {"limit": LIMIT, "tasks": ("ko_gsm8k",), **more}
    return RunOptions(model=server.url, out=out, server=ServerOptions(**quick), **fields)


def run(server: MisbehavingServer, out: Path, **more: Any) -> RunOutcome:
    """A run with `options`."""
    return evaluate(options(server, out, **more))


def journal(outcome: RunOutcome, task: str = "ko_gsm8k") -> list[dict[str, Any]]:
    """The task's responses in the journal."""
    lines = (outcome.directory / "responses" / f"{task}.jsonl").read_text(encoding="utf-8")
    entries = [json.loads(line) for line in lines.splitlines()]
    return [entry["entry"]["response"] for entry in entries if "entry" in entry]


def plan_requests(outcome: RunOutcome) -> list[GenerateRequest | LoglikelihoodRequest]:
    """The requests of the run's first task."""
    report = outcome.result.tasks[0]
    definition = load_task(report.name, variant=report.variant)
    return list(prepare_task(definition, limit=LIMIT).requests)
