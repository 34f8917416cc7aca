"""What is derived from a run's responses: `samples/`, `asked/` and `results.json`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import ko_eval
from ko_eval.engines.model_folder import ModelFolder
from ko_eval.runs.asked_files import write_asked
from ko_eval.runs.files import safe_name, write_atomically
from ko_eval.runs.index import index_of
from ko_eval.runs.journal import Entry
from ko_eval.runs.plan import PlannedTask, RunPlan
from ko_eval.runs.record import RunRecord
from ko_eval.runs.report import cost, task_report
from ko_eval.runs.result import Cost, ModelUsed, RunResult, TaskReport, Value
from ko_eval.runs.scoring import average, sample_line, score_task
from ko_eval.types import FailedResponse, Metric, Outcome, Response


class ResultWriter:
    """Scores the responses of a run whose requests are all answered.

    Args:
        entries: by task and key.
        notes: what the user was already told of the responses.
        warn: is told what the user should know beyond that.
    """

    def __init__(
        self,
        plan: RunPlan,
        directory: Path,
        record: RunRecord,
        entries: Mapping[str, Mapping[str, Entry]],
        *,
        notes: Sequence[str],
        warn: Callable[[str], object],
    ) -> None:
        self.plan = plan
        self.directory = directory
        self.record = record
        self.entries = entries
        self._say = warn
        of_engines = (text for session in record.sessions for text in session.warnings)
        self.warnings = [*dict.fromkeys(of_engines), *plan.warnings, *notes]

    def write(self) -> RunResult:
        """Scores all responses; writes the per-sample files and `results.json`.

        Raises:
            RunError: there is no room; each file is whole, or as it was before.
        """
        shown: list[Metric] = []
        reports = []
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
            average=Value.of(average(shown)),
            index=index_of(self.plan.suite, reports),
            cost=self._cost(),
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
        write_asked(self.directory, task, self.plan.encoder)
        report = task_report(task, result, entries.values())
        if report.truncated:
            self._warn(
                f"{task.name}: {report.truncated} of {report.n} contexts were longer than the "
                f"model's window of {self.plan.encoder.max_length} tokens and were cut on the "
                "left"
            )
        reasons = {r.reason for r in responses.values() if isinstance(r, FailedResponse)}
        if reasons:
            self._warn(
                f"{task.name}: {result.outcomes[Outcome.FAILED]} of {result.n} samples failed and "
                f"count as zero: {'; '.join(sorted(reasons))}"
            )
        if overlap := task.prepared.fewshot_overlap:
            self._warn(f"{task.name}: {overlap}; the score is not a clean one")
        if left_out := result.metrics.get("uncheckable_share"):
            self._warn_of_left_out(task.name, left_out)
        return result.shown, report

    def _model_used(self) -> ModelUsed:
        model = self.plan.model
        local = isinstance(model, ModelFolder)
        return ModelUsed(
            name=model.name,
            type=model.model_type,
            revision=model.revision,
            sha256=str(self.plan.layers["model"]) if local else "unknown",
            adapter=self.plan.options.load.adapter,
            template_sha256=self.plan.encoder.template_hash,
            max_length=self.plan.encoder.max_length,
        )

    def _cost(self) -> Cost | None:
        if self.plan.engine != "server":
            return None
        answered = {key: e for task in self.entries.values() for key, e in task.items()}
        return cost(answered.values(), self.plan.settings.price)

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
        self._say(text)
