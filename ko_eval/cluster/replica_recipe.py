"""What a node must know to load a plan's model, and the loading there.

Model and tokenizer are read from the node's own disk: a folder must lie at the same place on every
node, a model of the hub comes from its cache. Before anything is loaded, the node's copy must prove
to be the one that the run is about.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from ko_eval.engines.base import Engine
from ko_eval.engines.encoding import Encoder, load_tokenizer
from ko_eval.engines.model_folder import ModelFolder, content_fingerprint, resolve_model
from ko_eval.engines.model_settings import ModelSettings
from ko_eval.engines.vllm_options import EngineName
from ko_eval.errors import ModelError
from ko_eval.runs.engine_loading import load_engine
from ko_eval.runs.plan import RunOptions, RunPlan


@dataclass(frozen=True, slots=True)
class Recipe:
    """A plan without its requests, its tokenizer and what else does not travel.

    Attributes:
        options: paths in it are absolute.
        revision: the hub commit; None for a folder.
        model_hash, adapter_hash: content fingerprints; the second is None without an adapter.
    """

    options: RunOptions
    engine: EngineName
    settings: ModelSettings
    max_length: int
    revision: str | None
    model_hash: str
    adapter_hash: str | None

    @classmethod
    def of(cls, plan: RunPlan) -> Recipe:
        """The recipe of a plan."""
        options = plan.options
        model, adapter = options.model, options.load.adapter
        if plan.folder.revision is None:
            model = str(plan.folder.path)
        if adapter is not None:
            adapter = str(Path(adapter).resolve())
        vllm = options.vllm
        if vllm.tensor_parallel * vllm.pipeline_parallel > 1:
            # The GPUs of a replica lie on its node, so vLLM needs no Ray of its own.
            here = {"distributed_executor_backend": "mp", **vllm.engine_args}
            vllm = replace(vllm, engine_args=here)
        options = replace(
            options, model=model, load=replace(options.load, adapter=adapter), vllm=vllm
        )
        return cls(
            options=options,
            engine=plan.engine,
            settings=plan.settings,
            max_length=plan.encoder.max_length,
            revision=plan.folder.revision,
            model_hash=str(plan.layers["model"]),
            adapter_hash=str(plan.layers["adapter"]) if adapter is not None else None,
        )

    def engine_here(self) -> Engine:
        """Loads the model from this node's disk.

        Raises:
            ModelError: it is not here, is another one, or cannot be loaded.
        """
        folder = self._folder()
        load = self.options.load
        tokenizer = load_tokenizer(folder, trust_remote_code=load.trust_remote_code)
        encoder = Encoder(
            tokenizer,
            self.settings,
            chat_template=self.options.chat_template,
            max_length=self.max_length,
            seed=self.options.seed,
        )
        return load_engine(
            RunPlan(
                options=self.options,
                suite=None,
                tasks=(),
                model=folder,
                settings=self.settings,
                encoder=encoder,
                engine=self.engine,
                layers={},
                fingerprint="",
            )
        )

    def _folder(self) -> ModelFolder:
        options = self.options
        is_path = self.revision is None
        for path in (options.model if is_path else None, options.load.adapter):
            if path is not None and not Path(path).is_dir():
                raise ModelError(
                    f"the folder '{path}' is not on this node",
                    hint="copy it to the same place on every node, or use a shared file system",
                )
        folder = resolve_model(
            options.model,
            revision=self.revision,
            trust_remote_code=options.load.trust_remote_code,
            allow_pickle=options.load.allow_pickle,
        )
        _check_same(folder.path, self.model_hash)
        if options.load.adapter is not None and self.adapter_hash is not None:
            _check_same(Path(options.load.adapter), self.adapter_hash)
        return folder


def _check_same(path: Path, wanted: str) -> None:
    if content_fingerprint(path) != wanted:
        raise ModelError(
            "this node's copy differs from the one that the run was begun with",
            where=str(path),
            hint="copy the same configuration, tokenizer and weights to every node",
        )
