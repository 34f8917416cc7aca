"""Task and suite files that were written to run code, to reach files, or never to end.

None runs anything; each is refused with the file and the field, in bounded time and memory.
"""

from __future__ import annotations

import json
import resource
import signal
from pathlib import Path

import pytest
from hostile import Run, lines, refused, safe

ROW = {"id": "a", "question": "하나 더하기 하나는?", "choices": ["1", "2"], "answer": "B"}
DEEP = "[" * 500 + "]" * 500
TASK = """\
name: mine
request: loglikelihood
columns: {id: id, question: question, choices: choices, answer: answer}
prompt: "{{ question }}"
choices: choices
scorer: choice_likelihood
"""


def laughs(levels: int = 9, mark: str = "*") -> str:
    """A billion laughs: each level names the one before nine times."""
    text = "l0: &l0 [ha, ha]\n"
    for level in range(1, levels + 1):
        inner = ", ".join([f"{mark}l{level - 1}"] * 9)
        text += f"l{level}: &l{level} [{inner}]\n"
    return text


def merges(levels: int = 9) -> str:
    """The same through merge keys, which are followed before anything else is looked at."""
    text = "m0: &m0 {a: 1}\n"
    for level in range(1, levels + 1):
        inner = ", ".join([f"*m{level - 1}"] * 9)
        text += f"m{level}: &m{level} {{<<: [{inner}]}}\n"
    return text


@pytest.mark.parametrize(
    ("text", "part"),
    [
        pytest.param(
            TASK + "notes: !!python/object/apply:os.system [touch pwned]\n", "tag", id="t"
        ),
        pytest.param(TASK + "notes: !!python/name:os.system\n", "tag", id="a name of Python"),
        pytest.param(TASK + "notes: !!python/module:subprocess\n", "tag", id="a module"),
        pytest.param("!!python/object/new:type [x, [], {}]\n", "tag", id="a class, as the whole"),
        pytest.param(TASK + "notes: !<tag:yaml.org,2002:python/tuple> [a]\n", "tag", id="long tag"),
        pytest.param(TASK + "notes: !include /etc/passwd\n", "tag", id="an include"),
        pytest.param(TASK + laughs(), "aliases are followed", id="a billion laughs"),
        pytest.param(TASK + merges(), "aliases are followed", id="merge keys"),
        pytest.param(TASK + "protocol: &p {a: *p}\n", "inside what it names", id="a cycle"),
        pytest.param(TASK + "name: other\n", "'name' occurs twice", id="a key twice"),
        pytest.param(
            TASK + "".join(f"a{n}: &a{n} [{f'*a{n - 1}' if n else 0}]\n" for n in range(200)),
            "100 levels",
            id="a chain of aliases",
        ),
        pytest.param(TASK + "scale: !!int ''\n", "cannot be read", id="an empty number"),
        pytest.param(TASK + "title: 2026-13-45\n", "cannot be read", id="a date that is none"),
        pytest.param(TASK + "title: !!timestamp soon\n", "cannot be read", id="no date"),
        pytest.param(TASK + f"max_tokens: {'9' * 5000}\n", "400 digits", id="5,000 digits"),
        pytest.param(TASK + f"max_tokens: 0x{'f' * 90_000}\n", "400 digits", id="hexadecimal"),
        pytest.param(TASK + f"max_tokens: 1{':59' * 90_000}\n", "400 digits", id="sexagesimal"),
        pytest.param(TASK + "scale: .nan\n", "finite", id="no number"),
        pytest.param(TASK + "scale: .inf\n", "finite", id="infinity"),
        pytest.param(TASK + "temperature: 1e999\n", "temperature", id="beyond every float"),
        pytest.param(TASK + "max_tokens: 1000000000\n", "max_tokens", id="a billion tokens"),
        pytest.param(TASK + "labels: {a: b}\n", "labels", id="a mapping for a list"),
        pytest.param(TASK + "? [a, b]\n: c\n", "", id="a list as key"),
        pytest.param(TASK + "title: a\x00b\n", "not valid YAML", id="NUL"),
        pytest.param(TASK + "title: '\x1b[2J'\n", "not valid YAML", id="escape codes"),
        pytest.param('title: "\\e[2J\\u202e"\nrequest: x\n', "field", id="written escape codes"),
        pytest.param('"\\e]0;owned\\a": 1\n' + TASK, "unknown field", id="escape codes in a key"),
        pytest.param("--- a\n--- b\n", "not valid YAML", id="two documents"),
        pytest.param("%YAML 9.9\n---\n" + TASK, "not valid YAML", id="a version to come"),
        pytest.param("", "mapping of fields", id="nothing"),
        pytest.param("a: [" + "0," * 100_000 + "]\n", "100,000 values", id="many values"),
        pytest.param("a: " + "x" * 1_000_001, "larger than 1,000,000 bytes", id="a megabyte"),
        pytest.param(TASK + "'" + "x" * 900 + "': 1\n", "unknown field", id="a long name"),
    ],
)
def test_a_hostile_file_is_refused(here: Run, tmp_path: Path, text: str, part: str) -> None:
    (tmp_path / "t.yaml").write_text(text, encoding="utf-8", newline="")
    lines(tmp_path / "d.jsonl", ROW)
    refused(here("show", "t.yaml", "--data", "d.jsonl"), part, "t.yaml")
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "a/b", "..", ".hidden", "a\\nb", "", "가" * 9]
)
def test_a_task_name_is_never_a_path(here: Run, tmp_path: Path, name: str) -> None:
    (tmp_path / "t.yaml").write_text(TASK.replace("name: mine", f'name: "{name}"'))
    refused(here("show", "t.yaml"), "field 'name'")


