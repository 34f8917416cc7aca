"""Everything that can be wrong with a batch, said before anything starts; loads no weights."""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Literal, Protocol, get_args

from ko_eval.cluster.batch_plan import BatchModel, BatchPlan
from ko_eval.cluster.batch_record import Job
from ko_eval.engines.base import LikelihoodPath
from ko_eval.engines.encoding import ChatTemplate
from ko_eval.engines.model_folder import resolve_model
from ko_eval.engines.server_options import check_client, check_url, is_server
from ko_eval.engines.transformers_loading import LoadOptions, check_options
from ko_eval.engines.vllm_options import EngineChoice
from ko_eval.errors import KoEvalError, UsageError, near_miss
from ko_eval.runs.plan import RunOptions, digest, load_tasks
from ko_eval.tasks.prepare import prepare_task
from ko_eval.types import JsonValue

Where = Literal["local", "ray", "slurm"]

# An assumption: a run of all tasks of a large suite, with its samples, stays below this.
_BYTES_PER_RUN = 50_000_000
_CHOICES = {"engine": EngineChoice, "chat_template": ChatTemplate, "likelihood": LikelihoodPath}


class RunArguments(Protocol):
    """The options of `ko-eval run`, as the command line defines them."""

    def words(self, options: Mapping[str, JsonValue]) -> list[str]:
        """Options by name as words of a command line.

        Raises:
            UsageError: an option is unknown, of the wrong kind, or has a field of its own.
        """

    def values(self, words: Sequence[str]) -> Mapping[str, object]:
        """What `ko-eval run` would understand, by the names of its parameters.

        Raises:
            UsageError: it would refuse them.
        """


