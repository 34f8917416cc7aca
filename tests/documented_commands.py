"""Reads commands and shown outputs out of Markdown, and runs them as a reader would.

- `console`: lines after a prompt (`$ `) are commands, the others what they print. In a shown line
  `…` stands for any text; a line of nothing but `…` for any lines.
- `bash`: every line is a command.
- `python`: the blocks of a page are one program, which is run after its commands.
- A title (```` ```yaml title="my-task.yaml" ````) makes a block a file in the reader's folder.
- A comment in the line above says what else is to be known: `<!-- docs: not run: needs a GPU -->`,
  `<!-- docs: exit code 2 -->`, `<!-- docs: numbers differ -->` (any number stands for any other,
  since they are another model's), or several with `; ` between them. A block that is not run is
  checked all the same: its commands and options must exist.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from command_server import CommandServer

# A fence with its language and the rest of its line.
_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)(?P<rest>.*)$")
_TITLE = re.compile(r'title="([^"]+)"')
_DIRECTIVE = re.compile(r"^ *<!-- docs: (.*) -->$")
_MARK = re.compile(r"not run: .+|exit code \d+|numbers differ")
# `$ `, `node1$ ` or, for the administrator, `# `.
_PROMPT = re.compile(r"^(?:[\w-]*\$|#) (?P<command>.*)$")
# A sign after a letter is a hyphen.
_NUMBER = re.compile(r"(?:(?<!\w)[-+])?\d[\d,]*(?:\.\d+)?(?:e-?\d+)?")
_ASSIGNMENT = re.compile(r"^[A-Z_]+=")
# They run the words after them.
_WRAPPERS = ("unshare", "-n", "exec")
_ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block.

    Attributes:
        line: of the file, where its text begins, from 1.
        marks: what the comment above says.
    """

    page: str
    line: int
    language: str
    title: str | None
    marks: tuple[str, ...]
    text: str

    @property
    def is_run(self) -> bool:
        return not any(mark.startswith("not run: ") for mark in self.marks)

    @property
    def exit_code(self) -> int:
        codes = [mark.rpartition(" ")[2] for mark in self.marks if mark.startswith("exit code ")]
        return int(codes[0]) if codes else 0

    def steps(self) -> list[Step]:
        """Its commands, in order; none for a block of another language."""
        if self.language == "bash":
            lines = self.text.replace("\\\n", " ").splitlines()
            return [Step(line, (), self) for line in lines if line.strip() and line[0] != "#"]
        if self.language != "console":
            return []
        steps: list[Step] = []
        for line in self.text.splitlines():
            if prompt := _PROMPT.match(line):
                steps.append(Step(prompt["command"], (), self))
            elif steps:
                steps[-1] = replace(steps[-1], shown=(*steps[-1].shown, line))
        return steps


@dataclass(frozen=True, slots=True)
class Step:
    """A command line and what the page says that it prints."""

    command: str
    shown: tuple[str, ...]
    block: Block

    def words(self) -> list[str]:
        """The command's words, its comment left out."""
        return shlex.split(self.command, comments=True)

    def calls(self) -> Iterator[list[str]]:
        """Each program that the line calls, with its arguments."""
        call: list[str] = []
        for word in [*self.words(), ";"]:
            if word not in ("|", "&&", ";", ">"):
                call.append(word)
                continue
            while call and (_ASSIGNMENT.match(call[0]) or call[0] in _WRAPPERS):
                del call[0]
            if call:
                yield call
            call = []


def blocks(path: Path) -> list[Block]:
    """All fenced blocks of a Markdown file."""
    found: list[Block] = []
    lines = path.read_text(encoding="utf-8").splitlines()
    begin: tuple[int, re.Match[str]] | None = None
    for number, line in enumerate(lines):
        fence = _FENCE.match(line)
        if fence is None:
            continue
        if begin is None:
            begin = (number, fence)
            continue
        start, opened = begin
        indent = len(opened["indent"])
        above = _DIRECTIVE.match(lines[start - 1]) if start else None
        title = _TITLE.search(opened["rest"])
        marks = tuple(above[1].split("; ")) if above else ()
        unknown = [mark for mark in marks if not _MARK.fullmatch(mark)]
        assert not unknown, f"{path.name}:{start}: what does '{unknown[0]}' mean?"
        found.append(
            Block(
                page=path.name,
                line=start + 2,
                language=opened["language"],
                title=title[1] if title else None,
                marks=marks,
                text="".join(f"{text[indent:]}\n" for text in lines[start + 1 : number]),
            )
        )
        begin = None
    assert begin is None, f"{path.name}: a block is not closed"
    return found


def fault_of(call: list[str], commands: Mapping[str, Any]) -> str | None:
    """What is wrong with a call of one of our programs; None when it and its options exist.

    Args:
        commands: those of `ko-eval`, by name, as typer has them.
    """
    program, *words = call
    if program == "ko-eval":
        return _fault_of_command(words, commands)
    if program.startswith("python") and words and not words[0].startswith("-"):
        program, *words = words
    if not program.startswith("scripts/") or program.endswith("…"):
        return None
    path = _ROOT / program
    if not path.is_file():
        return f"there is no '{program}'"
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".sh" and "$@" in text:
        return None  # passed on to other programs
    missing = [w for w in words if w.startswith("--") and w.partition("=")[0] not in text]
    return f"'{program}' has no option '{missing[0]}'" if missing else None