@pytest.mark.parametrize(
    ("field", "part"),
    [
        ("data: {bundled: ../../etc/passwd.jsonl}", "data.bundled"),
        ("fewshot: {count: 1, bundled: /dev/zero.jsonl/x}", "fewshot.bundled"),
        ("scorer: {name: '../x'}", "unknown scorer"),
        ("scorer: os:system", "unknown scorer"),
        ("scorer: {name: choice_likelihood, __class__: x}", "no parameter '__class__'"),
    ],
)
def test_a_name_in_a_field_is_one_of_the_known(
    here: Run, tmp_path: Path, field: str, part: str
) -> None:
    kept = [line for line in TASK.splitlines() if not field.startswith(line.partition(":")[0])]
    (tmp_path / "t.yaml").write_text("\n".join([*kept, field]) + "\n")
    refused(here("show", "t.yaml"), part)


ESCAPES = [
    "question.__class__.__mro__[1].__subclasses__()",
    "''['__class__']",
    "(question|attr('__class__')).__base__",
    "self.__init__.__globals__",
    "self._TemplateReference__context",
    "cycler.__init__.__globals__.os.system('touch pwned')",
    "joiner.__init__.__globals__['__builtins__']",
    "namespace.__init__.__globals__",
    "lipsum.__globals__['os'].popen('touch pwned').read()",
    "range.__self__",
    "'{0.__class__}'.format(question)",
    "'{x.__class__.__init__.__globals__}'.format_map({'x': question})",
    "('%s' | format)(question.__class__)",
    "[question] | map(attribute='__class__.__mro__') | first",
    "question.mro()",
    "row.__class__.__init__.__globals__",
    "row.clear()",
    "row.update({'question': 1})",
    "open('/etc/passwd').read()",
    "import os",
]


@pytest.mark.parametrize("expression", ESCAPES)
def test_a_template_does_not_leave_its_sandbox(here: Run, tmp_path: Path, expression: str) -> None:
    task = TASK.replace('"{{ question }}"', json.dumps("{{ " + expression + " }}"))
    (tmp_path / "t.yaml").write_text(task, encoding="utf-8")
    lines(tmp_path / "d.jsonl", ROW)
    refused(here("show", "t.yaml", "--data", "d.jsonl"), "template", "d.jsonl, line 1")
    assert not (tmp_path / "pwned").exists()


