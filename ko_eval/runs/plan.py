"""What a run will do, settled before a model is loaded: tasks, requests, token ids, fingerprint."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ko_eval.engines.base import EncodedRequest, LikelihoodPath
from ko_eval.engines.encoding import ChatTemplate, Encoder, load_tokenizer
from ko_eval.engines.model_folder import ModelFolder, content_fingerprint, resolve_model
from ko_eval.engines.model_settings import ModelSettings, settings_for
from ko_eval.engines.transformers_loading import (
    LoadOptions,
    check_options,
    pick_device,
    pick_dtype,
)
from ko_eval.engines.vllm_options import (
    EngineChoice,
    EngineName,
    VllmOptions,
    check_vllm,
    pick_engine,
)
from ko_eval.errors import TaskError, UsageError, near_miss
from ko_eval.tasks.definition import SuiteDefinition, TaskDefinition
from ko_eval.tasks.prepare import PreparedTask, prepare_task
from ko_eval.tasks.registry import load_suite, load_task, variants_of
from ko_eval.types import JsonValue

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Where a configuration names no window, this one is safe for every model in use.
_DEFAULT_WINDOW = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What the user asked for.

    Attributes:
        suite, tasks: exactly one is given; tasks are names or YAML paths.
        variant: taken by every task that has it.
        data: `bundled`, `hub`, `hub:OWNER/NAME`, or a path.
        limit: first rows of each task; None for all.
        shots: few-shot examples of every task; None for each task's own count.
        allow_fewshot_overlap: see `prepare_task`.
        engine: `auto` is vLLM where it is installed and a CUDA device is there.
        vllm: only for the vLLM engine.
        max_length: the window in tokens; None for the model's own.
        batch_tokens, batch_rows: sizes of likelihood and generation batches; None picks them.
        likelihood: how log-likelihoods are computed.
    """

    model: str
    suite: str | None = None
    tasks: tuple[str, ...] = ()
    variant: str | None = None
    data: str = "bundled"
    limit: int | None = None
    shots: int | None = None
    allow_fewshot_overlap: bool = False
    chat_template: ChatTemplate = "auto"
    engine: EngineChoice = "auto"
    load: LoadOptions = field(default_factory=LoadOptions)
    vllm: VllmOptions = field(default_factory=VllmOptions)
    revision: str | None = None
    max_length: int | None = None
    seed: int = 0
    batch_tokens: int | None = None
    batch_rows: int | None = None
    likelihood: LikelihoodPath = "auto"
    out: Path = Path("results")


@dataclass(frozen=True, slots=True)
class PlannedTask:
    """A task with its requests as token ids, in the order of its samples."""

    prepared: PreparedTask
    variant: str | None
    encoded: tuple[EncodedRequest, ...]
    uses_template: bool

    @property
    def name(self) -> str:
        return self.prepared.definition.name


@dataclass(frozen=True, slots=True)
class RunPlan:
    """Everything that is fixed before the first request.

    Attributes:
        engine: what answers the requests.
        layers: hashes of what determines the responses, from the model to each task's prompts.
        fingerprint: names the run directory; equal plans have equal fingerprints.
    """

    options: RunOptions
    suite: SuiteDefinition | None
    tasks: tuple[PlannedTask, ...]
    folder: ModelFolder
    tokenizer: PreTrainedTokenizerBase
    settings: ModelSettings
    encoder: Encoder
    engine: EngineName
    layers: dict[str, JsonValue]
    fingerprint: str


def load_tasks(
    options: RunOptions,
) -> tuple[SuiteDefinition | None, list[tuple[TaskDefinition, str | None]]]:
    """The asked tasks, each with the variant it takes.

    Raises:
        TaskError, UsageError: a name is unknown, a definition is wrong, or a task is named twice.
    """
    suite = load_suite(options.suite) if options.suite else None
    names = list(suite.tasks) if suite else list(options.tasks)
    if not names:
        raise UsageError("no task was given", hint="name a suite (--suite) or tasks (--tasks a,b)")
    if suite:
        _check_overrides(suite)
    tasks: list[tuple[TaskDefinition, str | None]] = []
    variants: set[str] = set()
    for name in names:
        changes = suite.overrides.get(name, {}) if suite else {}
        plain = load_task(name, overrides=changes)
        known = variants_of(plain)
        variants.update(known)
        if options.variant in known:
            chosen = load_task(name, variant=options.variant, overrides=changes)
            tasks.append((chosen, options.variant))
        else:
            tasks.append((plain, None))
    if options.variant is not None and options.variant not in variants:
        raise TaskError(
            f"none of the tasks has a variant '{options.variant}'",
            hint=near_miss(options.variant, variants) if variants else "they have no variants",
        )
    twice = {task.name for task, _ in tasks if [t.name for t, _ in tasks].count(task.name) > 1}
    if twice:
        raise UsageError(f"task '{sorted(twice)[0]}' was given twice", hint="name each task once")
    return suite, tasks


