"""What a run will do, settled before a model is loaded: tasks, requests, token ids, fingerprint.

A server is asked what it serves, and whether it scores given texts; nothing else is sent to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ko_eval.engines.base import EncodedRequest, LikelihoodPath
from ko_eval.engines.encoding import ChatTemplate, Encoder, load_tokenizer
from ko_eval.engines.model_folder import ModelFolder, resolve_model
from ko_eval.engines.model_settings import ModelSettings, settings_for
from ko_eval.engines.server_encoding import TextEncoder
from ko_eval.engines.server_model import ServerModel
from ko_eval.engines.server_options import ServerOptions, is_server
from ko_eval.engines.transformers_loading import LoadOptions, check_options
from ko_eval.engines.vllm_options import (
    EngineChoice,
    EngineName,
    VllmOptions,
    check_vllm,
    pick_engine,
)
from ko_eval.errors import TaskError, UsageError, near_miss
from ko_eval.runs.index import check_index
from ko_eval.runs.layer_parts import digest as digest
from ko_eval.runs.layers import fingerprint, local_layers, server_layers
from ko_eval.runs.packed import as_packed, packed_tasks
from ko_eval.runs.without_likelihoods import ChosenTask, in_text, needs_likelihoods
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
        model: a folder, a Hugging Face id, `demo`, or a server's URL.
        engine: `auto` is vLLM where it is installed and a CUDA device is there; a URL is always
            answered by its server.
        vllm: only for the vLLM engine.
        server: only for a server.
        revision: commit, tag or branch on the hub; for a server, what the user says of it.
        max_length: the window in tokens; None for the model's own.
        batch_tokens, batch_rows: sizes of likelihood and generation batches; None picks them.
        likelihood: how log-likelihoods are computed.
        replicas: engines that share the work; 0 for as many as the GPUs allow. Not part of what a
            run is: the same requests have the same answers.
        ray_address: a Ray cluster to run the replicas on; None starts Ray here when it is needed.
        pack: folder of an unpacked pack, whose tasks and rows are taken; `tasks` may name some of
            them, and `data` only says where they came from.
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
    server: ServerOptions = field(default_factory=ServerOptions)
    revision: str | None = None
    max_length: int | None = None
    seed: int = 0
    batch_tokens: int | None = None
    batch_rows: int | None = None
    likelihood: LikelihoodPath = "auto"
    replicas: int = 1
    ray_address: str | None = None
    pack: Path | None = None
    out: Path = Path("results")


@dataclass(frozen=True, slots=True)
class PlannedTask:
    """A task with its requests as token ids, in the order of its samples.

    Attributes:
        counted: whether the requests have token ids; those for a server do not.
    """

    prepared: PreparedTask
    variant: str | None
    encoded: tuple[EncodedRequest, ...]
    uses_template: bool
    counted: bool = True

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
        warnings: what the user should know of how the tasks are asked.
    """

    options: RunOptions
    suite: SuiteDefinition | None
    tasks: tuple[PlannedTask, ...]
    model: ModelFolder | ServerModel
    settings: ModelSettings
    encoder: Encoder | TextEncoder
    engine: EngineName
    layers: dict[str, JsonValue]
    fingerprint: str
    warnings: tuple[str, ...] = ()

    @property
    def folder(self) -> ModelFolder:
        """The local model.

        Raises:
            UsageError: the model is behind a server.
        """
        if isinstance(self.model, ServerModel):
            raise _no_files(self.model)
        return self.model

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The local model's tokenizer.

        Raises:
            UsageError: the model is behind a server.
        """
        if isinstance(self.encoder, TextEncoder):
            raise _no_files(self.model)
        return self.encoder.tokenizer


def load_tasks(
    options: RunOptions,
) -> tuple[SuiteDefinition | None, list[tuple[TaskDefinition, str | None]]]:
    """The asked tasks, each with the variant it takes.

    Raises:
        TaskError, UsageError: a name is unknown, a definition is wrong, or a task is named twice.
    """
    if options.pack is not None:
        return packed_tasks(options.pack, options.tasks)
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
    if suite:
        check_index(suite, [task for task, _ in tasks])
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
    if engine == "server":
        return _server_plan(options, suite, definitions)
    prepared = [(_prepared(task, options), variant) for task, variant in definitions]
    folder = resolve_model(
        options.model,
        revision=options.revision,
        trust_remote_code=options.load.trust_remote_code,
        allow_pickle=options.load.allow_pickle,
    )
    folder = as_packed(folder, options.pack)
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
    layers = local_layers(options, engine, folder, encoder, planned)
    return RunPlan(
        options=options,
        suite=suite,
        tasks=planned,
        model=folder,
        settings=settings,
        encoder=encoder,
        engine=engine,
        layers=layers,
        fingerprint=fingerprint(layers),
    )


def _server_plan(
    options: RunOptions, suite: SuiteDefinition | None, tasks: Sequence[ChosenTask]
) -> RunPlan:
    """The plan for a model behind a server."""
    from ko_eval.engines.server_survey import survey

    prepared = [(_prepared(task, options), variant) for task, variant in tasks]
    scored = needs_likelihoods(tasks)
    templated = options.chat_template == "on"
    model = survey(
        options.model,
        options.server,
        revision=options.revision,
        likelihoods=scored and not templated,
    )
    warnings: tuple[str, ...] = ()
    if scored and not model.likelihoods:
        why = "a server scores plain texts only" if templated else model.why_none
        tasks, warning = in_text(tasks, suite, why)
        warnings = (warning,)
        prepared = [(_prepared(task, options), variant) for task, variant in tasks]
    settings = settings_for(model)
    encoder = TextEncoder(
        settings,
        chat_template=options.chat_template,
        thinking=options.server.thinking_tokens,
        max_length=model.max_length or 0,
        seed=options.seed,
    )
    planned = tuple(_planned(item, variant, encoder) for item, variant in prepared)
    layers = server_layers(options, model, encoder, planned)
    return RunPlan(
        options=options,
        suite=suite,
        tasks=planned,
        model=model,
        settings=settings,
        encoder=encoder,
        engine="server",
        layers=layers,
        fingerprint=fingerprint(layers),
        warnings=warnings,
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


def _no_files(model: ModelFolder | ServerModel) -> UsageError:
    return UsageError(
        f"'{model.name}' is behind a server, and this needs a model's own files",
        hint="servers are asked by one process: --concurrency sets the number of requests",
    )


def _checked_engine(options: RunOptions) -> EngineName:
    if is_server(options.model):
        _check_server(options)
        return "server"
    if options.engine == "server" or options.server != ServerOptions():
        raise UsageError(
            "--engine server or options of a server were given, but MODEL is no server's URL",
            hint="write for example: ko-eval run http://localhost:8000/v1 --model-name NAME",
        )
    engine = pick_engine(options.engine, options.load)
    if engine == "vllm":
        check_vllm(options.vllm, options.load)
    elif options.vllm != VllmOptions():
        raise UsageError(
            "options of the vLLM engine were given, but the transformers engine would answer",
            hint="add --engine vllm, or leave them out",
        )
    return engine


def _check_server(options: RunOptions) -> None:
    """Raises `UsageError` for options that a server cannot be given."""
    plain = RunOptions(model=options.model)
    local = {
        "--engine": options.engine in ("auto", "server"),
        "--dtype, --device, --adapter and the like": options.load == plain.load,
        "options of the vLLM engine": options.vllm == plain.vllm,
        "--max-length": options.max_length is None,
        "--batch-tokens or --batch-rows": options.batch_tokens is options.batch_rows is None,
        "--likelihood": options.likelihood == "auto",
        "--replicas": options.replicas == 1 and options.ray_address is None,
    }
    wrong = [name for name, fits in local.items() if not fits]
    if wrong:
        raise UsageError(
            f"{wrong[0]}: given for a model that is loaded here, but a server answers",
            hint="leave it out; the server has settings of its own",
        )


def _prepared(task: TaskDefinition, options: RunOptions) -> PreparedTask:
    return prepare_task(
        task,
        options.data,
        shots=options.shots,
        limit=options.limit,
        allow_fewshot_overlap=options.allow_fewshot_overlap,
        pack=options.pack,
    )


def _planned(
    prepared: PreparedTask, variant: str | None, encoder: Encoder | TextEncoder
) -> PlannedTask:
    encoded = encoder.encode(prepared.requests)
    uses_template = encoder.uses_template(prepared.requests[0])
    counted = isinstance(encoder, Encoder)
    return PlannedTask(prepared, variant, tuple(encoded), uses_template, counted)