def test_an_expression_over_columns_does_not_leave_it_either(here: Run, tmp_path: Path) -> None:
    task = TASK.replace("question: question", "question: \"row['id'].__class__.__base__\"")
    (tmp_path / "t.yaml").write_text(task, encoding="utf-8")
    lines(tmp_path / "d.jsonl", ROW)
    refused(here("show", "t.yaml", "--data", "d.jsonl"), "neither a column nor", "line 1")


@pytest.mark.parametrize(
    ("template", "part"),
    [
        (
            "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
            "more than 0.1 seconds",
        ),
        ("{% for a in range(10**8) %}{% endfor %}", "cannot be filled"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recursion"),
        ("{{ 10 ** 10 ** 10 }}", "a power is too large"),
        ("{{ 2.0 ** 99999 }}", "a power is too large"),
        ("{{ 'a' * 10 ** 9 }}", "a repetition is too large"),
        ("{{ 10000000000 * [1] }}", "a repetition is too large"),
        ("{{ 'a'.ljust(10 ** 10) }}", "256 MiB of memory"),
        ("{{ '%10000000000d' % 1 }}", "memory"),
        ("{{ 'a' | center(10 ** 10) }}", "256 MiB of memory"),
        ("{{ '{:9999999999}'.format(1) }}", "memory"),
        (
            "{% set n = namespace(x='ab') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}"
            "{% endfor %}",
            "256 MiB of memory",
        ),
        ("{% for i in range(99999) %}{{ question * 999 }}{% endfor %}", ""),
        ("{{ 1 | round(1000000000, 'ceil') }}", "a precision is too large"),
        ("{{ lipsum(n=100000) }}", "more than 0.1 seconds"),
        ("{{ '\\ud83d' }}", "surrogate"),
        ("{% include '/etc/passwd' %}", "template"),
        ("{% import 'os' as os %}", "template"),
        ("{% extends 'x' %}", "template"),
        ("{{ question", "not valid"),
        ("{{ " + "(" * 500 + ")" * 500 + " }}", "template"),
        ("{{ " + "not " * 50_000 + "1 }}", "template"),
        ("{{ " + "1 + " * 50_000 + "1 }}", ""),
    ],
)
def test_a_template_without_end_is_ended(
    here: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, template: str, part: str
) -> None:
    monkeypatch.setattr("ko_eval.tasks.samples._SECONDS_PER_ROW", 0.1)
    monkeypatch.setattr("ko_eval.tasks.samples._MEMORY_PER_ROW", 2**28)
    task = TASK.replace('"{{ question }}"', json.dumps(template))
    (tmp_path / "t.yaml").write_text(task, encoding="utf-8")
    lines(tmp_path / "d.jsonl", ROW)
    refused(here("show", "t.yaml", "--data", "d.jsonl"), part, "d.jsonl, line 1")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("name: ../../s\ntasks: [ko_gpqa]\n", "field 'name'"),
        ("name: s\ntasks: ko_gpqa\n", "field 'tasks'"),
        ("name: s\ntasks: ['../../etc/passwd.yaml']\n", "no task file"),
        ("name: s\ntasks: ['ko_gpqa\\x1b[2J']\n", "unknown task"),
        ("name: s\ntasks: [ko_gpqa, ko_gpqa]\n", "given twice"),
        ("name: s\ntasks: [ko_gpqa]\noverrides: {ko_gpqa: {name: ../x}}\n", "pattern"),
        ("name: s\ntasks: [ko_gpqa]\noverrides: {ko_gpqa: {prompt: '{{ id.__class__ }}'}}\n", ""),
        (f"name: s\ntasks: [{'ko_gpqa, ' * 150_000}]\n", "larger than"),
    ],
)
def test_a_hostile_suite_is_refused(here: Run, tmp_path: Path, text: str, part: str) -> None:
    (tmp_path / "s.yaml").write_text(text, encoding="utf-8")
    refused(here("plan", "nowhere", "--suite", "s.yaml"), part)


