"""The engine that a plan settled on, with its model loaded."""

from __future__ import annotations

import dataclasses

from ko_eval.engines.base import Engine
from ko_eval.engines.server_model import ServerModel
from ko_eval.runs.plan import RunPlan
from ko_eval.types import JsonValue


def load_engine(plan: RunPlan) -> Engine:
    """Loads the plan's model.

    Raises:
        ModelError: it cannot be loaded.
    """
    # Imported here: a run whose responses are all on disk needs no model.
    if plan.engine == "vllm":
        return _vllm_engine(plan)
    if isinstance(plan.model, ServerModel):
        return _server_engine(plan, plan.model)
    from ko_eval.engines.transformers_engine import TransformersEngine

    options = plan.options
    return TransformersEngine.load(
        plan.folder,
        plan.tokenizer,
        plan.settings,
        options.load,
        batch_tokens=options.batch_tokens,
        batch_rows=options.batch_rows,
        likelihood=options.likelihood,
    )


def _server_engine(plan: RunPlan, model: ServerModel) -> Engine:
    from ko_eval.engines.server_engine import ServerEngine

    return ServerEngine.load(
        model,
        plan.settings,
        plan.options.server,
        [request for task in plan.tasks for request in task.encoded],
        chat=plan.options.chat_template != "off",
    )


def _vllm_engine(plan: RunPlan) -> Engine:
    from ko_eval.engines.vllm_engine import VllmEngine

    options = plan.options
    sizes = {"max_num_batched_tokens": options.batch_tokens, "max_num_seqs": options.batch_rows}
    arguments: dict[str, JsonValue] = {k: size for k, size in sizes.items() if size is not None}
    return VllmEngine(
        plan.folder,
        plan.tokenizer,
        plan.settings,
        options.load,
        dataclasses.replace(options.vllm, engine_args={**arguments, **options.vllm.engine_args}),
        max_length=plan.encoder.max_length,
        likelihood=options.likelihood,
    )
