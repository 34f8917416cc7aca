"""What `mkdocs build` puts into the pages of `docs/`: the parts that code and data decide.

A page holds a comment such as `<!-- generated: commands -->`; what stands there is made from the
command line, `tasks/*.yaml` and the result schema at build time, so that it cannot grow old.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import typer.main

from ko_eval.cli.main import app
from ko_eval.runs.layer_names import OF_RUN, OF_TASK
from ko_eval.runs.result import RunResult
from ko_eval.tasks.definition import TaskDefinition
from ko_eval.tasks.registry import load_suite, load_task, task_names

if TYPE_CHECKING:
    from mkdocs.structure.pages import Page

# A comment on a line of its own; the name of a part has no spaces.
_PLACE = re.compile(r"^<!-- generated: ([a-z-]+) -->$", re.MULTILINE)
# Marks for the tests, and titles that only they read, are no part of a page.
_DIRECTIVE = re.compile(r"^ *<!-- docs: [^>]*-->\n", re.MULTILINE)

WORDS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "asks": "Asks",
        "metric": "Leading metric",
        "shots": "Shots",
        "data": "Data",
        "variants": "Variants",
        "group": "Also apart by",
        "cluster": "Items that count as one share",
        "fact": "Fact",
        "value": "Value",
        "status": "Status",
        "why": "Why",
        "loglikelihood": "log-likelihoods",
        "generate": "text",
        "known": "known",
        "inferred": "inferred",
        "assumed": "assumed",
        "none": "none",
    },
    "ko": {
        "asks": "요청",
        "metric": "대표 지표",
        "shots": "샷 수",
        "data": "데이터",
        "variants": "변형",
        "group": "따로 나누어 보는 기준",
        "cluster": "하나로 세는 문항의 기준",
        "fact": "항목",
        "value": "값",
        "status": "구분",
        "why": "근거",
        "loglikelihood": "로그 가능도",
        "generate": "글 생성",
        "known": "공개됨",
        "inferred": "추론",
        "assumed": "가정",
        "none": "없음",
    },
}


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Called by mkdocs for each page: fills the places, takes the tests' marks away."""
    locale = str(getattr(page.file, "locale", None) or "en")
    return filled(_DIRECTIVE.sub("", markdown), locale)


def filled(markdown: str, locale: str = "en") -> str:
    """A page with its generated parts.

    Raises:
        KeyError: a page asks for a part that does not exist.
    """
    return _PLACE.sub(lambda place: PARTS[place[1]](locale), markdown)


def board_tasks(locale: str) -> str:
    """The nine tasks of the board, fact by fact."""
    return "\n".join(_task(load_task(name), locale) for name in load_suite("leaderboard2").tasks)


def other_tasks(locale: str) -> str:
    """All other tasks, fact by fact."""
    nine = load_suite("leaderboard2").tasks
    others = (name for name in task_names() if name not in nine)
    return "\n".join(_task(load_task(name), locale) for name in others)


def commands(locale: str) -> str:
    """Every command with what `--help` says of it."""
    return "\n".join(_command(name) for name in command_names())


def result_fields(locale: str) -> str:
    """The fields of `results.json`, as its JSON Schema describes them."""
    schema = RunResult.model_json_schema()
    named = {"results.json": schema, **schema["$defs"]}
    return "\n".join(_part(name, part) for name, part in named.items() if "properties" in part)


def index(locale: str) -> str:
    """The index: each task's metric, level of chance and share."""
    definition = load_suite("ko-index").index
    assert definition is not None
    total = sum(group.weight for group in definition.categories.values())
    rows = []
    for name, group in definition.categories.items():
        share = f"{100 * group.weight / total:g} %"
        for task, entry in group.tasks.items():
            metric = _code(entry.metric or load_task(task).metric or "")
            cells = (name, share, _code(task), metric, f"{entry.chance.value:g}")
            rows.append(f"| {' | '.join(cells)} | {entry.chance.status} |")
    head = "| Category | Weight | Task | Metric | Chance | Status |"
    return "\n".join([head, "|---|---:|---|---|---:|---|", *rows])