@dataclass(slots=True)
class PlanCheck:
    """Checks one plan.

    Attributes:
        path: of the plan's file, for messages.
        most_gpus: that one model can have; None where that is not known.
    """

    plan: BatchPlan
    path: Path
    arguments: RunArguments
    where: Where
    most_gpus: int | None
    _prompts: dict[str, str] = field(default_factory=dict)

    def jobs(self) -> list[Job]:
        """The models of the plan with their commands.

        Raises:
            KoEvalError: something in the plan must be changed; the first is told, others counted.
        """
        problems: list[tuple[int, KoEvalError]] = []
        jobs: list[Job] = []
        for index, entry in enumerate(self.plan.models):
            try:
                jobs.append(self._job(entry))
            except KoEvalError as error:
                problems.append((index, error))
        if problems:
            raise self._told(problems)
        self._refuse_duplicates(jobs)
        self._check_room(len(jobs) * len(jobs[0].commands))
        return jobs

    def _told(self, problems: Sequence[tuple[int, KoEvalError]]) -> KoEvalError:
        index, first = problems[0]
        field_of = f"{self.path}, field 'models.{index}' ({self.plan.models[index].model})"
        others = ", ".join(f"models.{number}" for number, _ in problems[1:6])
        more = f" (and {len(problems) - 1} more models: {others})" if others else ""
        where = f"{field_of}: {first.where}" if first.where else field_of
        return UsageError(f"{first.what}{more}", where=where, hint=first.hint)

    def _job(self, entry: BatchModel) -> Job:
        plan = self.plan
        given = {**_normal(plan.defaults.options), **_normal(entry.options)}
        model = _model(entry.model)
        common = [
            *(["--revision", entry.revision] if entry.revision else []),
            *self.arguments.words(given),
            *(() if plan.data == "bundled" else ("--data", _data(plan.data))),
            *("--out", str(Path(plan.out).resolve())),
        ]
        asked = [["--suite", _absolute(suite)] for suite in plan.suites]
        if plan.tasks:
            asked.append(["--tasks", ",".join(_absolute(task) for task in plan.tasks)])
        commands = [["run", model, *what, *common] for what in asked]
        parsed = [self.arguments.values(command[1:]) for command in commands]
        _check_words(parsed[0])
        stamp = _check_model(model, parsed[0], here=self.where == "local")
        prompts = [self._check_tasks(values) for values in parsed]
        return Job(
            name=name_of(entry),
            model=entry.model,
            gpus=self._gpus(entry, parsed[0]),
            key=digest({"commands": commands, "model": stamp, "prompts": prompts})[:16],
            commands=commands,
            requeues=plan.slurm_of(entry).requeues,
        )

    def _check_tasks(self, values: Mapping[str, object]) -> str:
        """Reads the data of all tasks; the hash of what they ask, once for equal ones.

        What lies in a pack is checked by the run itself.
        """
        if pack := values.get("pack"):
            if self.plan.suites:
                raise UsageError(
                    "a pack brings its own suite", hint="name tasks of the pack (tasks: [a, b])"
                )
            return _stamp(Path(str(pack)))
        names = ("suite", "tasks", "variant", "data", "limit", "shots", "allow_fewshot_overlap")
        memory = repr([values.get(name) for name in names])
        if memory not in self._prompts:
            options = _run_options(values)
            _, tasks = load_tasks(options)
            prepared = (
                prepare_task(
                    task,
                    options.data,
                    shots=options.shots,
                    limit=options.limit,
                    allow_fewshot_overlap=options.allow_fewshot_overlap,
                )
                for task, _ in tasks
            )
            self._prompts[memory] = digest(
                [[task.definition_hash(), task.prompts_hash()] for task in prepared]
            )
        return self._prompts[memory]

    def _gpus(self, entry: BatchModel, values: Mapping[str, object]) -> int:
        used = _gpus_used(values)
        asked = entry.gpus if entry.gpus is not None else self.plan.defaults.gpus
        if asked is None:
            # Without a GPU in the machine, `--device auto` takes the CPU.
            asked = 0 if used == 1 and self.most_gpus == 0 else used
        elif used > max(asked, 1):
            raise UsageError(
                f"its options use {used} GPUs, but 'gpus' is {asked}",
                hint=f"write gpus: {used}, or change tensor_parallel, pipeline_parallel, replicas",
            )
        if self.most_gpus is not None and asked > self.most_gpus:
            there = {"local": "this machine has", "ray": "the largest node of the Ray cluster has"}
            raise UsageError(
                f"{asked} GPUs are asked for, but "
                f"{there.get(self.where, 'the largest node has')} {self.most_gpus}",
                hint="ask for fewer (gpus: N; 0 for the CPU), or evaluate it elsewhere",
            )
        return asked

    def _refuse_duplicates(self, jobs: Sequence[Job]) -> None:
        names: dict[str, int] = {}
        asked: dict[str, int] = {}
        for index, job in enumerate(jobs):
            # Folders are told apart without regard to case on some file systems.
            for key, seen, what, hint in (
                (job.name.lower(), names, f"both named '{job.name}'", "give one another 'name'"),
                (repr(job.commands), asked, "the same model with the same options", "remove one"),
            ):
                if key in seen:
                    raise UsageError(
                        f"two models of the plan are {what}",
                        where=f"{self.path}, fields 'models.{seen[key]}' and 'models.{index}'",
                        hint=hint,
                    )
                seen[key] = index

    def _check_room(self, runs: int) -> None:
        out = Path(self.plan.out)
        where = f"{self.path}, field 'out' ({self.plan.out})"
        try:
            out.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=out) as file:
                file.write(b"room for a byte")
            free = shutil.disk_usage(out).free
        except OSError as error:
            raise UsageError(
                f"the output folder cannot be written: {error.strerror or error}",
                where=where,
                hint="name another folder under 'out'",
            ) from error
        needed = runs * _BYTES_PER_RUN
        if free < needed:
            raise UsageError(
                f"{free / 1e9:.1f} GB are free, but {runs} runs can take {needed / 1e9:.1f} GB",
                where=where,
                hint="make room, or name a folder on another disk",
            )


