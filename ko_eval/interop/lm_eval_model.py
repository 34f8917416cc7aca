"""Our engines as the model `ko-eval` of lm-evaluation-harness: any of its tasks, at our speed.

The harness decides what is asked and in which tokens: texts are encoded, cut and windowed as by its
own `hf` model (`lm_eval/models/huggingface.py` of version 0.4.13), so that both give the same
numbers. Only the computing is ours. What an engine cannot do is an error, never left out.
"""

from __future__ import annotations

import inspect
import logging
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import jinja2
import torch
from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import register_model
from lm_eval.models.utils import postprocess_generated_text
from lm_eval.utils import (
    get_rolling_token_windows,
    make_disjoint_window,
    simple_parse_args_string,
)
from tqdm import tqdm

import ko_eval
from ko_eval.engines.base import EncodedGenerate, EncodedLoglikelihood, EncodedPair
from ko_eval.engines.transformers_loading import LoadOptions
from ko_eval.engines.vllm_options import VllmOptions
from ko_eval.errors import ModelError, UsageError, near_miss
from ko_eval.interop.lm_eval_engine import EngineOptions, load
from ko_eval.interop.lm_eval_requests import (
    encoded_generate,
    encoded_loglikelihood,
    fitted,
    one_context_each,
    read_generation,
)
from ko_eval.interop.lm_eval_tokens import HarnessTokens
from ko_eval.types import (
    FailedResponse,
    GenerateResponse,
    JsonValue,
    LoglikelihoodResponse,
    Response,
)

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

_LOG = logging.getLogger(__name__)
# Arguments of the harness's own models that have another name here, one that does not look alike.
_OTHER_NAMES = {"gpu_memory_utilization": "memory_share=…", "parallelize": "device_map=auto"}