@pytest.mark.parametrize("variant", ["../../x", "\x1b[2J", "__class__", "가" * 5000])
def test_an_unknown_variant_is_named_and_nothing_else(here: Run, variant: str) -> None:
    refused(here("show", "ko_gpqa", "--variant", variant), "has no variant")


def test_a_variant_of_the_users_own_is_no_path(here: Run, tmp_path: Path, tiny: Path) -> None:
    task = TASK + "variants: {'../../../x': {delimiter: ''}}\n"
    (tmp_path / "t.yaml").write_text(task, encoding="utf-8")
    lines(tmp_path / "d.jsonl", ROW)
    command = ("run", tiny, "--tasks", "t.yaml", "--data", "d.jsonl", "--variant", "../../../x")
    ended = here(*command, "--out", "out")
    safe(ended)
    assert ended.code == 0
    found = {path.parent for path in tmp_path.rglob("results.json")}
    assert len(found) == 1
    assert found.pop().parent.parent == tmp_path / "out"


PLAN = "name: nightly\nmodels: [{model}]\ntasks: [ko_gpqa]\n"


@pytest.mark.parametrize(
    ("text", "part"),
    [
        pytest.param(PLAN + laughs(), "aliases are followed", id="a billion laughs"),
        pytest.param(PLAN + "notes: !!python/name:os.system\n", "tag", id="a tag"),
        pytest.param(PLAN.replace("nightly", "../../x"), "field 'name'", id="a path for a name"),
        pytest.param(PLAN + f"description: {DEEP}\n", "100 levels", id="500 lists"),
        pytest.param(PLAN + "slurm: {partition: 'x; touch pwned'}\n", "slurm", id="a shell"),
        pytest.param(PLAN + "slurm: {time: '1:00\\n#SBATCH --wrap=x'}\n", "slurm", id="a line"),
        pytest.param(PLAN + "slurm: {extra: ['x\\ntouch pwned']}\n", "slurm", id="a line of shell"),
        pytest.param(PLAN + "slurm: {gres: '$(touch pwned)'}\n", "slurm", id="a substitution"),
        pytest.param(PLAN + "parallel: 1000000000\n", "parallel", id="a billion at once"),
        pytest.param(PLAN + "defaults: {gpus: -1}\n", "gpus", id="a GPU below none"),
        pytest.param(
            PLAN.replace("[{model}]", f"[{'a, ' * 5000}b]"), "models", id="thousands of models"
        ),
        pytest.param(
            "name: n\ntasks: [ko_gpqa]\nmodels: [{model: x, options: {__class__: 1}}]\n",
            "__class__",
            id="an option that is none",
        ),
        pytest.param(
            "name: n\ntasks: [ko_gpqa]\nmodels: [{model: x, name: '../../y'}]\n",
            "name",
            id="a path for a model's name",
        ),
    ],
)
def test_a_hostile_batch_plan_is_refused_before_anything_starts(
    here: Run, tmp_path: Path, tiny: Path, text: str, part: str
) -> None:
    (tmp_path / "p.yaml").write_text(text.replace("{model}", str(tiny)), encoding="utf-8")
    refused(here("batch", "p.yaml", "--on", "local"), part)
    assert [path.name for path in tmp_path.iterdir()] == ["p.yaml"]


def test_the_bounds_of_a_template_are_taken_back(here: Run, tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text(TASK.replace("{{ question }}", "{{ 'a'.ljust(10 ** 11) }}"))
    lines(tmp_path / "d.jsonl", ROW)
    before = resource.getrlimit(resource.RLIMIT_AS)
    refused(here("show", "t.yaml", "--data", "d.jsonl"), "1,024 MiB of memory")
    assert resource.getrlimit(resource.RLIMIT_AS) == before
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGVTALRM) is signal.SIG_DFL