def layers(locale: str) -> str:
    """The layers that `verify` tells apart, and what each means for a comparison."""
    meaning = {
        "model": "is what is compared",
        "bound": "comes with a model, and may differ with it",
        "protocol": "must agree",
        "note": "may differ; is said",
    }
    rows = [
        f"| {_code(layer.name)} | {_cell(layer.words)} | {meaning[layer.kind]} |"
        for layer in (*OF_RUN, *OF_TASK)
    ]
    return "\n".join(["| Layer | Is | In a comparison it |", "|---|---|---|", *rows])


PARTS: Mapping[str, Callable[[str], str]] = {
    "board-tasks": board_tasks,
    "other-tasks": other_tasks,
    "commands": commands,
    "index": index,
    "layers": layers,
    "result-fields": result_fields,
}


def command_names() -> list[str]:
    """The commands of `ko-eval`, in its own order."""
    return list(_commands())


def _commands() -> Mapping[str, Any]:
    found: Mapping[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    return found


def _command(name: str) -> str:
    command = _commands()[name]
    context = command.make_context(name, [], resilient_parsing=True)
    records = [
        record
        for parameter in command.get_params(context)
        if (record := parameter.get_help_record(context)) is not None
    ]
    usage = " ".join(["ko-eval", name, *command.collect_usage_pieces(context)])
    lines = [f"### {name}", "", command.help, "", f"`{usage}`", "", "| | |", "|---|---|"]
    lines += [f"| {_code(heading)} | {_cell(text)} |" for heading, text in records]
    return "\n".join([*lines, ""])


def _task(task: TaskDefinition, locale: str) -> str:
    words = WORDS[locale]
    sources = [f"`bundled`: {task.data.bundled}"] if task.data.bundled else []
    sources += [f"`hub`: {source.path}" for source in task.data.hub]
    summary = [
        f"{words['asks']}: {words[task.request.value]}",
        f"{words['metric']}: `{task.metric}`",
        f"{words['shots']}: {task.fewshot.count}",
        f"{words['data']}: {', '.join(sources) or words['none']}",
        f"{words['variants']}: {', '.join(map(_code, task.variants)) or words['none']}",
    ]
    summary += [
        f"{words[key]}: {_code(value)}"
        for key, value in (("group", task.group), ("cluster", task.cluster))
        if value
    ]
    lines = [f"### {task.title} (`{task.name}`)", "", task.description, ""]
    lines += [f"- {line}" for line in summary]
    lines += [f"- {note}" for note in task.notes]
    return "\n".join([*lines, "", *_facts(task, words), ""])


def _facts(task: TaskDefinition, words: Mapping[str, str]) -> Iterator[str]:
    yield " | ".join(["", *(words[key] for key in ("fact", "value", "status", "why")), ""]).strip()
    yield "|---|---|---|---|"
    for name, fact in task.protocol.items():
        cells = (_code(name), _cell(str(fact.value)), words[fact.status], _cell(fact.why))
        yield f"| {' | '.join(cells)} |"


def _part(name: str, schema: Mapping[str, Any]) -> str:
    heading = f"`{name}`" if name == "results.json" else name
    about = schema.get("description", "").splitlines()[:1]
    rows = [
        f"| {_code(field)} | {_cell(_kind(of))} | {_cell(of.get('description', ''))} |"
        for field, of in schema["properties"].items()
    ]
    head = [f"### {heading}", "", *about, "", "| Field | Type | |", "|---|---|---|"]
    return "\n".join([*head, *rows, ""])


def _kind(schema: Mapping[str, Any]) -> str:
    """A field's type in a word or two."""
    if "anyOf" in schema:
        return " or ".join(_kind(choice) for choice in schema["anyOf"])
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "enum" in schema:
        return ", ".join(map(str, schema["enum"]))
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    inner = schema.get("additionalProperties")
    if schema.get("type") == "object" and isinstance(inner, Mapping) and inner:
        return f"object of {_kind(inner)}"
    return str(schema.get("type", schema.get("const", "any")))


def _code(text: str) -> str:
    return "`" + text.replace("|", "\\|") + "`"


def _cell(text: str) -> str:
    """Text in one cell of a table: a bar or a line end would end it, a mark would become HTML."""
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
