"""The one orchestration: plan, ask what is not in the journal, score, write the results.

    outcome = evaluate(RunOptions(model="demo", suite="leaderboard2"))

The run directory (DESIGN 4.2): `run.json` first, then the journal `responses/`, then what is
derived from them: `samples/` and `results.json`. Running again asks only what is missing.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import ko_eval
from ko_eval.engines.base import EncodedRequest, Engine
from ko_eval.runs.engine_loading import load_engine
from ko_eval.runs.files import held, safe_name, write_atomically
from ko_eval.runs.journal import Entry, Journal
from ko_eval.runs.plan import PlannedTask, RunOptions, RunPlan, plan_run
from ko_eval.runs.record import RunRecord, open_record
from ko_eval.runs.report import task_report, value
from ko_eval.runs.result import ModelUsed, RunResult, TaskReport
from ko_eval.runs.scoring import average, sample_line, score_task
from ko_eval.types import (
    FailedResponse,
    GenerateResponse,
    LoglikelihoodResponse,
    Metric,
    Response,
)


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


def evaluate(options: RunOptions, reporter: Reporter | None = None) -> RunOutcome:
    """Runs an evaluation, or finishes one that was stopped.

    Raises:
        KoEvalError: the user must change something; every finished response is on disk.
    """
    reporter = reporter or SilentReporter()
    first_use = " (the demo model is converted at first use)" if options.model == "demo" else ""
    reporter.stage(f"reading model, tasks and data{first_use}")
    plan = plan_run(options)
    directory = run_directory(plan)
    with held(directory):
        record = open_record(plan, directory)
        reporter.stage(f"run directory: {directory}")
        runner = _Runner(plan, directory, record, reporter)
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
    return options.out / safe_name(plan.folder.name) / name


class _Runner:
    """One call's work on a run directory: asks what is missing, then scores everything."""

    def __init__(
        self, plan: RunPlan, directory: Path, record: RunRecord, reporter: Reporter
    ) -> None:
        self.plan = plan
        self.directory = directory
        self.record = record
        self.reporter = reporter
        self.asked = 0
        self.answered_before = 0
        self.entries: dict[str, dict[str, Entry]] = {}
        self.warnings: list[str] = []
        self._engine: Engine | None = None

    def ask(self) -> None:
        """Asks every request that no journal holds: those of all tasks in one go.

        A request that several tasks share is asked once and written to each one's journal.
        """
        with ExitStack() as stack:
            journals: dict[str, Journal] = {}
            missing: dict[str, EncodedRequest] = {}
            asked_by: dict[str, list[str]] = {}
            for task in self.plan.tasks:
                path = self.directory / "responses" / f"{safe_name(task.name)}.jsonl"
                journals[task.name] = stack.enter_context(Journal(path))
                for request in self._missing(task, journals[task.name]):
                    missing[request.key] = request
                    asked_by.setdefault(request.key, []).append(task.name)
            if missing:
                engine = self._loaded_engine()
                try:
                    for answer in engine.answers(list(missing.values())):
                        entry = Entry(answer.key, answer.response, answer.seconds)
                        self.asked += 1
                        for name in asked_by[answer.key]:
                            journals[name].append(entry)
                            self.entries[name][answer.key] = entry
                            self.reporter.answered(name, _tokens(answer.response))
                finally:
                    self._note_conditions(engine)

    def _missing(self, task: PlannedTask, journal: Journal) -> list[EncodedRequest]:
        """The task's unanswered requests, each once; what is answered goes to `entries`."""
        wanted = {request.key: request for request in task.encoded}
        found = {key: journal.entries[key] for key in wanted if key in journal.entries}
        missing = [request for key, request in wanted.items() if key not in found]
        if journal.damaged and missing:
            self._warn(
                f"{task.name}: {len(journal.damaged)} lines of the journal were damaged (first: "
                f"line {journal.damaged[0]} of {journal.path.name}); their requests are asked again"
            )
        self.entries[task.name] = found
        self.answered_before += len(found)
        self.reporter.task(task.name, len(found), len(wanted))
        return missing

    def _note_conditions(self, engine: Engine) -> None:
        """Records how the answers came about in the end, which an engine may settle on the way."""
        warnings = engine.warnings
        self.record = self.record.with_conditions(engine.capabilities.conditions, warnings)
        for text in warnings:
            self.reporter.warning(text)

    def _loaded_engine(self) -> Engine:
        if self._engine is None:
            self.reporter.stage(f"loading {self.plan.folder.name}")
            self._engine = load_engine(self.plan)
            self.record = self.record.with_session(self._engine.capabilities.conditions)
        return self._engine

    def write_results(self) -> RunResult:
        """Scores all responses; writes the per-sample files and `results.json`."""
        shown: list[Metric] = []
        reports = []
        of_engines = (text for session in self.record.sessions for text in session.warnings)
        self.warnings = [*dict.fromkeys(of_engines), *self.warnings]
        for task in self.plan.tasks:
            metric, report = self._scored(task)
            shown.append(metric)
            reports.append(report)
        self._warn_of_missing_variants()
        if differences := self.record.differences():
            self._warn(
                f"the run was asked in {len(self.record.sessions)} sessions that differ in "
                + ", ".join(differences)
            )
        last = self.record.sessions[-1] if self.record.sessions else None
        content = RunResult(
            ko_eval=ko_eval.__version__,
            git_revision=last.git_revision if last else None,
            created=self.record.created,
            model=self._model_used(),
            suite=self.plan.suite.name if self.plan.suite else None,
            suite_protocol=self.plan.suite.protocol if self.plan.suite else {},
            data=self.plan.options.data,
            limit=self.plan.options.limit,
            seed=self.plan.options.seed,
            fingerprint=self.plan.fingerprint,
            layers=self.plan.layers,
            conditions=last.conditions if last else {},
            environment=last.environment if last else {},
            average=value(average(shown)),
            tasks=reports,
            warnings=self.warnings,
        )
        write_atomically(self.directory / "results.json", content.model_dump_json(indent=2) + "\n")
        return content

    def _scored(self, task: PlannedTask) -> tuple[Metric, TaskReport]:
        """The task's shown metric and report; writes its per-sample file, and warns."""
        entries = self.entries[task.name]
        by_sample = {
            sample.id: entries[request.key]
            for sample, request in zip(task.prepared.samples, task.encoded, strict=True)
        }
        responses: dict[str, Response] = {name: e.response for name, e in by_sample.items()}
        result, scores = score_task(
            task.prepared.definition, task.prepared.scorer, task.prepared.samples, responses
        )
        order = {s.id: s.fields.get("choice_order") for s in task.prepared.samples}
        lines = [
            sample_line(score, key=by_sample[score.id].key, choice_order=order[score.id])
            for score in scores
        ]
        write_atomically(
            self.directory / "samples" / f"{safe_name(task.name)}.jsonl",
            "".join(line + "\n" for line in lines),
        )
        report = task_report(task, result, entries.values())
        if report.truncated:
            self._warn(
                f"{task.name}: {report.truncated} of {report.n} contexts were longer than the "
                f"model's window of {self.plan.encoder.max_length} tokens and were cut on the "
                "left"
            )
        if overlap := task.prepared.fewshot_overlap:
            self._warn(f"{task.name}: {overlap}; the score is not a clean one")
        if left_out := result.metrics.get("uncheckable_share"):
            self._warn_of_left_out(task.name, left_out)
        return result.shown, report

    def _model_used(self) -> ModelUsed:
        folder = self.plan.folder
        return ModelUsed(
            name=folder.name,
            type=folder.model_type,
            revision=folder.revision,
            sha256=str(self.plan.layers["model"]),
            adapter=self.plan.options.load.adapter,
            template_sha256=self.plan.encoder.template_hash,
            max_length=self.plan.encoder.max_length,
        )

    def _warn_of_left_out(self, name: str, share: Metric) -> None:
        if share.value:
            count = round(share.value * share.n)
            self._warn(
                f"{name}: {count} of {share.n} instructions cannot be checked and are left out; "
                f"`ko-eval doctor --task {name}` lists them"
            )

    def _warn_of_missing_variants(self) -> None:
        wanted = self.plan.options.variant
        without = [task.name for task in self.plan.tasks if task.variant is None]
        if wanted and without:
            self._warn(f"run as they are, without a variant '{wanted}': {', '.join(without)}")

    def _warn(self, text: str) -> None:
        self.warnings.append(text)
        self.reporter.warning(text)


def _tokens(response: Response) -> int:
    """Tokens that went through the model for a response."""
    match response:
        case LoglikelihoodResponse():
            return response.context_tokens + sum(response.token_counts)
        case GenerateResponse():
            return response.prompt_tokens + response.completion_tokens
        case FailedResponse():
            return 0
