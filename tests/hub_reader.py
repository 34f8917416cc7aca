"""Reads hub data on request: one JSON object per line in, one out; started by `hub_stand_in`."""

from __future__ import annotations

import json
import os
import sys
import traceback
from dataclasses import asdict
from typing import Any

import yaml

from ko_eval.errors import KoEvalError
from ko_eval.tasks.definition import HubSource
from ko_eval.tasks.hub import hub_rows
from ko_eval.tasks.prepare import prepare_task
from ko_eval.tasks.registry import load_task
from ko_eval.tasks.rows import Rows
from ko_eval.types import GenerateRequest, Request

# The hub's client reads dataset cards by `yaml.safe_load`, once for each of KMMLU's 45
# configurations, which in Python takes seconds.
if yaml.__with_libyaml__:
    yaml.SafeLoader = yaml.CSafeLoader  # type: ignore[assignment, misc]


def described(rows: Rows) -> dict[str, Any]:
    values = [dict(row.values) for row in rows.rows]
    more = {name: getattr(rows, name) for name in ("source", "sha256", "revision", "dropped")}
    return {"rows": values, "label": rows.label, **more}


def shown(request: Request) -> list[str]:
    if isinstance(request, GenerateRequest):
        return [request.prompt]
    return [pair.context + "|" + pair.continuation for pair in request.pairs]


def answer(request: dict[str, Any]) -> dict[str, Any]:
    os.environ["HF_TOKEN"] = request.get("token", "")
    if "source" in request:
        return described(hub_rows(HubSource(**request["source"])))
    task = load_task(
        request["task"], variant=request.get("variant"), overrides=request.get("overrides", {})
    )
    prepared = prepare_task(task, request["data"], shots=request.get("shots"))
    return {
        "prompts": [shown(request) for request in prepared.requests],
        "samples": [asdict(sample) for sample in prepared.samples],
        "data": described(prepared.rows),
        "fewshot": described(prepared.fewshot) if prepared.fewshot else None,
    }


def main() -> None:
    for line in sys.stdin:
        try:
            reply = answer(json.loads(line))
        except KoEvalError as error:
            reply = {"error": str(error)}
        except Exception:  # shown by the test that asked
            reply = {"traceback": traceback.format_exc()}
        sys.stdout.write(json.dumps(reply, ensure_ascii=False, default=str) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