@register_model("ko-eval")
class KoEvalLM(TemplateLM):  # type: ignore[misc]
    """The arguments are those of `--model_args`.

    Args:
        pretrained: a model folder or a Hugging Face id.
        engine: `transformers` or `vllm`.
        dtype: `auto`, `float32`, `bfloat16` or `float16`.
        device: `cpu`, `cuda`, `cuda:N`; None picks.
        device_map: `auto`, `balanced`, … spread a model over all devices (transformers engine).
        revision: commit, tag or branch on the hub.
        peft: folder of a LoRA adapter.
        max_length: window in tokens; None takes the model's own.
        likelihood: `auto`, or `plain` to feed every continuation in a row of its own.
        greedy: what becomes of the harness's `is_greedy` where an engine does not tell it (vLLM's
            fastest way does not, of continuations of several tokens): `required` is an error,
            `optional` reports False.
        batch_tokens: most tokens of a batch; None picks.
        tensor_parallel, pipeline_parallel, memory_share, quantization: for vLLM.
        batch_size, max_batch_size: accepted and ignored: our batches are counted in tokens.
        add_bos_token: whether texts begin with BOS; None leaves it to the tokenizer.
        prefix_token_id: what stands before a text without context; None takes BOS, else EOS.
        think_end_token: text that ends a thought; the answer is what follows the last one.
        enable_thinking, chat_template_args: for the chat template.
        trust_remote_code, allow_pickle: accept a model's own code, or weights in pickle files.
        seed: base of the sampling seeds.
    """

    def __init__(
        self,
        pretrained: str,
        *,
        engine: str = "transformers",
        dtype: str = "auto",
        device: str | None = None,
        device_map: str | None = None,
        revision: str | None = None,
        peft: str | None = None,
        max_length: int | None = None,
        likelihood: str = "auto",
        greedy: str = "required",
        batch_tokens: int | None = None,
        batch_size: int | str | None = None,
        max_batch_size: int | None = None,
        add_bos_token: bool | None = None,
        prefix_token_id: int | None = None,
        think_end_token: str | None = None,
        enable_thinking: bool | None = None,
        chat_template_args: Mapping[str, JsonValue] | None = None,
        trust_remote_code: bool = False,
        allow_pickle: bool = False,
        tensor_parallel: int = 1,
        pipeline_parallel: int = 1,
        memory_share: float | None = None,
        quantization: str | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if enable_thinking and think_end_token is None:
            raise UsageError(
                "enable_thinking=True needs think_end_token, the text that ends a thought"
            )
        if greedy not in ("required", "optional"):
            raise UsageError(f"greedy={greedy} is neither 'required' nor 'optional'")
        options = EngineOptions(
            engine=engine,
            likelihood=likelihood,
            load=LoadOptions(
                dtype=str(dtype),
                device=device or "auto",
                device_map=device_map,
                adapter=peft,
                trust_remote_code=trust_remote_code,
                allow_pickle=allow_pickle,
            ),
            vllm=VllmOptions(
                tensor_parallel=tensor_parallel,
                pipeline_parallel=pipeline_parallel,
                memory_share=memory_share,
                quantization=quantization,
            ),
            batch_tokens=batch_tokens,
            max_length=max_length,
        )
        loaded = load(str(pretrained), revision, options, add_bos_token=add_bos_token)
        self.engine = loaded.engine
        self.tokenizer = loaded.tokenizer
        self.max_length = loaded.max_length
        self.revision = loaded.revision
        self.greedy = greedy
        self.enable_thinking = enable_thinking
        self.think_end_token = think_end_token
        self.chat_template_args = dict(chat_template_args or {})
        if enable_thinking is not None:
            self.chat_template_args["enable_thinking"] = enable_thinking
        self.seed = seed
        self.tokens = HarnessTokens(self.tokenizer, add_bos_token, prefix_token_id)
        self._warnings_told = 0

    @classmethod
    def create_from_arg_obj(
        cls, arg_dict: Mapping[str, Any], additional_config: Mapping[str, Any] | None = None
    ) -> Self:
        """As the harness makes a model; what stands in `--model_args` goes first.

        Where nobody says otherwise, its command line asks for cuda:0; like the `hf` model, ours
        takes the CPU then if there is no such device. vLLM always takes the first GPU, and cannot
        be told to.

        Raises:
            UsageError: an argument is unknown, or there is no model among them.
        """
        _check_names(arg_dict, inspect.signature(cls).parameters)
        given = additional_config or {}
        others = {name: value for name, value in given.items() if value is not None}
        device = str(others.get("device"))
        first_gpu_of_vllm = device == "cuda:0" and arg_dict.get("engine") == "vllm"
        if first_gpu_of_vllm or (device.startswith("cuda") and not torch.cuda.is_available()):
            del others["device"]
        return cls(**{**others, **arg_dict})

    @classmethod
    def create_from_arg_string(
        cls, arg_string: str, additional_config: Mapping[str, Any] | None = None
    ) -> Self:
        return cls.create_from_arg_obj(simple_parse_args_string(arg_string), additional_config)

    @property
    def eot_token_id(self) -> int:
        return int(self.tokenizer.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        return self.tokens.prefix_token_id

    @property
    def tokenizer_name(self) -> str:
        return str(self.tokenizer.name_or_path).replace("/", "__")

    def get_model_info(self) -> dict[str, JsonValue]:
        """What the harness records of the model, in the `config` of its results."""
        conditions = self.engine.capabilities.conditions
        return {
            "model_num_parameters": conditions.get("parameters"),
            "model_dtype": conditions.get("dtype"),
            "model_revision": self.revision,
            "ko_eval_version": ko_eval.__version__,
            "ko_eval_conditions": conditions,
            "ko_eval_warnings": list(self.engine.warnings),
        }

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """The turns as the model's template writes them.

        A template that refuses the system turn is given the others, as by the `hf` model.
        """
        try:
            return self._templated(chat_history, add_generation_prompt)
        except jinja2.TemplateError:
            others = [turn for turn in chat_history if turn["role"] != "system"]
            if len(others) == len(chat_history):
                raise
            _LOG.warning("the chat template refuses the system turn, which is left out")
            return self._templated(others, add_generation_prompt)

    def _templated(self, turns: list[dict[str, str]], add_generation_prompt: bool) -> str:
        return str(
            self.tokenizer.apply_chat_template(
                turns,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                continue_final_message=not add_generation_prompt,
                **self.chat_template_args,
            )
        )

    def tok_encode(
        self, string: str, add_special_tokens: bool | None = None, **kwargs: object
    ) -> list[int]:
        return list(self.tokens.encode(string, add_special_tokens))

    def loglikelihood(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[tuple[float, bool]]:
        """Of each continuation: its log-likelihood, and whether greedy search would give it."""
        if self.enable_thinking:
            raise UsageError("enable_thinking=True goes with tasks that generate only")
        texts = [(str(context), str(after)) for context, after in (r.args for r in requests)]
        pairs = self.tokens.pairs(texts)
        return self._loglikelihood_tokens(
            [(text, p.context, p.continuation) for text, p in zip(texts, pairs, strict=True)],
            disable_tqdm=disable_tqdm,
        )

    def loglikelihood_rolling(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[float]:
        """Of each text: its whole log-likelihood, window by window."""
        texts = [str(request.args[0]) for request in requests]
        places, windows = [], []
        for place, ids in enumerate(self.tokens.texts(texts)):
            for window in get_rolling_token_windows(
                list(ids), self.prefix_token_id, self.max_length, context_len=1
            ):
                places.append(place)
                windows.append((None, *make_disjoint_window(window)))
        sums = [0.0] * len(texts)
        scored = self._loglikelihood_tokens(windows, disable_tqdm=disable_tqdm)
        for place, (value, _) in zip(places, scored, strict=True):
            sums[place] += value
        for text, value in zip(texts, sums, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", (text,), value)
        return sums

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Of each prompt: what the model writes behind it, up to the first text of `until`."""
        prompts = [str(request.args[0]) for request in requests]
        end = str(self.tokenizer.decode([self.eot_token_id], skip_special_tokens=False))
        settings = [read_generation(request.args[1], end) for request in requests]
        asked: Counter[str] = Counter()
        places: defaultdict[str, list[int]] = defaultdict(list)
        encoded: dict[str, EncodedGenerate] = {}
        for place, ids in enumerate(self.tokens.prompts(prompts)):
            request = encoded_generate(ids, settings[place], self.max_length, self.seed, asked)
            places[request.key].append(place)
            encoded[request.key] = request
        texts = [""] * len(requests)
        bar = tqdm(
            total=len(requests), disable=disable_tqdm, desc="Running generate_until requests"
        )
        for answer in self.engine.generate(list(encoded.values())):
            text = _generated(answer.response)
            for place in places[answer.key]:
                texts[place] = postprocess_generated_text(
                    text, list(settings[place].until), self.think_end_token
                )
                self.cache_hook.add_partial("generate_until", requests[place].args, texts[place])
                bar.update(1)
        bar.close()
        self._tell(sum(request.truncated_tokens > 0 for request in encoded.values()))
        return texts

    def _loglikelihood_tokens(
        self,
        requests: Sequence[tuple[tuple[str, str] | None, Sequence[int], Sequence[int]]],
        disable_tqdm: bool = False,
        **kwargs: object,
    ) -> list[tuple[float, bool]]:
        given = [EncodedPair(tuple(context), tuple(after)) for _, context, after in requests]
        pairs = [
            fitted(pair, self.max_length, texts)
            for pair, (texts, _, _) in zip(given, requests, strict=True)
        ]
        places: defaultdict[str, list[range]] = defaultdict(list)
        encoded: dict[str, EncodedLoglikelihood] = {}
        for part in one_context_each(pairs):
            request = encoded_loglikelihood(pairs[part.start : part.stop])
            places[request.key].append(part)
            encoded[request.key] = request
        found: dict[int, tuple[float, bool]] = {}
        bar = tqdm(total=len(pairs), disable=disable_tqdm, desc="Running loglikelihood requests")
        for answer in self.engine.loglikelihood(list(encoded.values())):
            values = self._scored(answer.response)
            for part in places[answer.key]:
                for place, value in zip(part, values, strict=True):
                    found[place] = value
                    if (texts := requests[place][0]) is not None:
                        self.cache_hook.add_partial("loglikelihood", texts, value)
                bar.update(len(part))
        bar.close()
        self._tell(sum(pair != whole for pair, whole in zip(pairs, given, strict=True)))
        return [found[place] for place in range(len(pairs))]

    def _scored(self, response: Response) -> list[tuple[float, bool]]:
        if not isinstance(response, LoglikelihoodResponse):
            raise _failed(response)
        greedy = response.greedy
        if not greedy and self.greedy == "required":
            raise ModelError(
                "the engine does not tell whether greedy search would give a continuation",
                hint="give likelihood=plain in --model_args, or greedy=optional for tasks whose "
                "metrics do not read it, such as acc and acc_norm of choices",
            )
        return list(
            zip(
                response.loglikelihoods,
                greedy or [False] * len(response.loglikelihoods),
                strict=True,
            )
        )

    def _tell(self, cut: int) -> None:
        """Says what the user should know about the answers so far."""
        if cut:
            _LOG.warning(
                "%d prompts were cut on the left to the window of %d tokens", cut, self.max_length
            )
        for warning in self.engine.warnings[self._warnings_told :]:
            _LOG.warning(warning)
        self._warnings_told = len(self.engine.warnings)


def _check_names(given: Collection[str], known: Collection[str]) -> None:
    for name in given:
        if name not in known:
            other = _OTHER_NAMES.get(name)
            raise UsageError(
                f"the model 'ko-eval' has no argument '{name}'",
                hint=f"write {other}" if other else near_miss(name, known),
            )
    if "pretrained" not in given:
        raise UsageError(
            "there is no model to evaluate",
            hint="give pretrained=… in --model_args: a model folder or a Hugging Face id",
        )


def _generated(response: Response) -> str:
    if not isinstance(response, GenerateResponse):
        raise _failed(response)
    return response.text


def _failed(response: Response) -> ModelError:
    """lm-eval has no place for a request without an answer, so the run ends."""
    reason = response.reason if isinstance(response, FailedResponse) else "another kind of answer"
    return ModelError(f"a request has no answer: {reason}")
