"""What a report shows beside the scores: prompts and responses, put into a synthetic run.

run = write_result(tmp_path / "a", shown={"ko_gsm8k": 50.0}, n=20)
add_texts(run, "ko_gsm8k", response="…#### 12", thinking="…")
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from ko_eval.runs.asked_files import AskedHeader, AskedPrompt, AskedSample, Turn, asked_path
from ko_eval.runs.journal import Entry, encode_entry
from ko_eval.runs.result import read_result
from ko_eval.runs.sample_files import read_samples
from ko_eval.types import GenerateResponse, LoglikelihoodResponse, RequestKind

Text = str | Callable[[str], str]


def add_texts(
    run: Path,
    task: str,
    *,
    head: str = "질문: 하나에 하나를 더하면?\n답: 둘입니다. #### 2\n\n",
    prompt: Text = "질문: 사과 셋에 넷을 더하면 몇 개인가?\n답:",
    response: Text = "셋에 넷을 더하면 일곱입니다. #### 7",
    thinking: Text | None = None,
    choices: tuple[str, ...] = (),
) -> None:
    """Writes `asked/` and `responses/` for the samples that the run has.

    Args:
        prompt, response, thinking: a text, or what makes one of a sample's id.
        choices: scored texts; with some the task is asked by log-likelihood.
    """
    samples = read_samples(run, task)
    fingerprint = read_result(run).fingerprint
    header = AskedHeader(
        asked_version=1,
        task=task,
        request=RequestKind.LOGLIKELIHOOD if choices else RequestKind.GENERATE,
        template=False,
        prefix=["<s>"],
        heads=[[Turn(role="", text=head)]],
    )
    asked, journal = [header.model_dump(mode="json")], []
    for sample in samples:
        line = AskedSample(
            id=sample.id,
            key=sample.key or "",
            prompts=[AskedPrompt(head=0, role="", text=_made(prompt, sample.id))],
            continuations=list(choices),
            choices=list(choices),
            target=1 if choices else "7",
        )
        asked.append(line.model_dump(mode="json", exclude_defaults=True))
        answer: GenerateResponse | LoglikelihoodResponse
        if choices:
            answer = LoglikelihoodResponse(
                tuple(-10.0 - place for place in range(len(choices))), (3,) * len(choices), 40
            )
        else:
            thought = None if thinking is None else _made(thinking, sample.id)
            answer = GenerateResponse(_made(response, sample.id), "stop", thought, 120, 30, 0)
        journal.append(encode_entry(Entry(sample.key or "", answer, 0.1), fingerprint))
    path = asked_path(run, task)
    path.parent.mkdir(exist_ok=True)
    path.write_text(
        "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in asked), encoding="utf-8"
    )
    responses = run / "responses" / path.name
    responses.parent.mkdir(exist_ok=True)
    responses.write_bytes(b"".join(journal))


def _made(text: Text, name: str) -> str:
    return text if isinstance(text, str) else text(name)
