"""The one orchestration: plan, ask what is not in the journal, score, write the results.

    outcome = evaluate(RunOptions(model="demo", suite="leaderboard2"))

The run directory (DESIGN 4.2): `run.json` first, then the journal `responses/`, then what is
derived from them: `samples/` and `results.json`. Running again asks only what is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence, Set
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ko_eval.engines.base import Answer, EncodedRequest, EndsSoon, Engine
from ko_eval.errors import KoEvalError, RunError, Stopped
from ko_eval.runs.engine_loading import load_engine
from ko_eval.runs.files import refuse_link, remove_leftovers, safe_name
from ko_eval.runs.holding import Hold, held
from ko_eval.runs.journal import Entry, Journal
from ko_eval.runs.plan import PlannedTask, RunOptions, RunPlan, plan_run
from ko_eval.runs.record import RunRecord, open_record
from ko_eval.runs.result import RunResult
from ko_eval.runs.result_writing import ResultWriter
from ko_eval.runs.state import StateWriter
from ko_eval.runs.stopping import GAP_SECONDS, GRACE_SECONDS, stopping, while_loading
from ko_eval.types import (
    FailedResponse,
    GenerateResponse,
    LoglikelihoodResponse,
    Response,
)

EngineLoader = Callable[[RunPlan], Engine]

# How often a request that failed is asked again before it counts as failed.
_RETRIES = 2
_STOPPING = "stopping when the batch in hand is done; a second Ctrl-C ends at once"


class Reporter(Protocol):
    """Is told how a run goes on; the command line draws it."""

    def stage(self, text: str) -> None:
        """A new step begins."""

    def warning(self, text: str) -> None:
        """Something the user should know; it is in the result as well."""

    def task(self, name: str, done: int, total: int) -> None:
        """A task begins or goes on, with so many requests already answered."""

    def answered(self, name: str, tokens: int) -> None:
        """One more request of a task is answered."""


class SilentReporter:
    """Reports nothing."""

    def stage(self, text: str) -> None: ...

    def warning(self, text: str) -> None: ...

    def task(self, name: str, done: int, total: int) -> None: ...

    def answered(self, name: str, tokens: int) -> None: ...


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """A finished run.

    Attributes:
        directory: where everything lies.
        asked: requests that this call asked the model.
        answered_before: requests that were in the journal already.
    """

    result: RunResult
    directory: Path
    asked: int
    answered_before: int


def evaluate(
    options: RunOptions, reporter: Reporter | None = None, load: EngineLoader = load_engine
) -> RunOutcome:
    """Runs an evaluation, or finishes one that was stopped.

    Args:
        load: makes the engine, and is not called where every response is on disk.

    Raises:
        KoEvalError: the user must change something; every finished response is on disk.
        Stopped: a signal asked for it; every finished response is on disk.
    """
    reporter = reporter or SilentReporter()
    first_use = " (the demo model is converted at first use)" if options.model == "demo" else ""
    reporter.stage(f"reading model, tasks and data{first_use}")
    plan = plan_run(options)
    for text in plan.warnings:
        reporter.warning(text)
    directory = run_directory(plan)
    with held(directory, reporter.warning) as hold:
        for folder in ("samples", "asked"):
            refuse_link(directory / folder)
        remove_leftovers(directory)
        record = open_record(plan, directory)
        reporter.stage(f"run directory: {directory}")
        runner = _Runner(plan, directory, record, reporter, load, hold)
        with runner.state_kept():
            runner.ask()
            reporter.stage("scoring")
            result = runner.write_results()
    return RunOutcome(result, directory, runner.asked, runner.answered_before)


def run_directory(plan: RunPlan) -> Path:
    """Where a plan's run lies."""
    options = plan.options
    suite = options.suite if plan.suite is None else plan.suite.name
    what = suite or "+".join(task.name for task in plan.tasks)
    data = options.data if options.data in ("bundled", "hub") else Path(options.data).stem
    if options.variant:
        what += f"-{options.variant}"
    name = f"{safe_name(what)[:80]}-{safe_name(data)[:40]}-{plan.fingerprint}"
    return options.out / safe_name(plan.model.name) / name


