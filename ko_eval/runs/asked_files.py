"""`asked/<task>.jsonl`: what each sample was asked, exactly as the model was shown it.

Derived, for whoever looks at single samples later without the model and the data. The first line
is about the task and holds each text that stands in front of many questions (few-shot examples)
once; then comes a line per sample, in the order of the data. Responses are in the journal.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic import JsonValue as AnyJson

from ko_eval.errors import DataError, first_line
from ko_eval.runs.files import safe_name, write_atomically
from ko_eval.types import GenerateRequest, LoglikelihoodRequest, Message, RequestKind

if TYPE_CHECKING:
    from ko_eval.engines.base import EncodedRequest
    from ko_eval.engines.encoding import Encoder
    from ko_eval.engines.server_encoding import TextEncoder
    from ko_eval.runs.plan import PlannedTask
    from ko_eval.types import Sample

# Fields of a sample that say what was expected where no single target does.
_REFERENCES = (
    *("credits", "distribution", "reference_answer", "reference_answer_fullscale"),
    *("instruction_id_list", "kwargs"),
)
_LONGEST_LINE = 64 * 2**20  # bytes
_MOST_LINES = 2_000_000

Role = Literal["", "system", "user", "assistant"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class Turn(_Part):
    """A piece of a prompt; the role is empty for text that goes to the model as it stands."""

    role: Role
    text: str


class AskedPrompt(_Part):
    """A prompt: what stands in front, and the rest.

    Attributes:
        head: index into the task's heads; None where nothing stands in front.
    """

    head: int | None = Field(ge=0)
    role: Role
    text: str


class AskedSample(_Part):
    """What one sample was asked.

    Attributes:
        key: content key of the request, as in the journal.
        prompts: one for all choices, or one per choice; one for generation.
        continuations: the scored texts, one per choice; none for generation.
        choices: the choices as the scorer names them.
        target: index of the right choice, or the expected answer.
        reference: what else the scorer compares with.
        truncated_tokens: prompt tokens cut on the left, over all prompts.
    """

    id: str
    key: str
    prompts: list[AskedPrompt]
    continuations: list[str] = []
    choices: list[str] = []
    target: int | str | None = None
    reference: dict[str, AnyJson] = {}
    truncated_tokens: int = 0


class AskedHeader(_Part):
    """The first line.

    Attributes:
        template: whether the prompts went through a chat template; a server's own is not seen, and
            the turns are what it was sent.
        prefix: special tokens that the tokenizer put in front of each text.
        heads: what stands in front of questions.
    """

    asked_version: Literal[1]
    task: str
    request: RequestKind
    template: bool
    prefix: list[str] = []
    stop: list[str] = []
    max_tokens: int | None = None
    temperature: float | None = None
    heads: list[list[Turn]] = []


@dataclass(frozen=True, slots=True)
class AskedTask:
    """All that a task asked."""

    header: AskedHeader
    samples: Sequence[AskedSample]


def asked_path(run_directory: Path, task: str) -> Path:
    """Where a run's file of a task lies."""
    return run_directory / "asked" / f"{safe_name(task)}.jsonl"


def write_asked(run_directory: Path, task: PlannedTask, encoder: Encoder | TextEncoder) -> None:
    """Writes a task's file.

    Raises:
        RunError: there is no room.
    """
    asked = asked_task(task, encoder)
    lines = [asked.header, *asked.samples]
    content = (
        json.dumps(line.model_dump(mode="json", exclude_defaults=True), ensure_ascii=False)
        for line in lines
    )
    write_atomically(asked_path(run_directory, task.name), "".join(line + "\n" for line in content))


def asked_task(task: PlannedTask, encoder: Encoder | TextEncoder) -> AskedTask:
    """What a planned task asks, as its file holds it."""
    heads = _Heads()
    samples = [
        _sample(sample, request, encoder, heads)
        for sample, request in zip(task.prepared.samples, task.encoded, strict=True)
    ]
    definition = task.prepared.definition
    generates = definition.request is RequestKind.GENERATE
    header = AskedHeader(
        asked_version=1,
        task=task.name,
        request=definition.request,
        template=task.uses_template,
        prefix=_prefix(encoder),
        stop=list(definition.stop) if generates else [],
        max_tokens=definition.max_tokens if generates else None,
        temperature=definition.temperature if generates else None,
        heads=heads.turns,
    )
    return AskedTask(header, samples)