def _fault_of_command(call: list[str], commands: Mapping[str, Any]) -> str | None:
    if call in ([], ["--version"], ["--help"]):
        return None
    name, *words = call
    if name not in commands:
        return f"there is no command '{name}'"
    parameters = commands[name].params
    options = {option: p for p in parameters for option in (*p.opts, *p.secondary_opts)}
    takes = [p for p in parameters if p.param_type_name == "argument"]
    given = 0
    rest = iter(words)
    for word in rest:
        if not word.startswith("-") or word == "-":
            given += 1
            continue
        option, equals, _ = word.partition("=")
        if option not in {*options, "--help"}:
            return f"'{name}' has no option '{option}'"
        needs_value = option in options and not options[option].is_flag and not equals
        if needs_value and next(rest, None) is None:
            return f"'{option}' of '{name}' needs a value"
    if given < sum(p.required for p in takes) and "--help" not in words:
        return f"'{name}' needs an argument"
    if given > len(takes) and not any(p.nargs == -1 for p in takes):
        return f"'{name}' takes {len(takes)} arguments, not {given}"
    return None


@dataclass(frozen=True, slots=True)
class Reader:
    """Somebody who works through a page.

    Attributes:
        folder: where commands are run.
        stand_ins: words of commands, and what is run in their place.
    """

    server: CommandServer
    folder: Path
    stand_ins: Mapping[str, str]

    def follow(self, page: Path) -> int:
        """Runs a page's commands in order, and writes its files; how many commands it ran.

        Raises:
            AssertionError: one does not do what the page says.
        """
        steps = 0
        program = ""
        for block in blocks(page):
            if block.language == "python" and block.is_run:
                program += block.text
            elif block.title is not None:
                path = self.folder / block.title
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(block.text, encoding="utf-8")
            elif block.is_run:
                for step in block.steps():
                    self._do(step)
                    steps += 1
        if program:
            self._run_python(program, page)
            steps += 1
        return steps

    def _run_python(self, program: str, page: Path) -> None:
        (self.folder / "page.py").write_text(program, encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "page.py"],
            cwd=self.folder,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(self.folder / ".hub")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{page.name}\n{done.stdout}\n{done.stderr}"

    def _do(self, step: Step) -> None:
        done = self._run(step.words())
        where = f"{step.block.page}:{step.block.line}: {step.command}"
        assert done.returncode == step.block.exit_code, f"{where}\n{done.stdout}\n{done.stderr}"
        if not step.shown:
            return
        # What a terminal would show of it; in which order is not known.
        any_number = "numbers differ" in step.block.marks
        printed = (
            *(done.stdout, done.stderr),
            *(done.stdout + done.stderr, done.stderr + done.stdout),
        )
        if not any(is_shown(step.shown, text, any_number=any_number) for text in printed):
            raise AssertionError(
                f"{where}\nshown:\n{chr(10).join(step.shown)}\nprinted:\n{done.stdout}{done.stderr}"
            )

    def _run(self, words: list[str]) -> subprocess.CompletedProcess[str]:
        variables: dict[str, Any] = {}
        while _ASSIGNMENT.match(words[0]):
            name, _, value = words.pop(0).partition("=")
            variables[name] = value
        target: Path | None = None
        if len(words) > 2 and words[-2] == ">":
            target = self.folder / words[-1]
            words = words[:-2]
        words = [found for word in words for found in self._expanded(word)]
        if words[0] == "ko-eval":
            cache = str(self.folder / ".cache")
            done = self.server.start(
                words[1:], self.folder, KO_EVAL_CACHE=cache, **variables
            ).completed()
        else:
            assert not {"|", "&&", ">"} & set(words), f"too much of a shell: {words}"
            done = subprocess.run(
                words, cwd=self.folder, capture_output=True, text=True, check=False
            )
        if target is not None:
            target.write_text(done.stdout, encoding="utf-8")
        return done

    def _expanded(self, word: str) -> list[str]:
        """A word as the shell hands it on: a pattern becomes the paths that it fits."""
        word = self.stand_ins.get(word, word)
        if "*" not in word or word.startswith("-"):
            return [word]
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.glob(word))


def is_shown(shown: tuple[str, ...], printed: str, *, any_number: bool = False) -> bool:
    """Whether a text is what a page shows of it."""
    pattern = ""
    for line in shown:
        if line.strip() == "…":
            pattern += r"(?:.*\n)*?"
        else:
            parts = (re.escape(part) for part in _plain(line, any_number).split("…"))
            pattern += ".*".join(parts) + r"\n"
    lines = (_plain(line, any_number) + "\n" for line in printed.splitlines())
    return re.fullmatch(pattern, "".join(lines)) is not None


def _plain(line: str, any_number: bool) -> str:
    """A line without what tables make of longer words; with `any_number`, 0 for each number."""
    line = _NUMBER.sub("0", line) if any_number else line
    return re.sub(r"([━─]+|\s+)", lambda run: run[0][0], line).rstrip()