def _check_overrides(suite: SuiteDefinition) -> None:
    for name, changes in suite.overrides.items():
        where = f"suite '{suite.name}', field 'overrides.{name}'"
        if name not in suite.tasks:
            raise TaskError(
                f"'{name}' is changed, but it is not among the suite's tasks",
                where=where,
                hint=near_miss(name, suite.tasks),
            )
        try:
            load_task(name, overrides=changes)
        except TaskError as error:
            raise TaskError(error.what, where=where, hint=error.hint) from error


def plan_run(options: RunOptions) -> RunPlan:
    """Checks everything that can be wrong, and encodes all requests; loads no weights.

    Raises:
        KoEvalError: something must be changed; nothing was written and nothing was asked.
    """
    suite, definitions = load_tasks(options)
    check_options(options.load)
    engine = _checked_engine(options)
    prepared = [(_prepared(task, options), variant) for task, variant in definitions]
    folder = resolve_model(
        options.model,
        revision=options.revision,
        trust_remote_code=options.load.trust_remote_code,
        allow_pickle=options.load.allow_pickle,
    )
    settings = settings_for(folder)
    tokenizer = load_tokenizer(folder, trust_remote_code=options.load.trust_remote_code)
    encoder = Encoder(
        tokenizer,
        settings,
        chat_template=options.chat_template,
        max_length=window(folder, options.max_length),
        seed=options.seed,
    )
    planned = tuple(_planned(item, variant, encoder) for item, variant in prepared)
    layers = _layers(options, engine, folder, encoder, planned)
    return RunPlan(
        options=options,
        suite=suite,
        tasks=planned,
        folder=folder,
        tokenizer=tokenizer,
        settings=settings,
        encoder=encoder,
        engine=engine,
        layers=layers,
        fingerprint=digest(layers)[:12],
    )


def window(folder: ModelFolder, asked: int | None) -> int:
    """The longest sequence in tokens: as asked, but never longer than the model allows.

    Raises:
        UsageError: more was asked than the configuration allows.
    """
    own = folder.max_length
    if asked is not None and own is not None and asked > own:
        raise UsageError(
            f"--max-length {asked} is longer than the model's window of {own} tokens",
            hint=f"use --max-length {own} or less",
        )
    return asked or own or _DEFAULT_WINDOW


def digest(value: JsonValue) -> str:
    """SHA-256 of a value as canonical JSON."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _checked_engine(options: RunOptions) -> EngineName:
    engine = pick_engine(options.engine, options.load)
    if engine == "vllm":
        check_vllm(options.vllm, options.load)
    elif options.vllm != VllmOptions():
        raise UsageError(
            "options of the vLLM engine were given, but the transformers engine would answer",
            hint="add --engine vllm, or leave them out",
        )
    return engine


def _prepared(task: TaskDefinition, options: RunOptions) -> PreparedTask:
    return prepare_task(
        task,
        options.data,
        shots=options.shots,
        limit=options.limit,
        allow_fewshot_overlap=options.allow_fewshot_overlap,
    )


def _planned(prepared: PreparedTask, variant: str | None, encoder: Encoder) -> PlannedTask:
    encoded = encoder.encode(prepared.requests)
    uses_template = encoder.uses_template(prepared.requests[0])
    return PlannedTask(prepared, variant, tuple(encoded), uses_template)


def _vllm_layer(options: VllmOptions) -> dict[str, JsonValue]:
    """What of vLLM's options can move a score; on how many GPUs it runs should not."""
    return {"quantization": options.quantization, "arguments": dict(options.engine_args)}


def _layers(
    options: RunOptions,
    engine: EngineName,
    folder: ModelFolder,
    encoder: Encoder,
    tasks: Sequence[PlannedTask],
) -> dict[str, JsonValue]:
    device = pick_device(options.load.device)
    dtype = pick_dtype(options.load.dtype, folder.config, device)
    adapter = options.load.adapter
    per_task: dict[str, JsonValue] = {
        task.name: {
            "data": task.prepared.rows.sha256,
            "fewshot": task.prepared.fewshot.sha256 if task.prepared.fewshot else None,
            "prompts": task.prepared.prompts_hash(),
            "tokens": digest([request.key for request in task.encoded]),
        }
        for task in tasks
    }
    return {
        "model": content_fingerprint(folder.path),
        "adapter": content_fingerprint(Path(adapter)) if adapter else None,
        "engine": {
            "name": engine,
            "dtype": str(dtype).removeprefix("torch."),
            **(_vllm_layer(options.vllm) if engine == "vllm" else {}),
        },
        "encoding": {
            "chat_template": options.chat_template,
            "template": encoder.template_hash,
            "settings": encoder.settings.model_dump(mode="json"),
            "max_length": encoder.max_length,
            "seed": options.seed,
        },
        "tasks": per_task,
    }