def read_asked(run_directory: Path, task: str) -> AskedTask | None:
    """What a task of a run asked; None for runs of before there was such a file.

    Raises:
        DataError: a line is damaged (file and line named).
    """
    path = asked_path(run_directory, task)
    if not path.exists():
        return None
    lines = _lines(path)
    try:
        number, raw = 1, next(lines, (1, b""))[1]
        header = AskedHeader.model_validate_json(raw)
        samples = []
        for number, raw in lines:
            sample = AskedSample.model_validate_json(raw)
            if any((prompt.head or 0) >= max(len(header.heads), 1) for prompt in sample.prompts):
                raise DataError("the line names a head that is not there", where=_at(path, number))
            samples.append(sample)
    except ValidationError as error:
        raise DataError(
            f"the line does not say what was asked: {first_line(error)}",
            where=_at(path, number),
            hint="the file is derived: the `ko-eval run` command of the run writes it again",
        ) from error
    except OSError as error:
        raise DataError(
            f"the file cannot be read: {error.strerror or error}", where=str(path)
        ) from error
    return AskedTask(header, samples)


class _Heads:
    """Collects what stands in front of questions, each once."""

    def __init__(self) -> None:
        self.turns: list[list[Turn]] = []
        self._places: dict[tuple[tuple[str, str], ...], int] = {}

    def place(self, *turns: tuple[Role, str]) -> int | None:
        """Where the turns stand among the heads; None for none."""
        if not any(text for _, text in turns):
            return None
        if turns not in self._places:
            self._places[turns] = len(self.turns)
            self.turns.append([Turn(role=role, text=text) for role, text in turns])
        return self._places[turns]


def _sample(
    sample: Sample, encoded: EncodedRequest, encoder: Encoder | TextEncoder, heads: _Heads
) -> AskedSample:
    request = encoded.request
    continuations: list[str] = []
    if isinstance(request, GenerateRequest):
        prompts = [_generation(request, encoder, heads)]
    else:
        prompts, continuations = _likelihoods(request, len(sample.choices), encoder, heads)
    return AskedSample(
        id=sample.id,
        key=encoded.key,
        prompts=prompts,
        continuations=continuations,
        choices=list(sample.choices),
        target=sample.target,
        reference={
            name: sample.fields[name]  # type: ignore[misc]
            for name in _REFERENCES
            if sample.fields.get(name) is not None
        },
        truncated_tokens=encoded.truncated_tokens,
    )


def _generation(
    request: GenerateRequest, encoder: Encoder | TextEncoder, heads: _Heads
) -> AskedPrompt:
    question = request.messages[-1].content
    if not encoder.uses_template(request):
        return _in_text(request.prompt, question, heads)
    from ko_eval.engines.encoding import Encoder

    if isinstance(encoder, Encoder):
        return _in_text(encoder.chat_text(request.messages), question, heads)
    before: list[Message] = list(request.messages[:-1])
    head = heads.place(*((message.role, message.content) for message in before))
    return AskedPrompt(head=head, role=request.messages[-1].role, text=question)


def _likelihoods(
    request: LoglikelihoodRequest,
    choices: int,
    encoder: Encoder | TextEncoder,
    heads: _Heads,
) -> tuple[list[AskedPrompt], list[str]]:
    """The prompts of the choices, one where they are all the same, and the scored texts.

    What is scored without the question, for `acc_pmi`, comes after the choices and is left out.
    """
    from ko_eval.engines.encoding import Encoder, border_texts

    texts = [
        encoder.pair_texts(request, place)
        if isinstance(encoder, Encoder)
        else border_texts(request.pairs[place])
        for place in range(min(choices, len(request.pairs)) or len(request.pairs))
    ]
    prompts = []
    for place, (context, _) in enumerate(texts):
        if place and context == texts[0][0]:
            continue
        messages = request.messages[place] if place < len(request.messages) else ()
        prompts.append(_in_text(context, messages[-1].content if messages else "", heads))
    return prompts, [continuation for _, continuation in texts]


def _in_text(text: str, question: str, heads: _Heads) -> AskedPrompt:
    """A prompt in one text, cut in two where the question begins."""
    border = max(text.rfind(question.strip()), 0) if question.strip() else 0
    return AskedPrompt(head=heads.place(("", text[:border])), role="", text=text[border:])


def _prefix(encoder: Encoder | TextEncoder) -> list[str]:
    from ko_eval.engines.encoding import Encoder

    if not isinstance(encoder, Encoder):
        return []
    return [str(token) for token in encoder.tokenizer.convert_ids_to_tokens(list(encoder.prefix))]


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    if not path.is_file():
        raise DataError("what was asked must be in an ordinary file", where=str(path))
    with path.open("rb") as file:
        number = 0
        while raw := file.readline(_LONGEST_LINE + 1):
            number += 1
            if len(raw) > _LONGEST_LINE or number > _MOST_LINES:
                raise DataError(
                    f"the file is too large: more than {_MOST_LINES:,} lines, or a line of more "
                    f"than {_LONGEST_LINE:,} bytes",
                    where=_at(path, number),
                )
            if raw.strip():
                yield number, raw


def _at(path: Path, line: int) -> str:
    return f"{path}, line {line}"