def _run_options(values: Mapping[str, object]) -> RunOptions:
    """What the tasks depend on."""
    tasks = str(values.get("tasks") or "")
    limit, shots = values.get("limit"), values.get("shots")
    variant, suite = values.get("variant"), values.get("suite")
    return RunOptions(
        model=str(values["model"]),
        suite=None if tasks else str(suite),
        tasks=tuple(part.strip() for part in tasks.split(",") if part.strip()),
        variant=None if variant is None else str(variant),
        data=str(values["data"]),
        limit=limit if isinstance(limit, int) else None,
        shots=shots if isinstance(shots, int) else None,
        allow_fewshot_overlap=bool(values.get("allow_fewshot_overlap")),
    )


def _check_words(values: Mapping[str, object]) -> None:
    """Options whose words are only checked when a run begins."""
    for name, choice in _CHOICES.items():
        given, known = values.get(name), get_args(choice)
        if given is not None and given not in known:
            raise UsageError(
                f"--{name.replace('_', '-')} cannot be '{given}'",
                hint=near_miss(str(given), known),
            )


def _check_model(model: str, values: Mapping[str, object], *, here: bool) -> str:
    """Looks at the model as a run would before loading it; returns what tells its content."""
    device_map, adapter = values.get("device_map"), values.get("adapter")
    trust, pickle = bool(values.get("trust_remote_code")), bool(values.get("allow_pickle"))
    check_options(
        LoadOptions(
            dtype=str(values.get("dtype", "auto")),
            # What devices another machine has is not known here.
            device=str(values.get("device", "auto")) if here else "auto",
            device_map=None if device_map is None else str(device_map),
            adapter=None if adapter is None else str(adapter),
            allow_pickle=pickle,
        )
    )
    if is_server(model):
        check_client()
        return check_url(model)
    revision = values.get("revision")
    folder = resolve_model(
        model,
        revision=None if revision is None else str(revision),
        trust_remote_code=trust,
        allow_pickle=pickle,
        # Those of a hub model are downloaded where it is evaluated.
        weights=Path(model).is_dir(),
    )
    parts = [folder.revision or _stamp(folder.path)]
    return " ".join([*parts, _stamp(Path(str(adapter)))] if adapter else parts)


def _stamp(folder: Path) -> str:
    """Changes when a file, or one of a folder, does; reads none of them."""
    found = hashlib.sha256()
    for file in sorted(folder.iterdir()) if folder.is_dir() else [folder]:
        if file.is_file():
            status = file.stat()
            found.update(f"{file.name}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
    return found.hexdigest()


def _gpus_used(values: Mapping[str, object]) -> int:
    if is_server(str(values["model"])) or values.get("device") == "cpu":
        return 0
    numbers = (values.get(n) for n in ("tensor_parallel", "pipeline_parallel", "replicas"))
    # 0 or a word is as many replicas as there are GPUs for.
    counts = (int(text) for number in numbers if (text := str(number)).isdecimal())
    return prod(count for count in counts if count)


def _normal(options: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    return {name.replace("-", "_"): value for name, value in options.items()}


def _model(text: str) -> str:
    """A folder as an absolute path; an id or a URL as it is."""
    path = Path(text)
    return str(path.resolve()) if path.is_dir() else text


def _absolute(text: str) -> str:
    """A suite's or task's file as an absolute path; a name as it is, also beside such a folder."""
    looks_like_one = "/" in text or text.endswith((".yaml", ".yml"))
    return str(Path(text).resolve()) if looks_like_one else text


def _data(data: str) -> str:
    if data in ("bundled", "hub") or data.startswith("hub:"):
        return data
    return str(Path(data).resolve())


def name_of(entry: BatchModel) -> str:
    """A model's own name, or one from its path or id."""
    path = Path(entry.model)
    text = path.resolve().name if path.is_dir() else entry.model.replace("/", "--")
    return entry.name or re.sub(r"[^A-Za-z0-9_.-]+", "_", text).strip("._-")[:80] or "model"