class _Runner:
    """One call's work on a run directory: asks what is missing, then scores everything."""

    def __init__(
        self,
        plan: RunPlan,
        directory: Path,
        record: RunRecord,
        reporter: Reporter,
        load: EngineLoader,
        hold: Hold,
    ) -> None:
        self.plan = plan
        self.directory = directory
        self.record = record
        self.reporter = reporter
        self.asked = 0
        self.answered_before = 0
        self.entries: dict[str, dict[str, Entry]] = {}
        self.warnings: list[str] = []
        self.state = StateWriter(directory, plan.model.name)
        self._load = load
        self._hold = hold

    @contextmanager
    def state_kept(self) -> Iterator[None]:
        """Leaves the state that the work ends in, unless the directory is another process's now."""
        try:
            yield
        except (Stopped, KeyboardInterrupt):
            self.state.write("stopped")
            raise
        except Exception as error:
            with suppress(RunError):
                self._hold.check()
                self.state.write("error", str(error) or type(error).__name__)
            raise
        self.state.write("done")

    def ask(self) -> None:
        """Asks every request that no journal holds: those of all tasks in one go.

        A request that several tasks share is asked once and written to each one's journal.
        """
        with ExitStack() as stack:
            journals: dict[str, Journal] = {}
            for task in self.plan.tasks:
                path = self.directory / "responses" / f"{safe_name(task.name)}.jsonl"
                journal = stack.enter_context(Journal(path, self.plan.fingerprint))
                journals[task.name] = journal
            on_disk = {
                key: e for journal in journals.values() for key, e in journal.entries.items()
            }
            missing: dict[str, EncodedRequest] = {}
            asked_by: dict[str, list[str]] = {}
            for task in self.plan.tasks:
                for request in self._missing(task, journals[task.name], on_disk):
                    missing[request.key] = request
                    asked_by.setdefault(request.key, []).append(task.name)
            if missing:
                self._ask_engine(missing, asked_by, journals)

    def _ask_engine(
        self,
        missing: Mapping[str, EncodedRequest],
        asked_by: Mapping[str, Sequence[str]],
        journals: Mapping[str, Journal],
    ) -> None:
        """Loads the engine and asks; what fails is asked again, and in the end counted."""
        self.state.write("loading")
        engine = self._loaded_engine()
        self.state.write("asking")
        try:
            failed = self._ask(engine, missing, asked_by, journals)
            for _ in range(_RETRIES):
                failed = failed and self._ask(engine, failed, asked_by, journals)
        except BaseException:
            # What ended the asking is what the user must hear of.
            with suppress(KoEvalError):
                self._hold.check()
                self._note_conditions(engine)
            raise
        self._note_conditions(engine)
        for key in failed:
            for name in asked_by[key]:
                self.state.failed[name] += 1

    def _ask(
        self,
        engine: Engine,
        requests: Mapping[str, EncodedRequest],
        asked_by: Mapping[str, Sequence[str]],
        journals: Mapping[str, Journal],
    ) -> dict[str, EncodedRequest]:
        """Asks requests, writes each answer down as it comes, and returns those that failed.

        Raises:
            RunError: an answer cannot be written down.
            Stopped: a signal asked for it.
        """
        failed: dict[str, EncodedRequest] = {}
        gap = GRACE_SECONDS if isinstance(engine, EndsSoon) else GAP_SECONDS
        with (
            stopping(lambda: self._announce_stop(engine), gap) as stop,
            _closed(engine.answers(list(requests.values()))) as answers,
        ):
            for answer in answers:
                with stop.taking():
                    self._hold.check()
                    self._take(answer, asked_by[answer.key], journals)
                    if isinstance(answer.response, FailedResponse):
                        failed[answer.key] = requests[answer.key]
        return failed

    def _announce_stop(self, engine: Engine) -> None:
        if isinstance(engine, EndsSoon):
            engine.begin_nothing_new()
        self.reporter.warning(_STOPPING)

    def _take(self, answer: Answer, names: Sequence[str], journals: Mapping[str, Journal]) -> None:
        """Writes an answer to the journals of the tasks that asked for it."""
        entry = Entry(answer.key, answer.response, answer.seconds)
        first_time = answer.key not in self.entries[names[0]]
        self.asked += first_time
        for name in names:
            try:
                journals[name].append(entry)
            except RunError as error:
                left = sum(self.state.totals[n] - self.state.done[n] for n in self.state.totals)
                what = f"{error.what}; {left} requests are still to be answered"
                raise RunError(what, where=error.where, hint=error.hint) from error
            self.entries[name][answer.key] = entry
            if first_time:
                self.state.answered(name, self.asked)
                self.reporter.answered(name, _tokens(answer.response))

    def _missing(
        self, task: PlannedTask, journal: Journal, on_disk: Mapping[str, Entry]
    ) -> list[EncodedRequest]:
        """The task's unanswered requests, each once; what is answered goes to `entries`.

        Args:
            on_disk: what all journals hold: another task may have asked the same.
        """
        wanted = {request.key: request for request in task.encoded}
        found = {key: on_disk[key] for key in wanted if key in on_disk}
        missing = [request for key, request in wanted.items() if key not in found]
        if missing:
            self._warn_of_unused(task.name, journal, wanted.keys())
        for key, entry in found.items():
            if key not in journal.entries:
                journal.append(entry)
        self.entries[task.name] = found
        self.answered_before += len(found)
        self.reporter.task(task.name, len(found), len(wanted))
        self.state.task(task.name, len(found), len(wanted))
        return missing

    def _warn_of_unused(self, task: str, journal: Journal, wanted: Set[str]) -> None:
        """Says what a journal holds beside the task's answers."""
        name = journal.path.name
        if journal.torn:
            # What a kill leaves, and nothing that the results need to tell.
            self.reporter.warning(
                f"{task}: the last line of {name} was cut off; its request is asked again"
            )
        if journal.damaged:
            self._warn(
                f"{task}: {len(journal.damaged)} lines of the journal were damaged (first: line "
                f"{journal.damaged[0]} of {name}); their requests are asked again"
            )
        if journal.foreign:
            self._warn(
                f"{task}: {len(journal.foreign)} lines of the journal were written by another run "
                f"(first: line {journal.foreign[0]} of {name}) and are not used"
            )
        if unasked := len(journal.entries.keys() - wanted):
            self._warn(
                f"{task}: {unasked} responses in {name} are to requests of another task and are "
                "not used"
            )

    def _note_conditions(self, engine: Engine) -> None:
        """Records how the answers came about in the end, which an engine may settle on the way."""
        warnings = engine.warnings
        self.record = self.record.with_conditions(engine.capabilities.conditions, warnings)
        for text in warnings:
            self.reporter.warning(text)

    def _loaded_engine(self) -> Engine:
        self.reporter.stage(f"loading {self.plan.model.name}")
        with while_loading():
            engine = self._load(self.plan)
        self.record = self.record.with_session(engine.capabilities.conditions)
        return engine

    def write_results(self) -> RunResult:
        """Scores all responses; writes the per-sample files and `results.json`."""
        self._hold.check()
        writer = ResultWriter(
            self.plan,
            self.directory,
            self.record,
            self.entries,
            notes=self.warnings,
            warn=self.reporter.warning,
        )
        return writer.write()

    def _warn(self, text: str) -> None:
        self.warnings.append(text)
        self.reporter.warning(text)


@contextmanager
def _closed(answers: Iterator[Answer]) -> Iterator[Iterator[Answer]]:
    """Ends an engine's work with the asking, not when somebody forgets the last reference to it."""
    if isinstance(answers, Generator):
        with closing(answers):
            yield answers
    else:
        yield answers


def _tokens(response: Response) -> int:
    """Tokens that went through the model for a response."""
    match response:
        case LoglikelihoodResponse():
            return response.context_tokens + sum(response.token_counts)
        case GenerateResponse():
            return response.prompt_tokens + response.completion_tokens
        case FailedResponse():
            return 0
