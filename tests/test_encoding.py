"""What a model is shown: borders, special tokens, windows, chat templates."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ko_eval.engines.base import EncodedGenerate, EncodedLoglikelihood, EncodedPair
from ko_eval.engines.encoding import ChatTemplate, Encoder, likelihood_key, load_tokenizer
from ko_eval.engines.model_folder import resolve_model
from ko_eval.engines.model_settings import ModelSettings, Reasoning
from ko_eval.errors import DataError, ModelError
from ko_eval.types import ContextContinuation, GenerateRequest, LoglikelihoodRequest, Message


def encoder(
    model: Path,
    chat_template: ChatTemplate = "auto",
    max_length: int = 512,
    settings: ModelSettings | None = None,
) -> Encoder:
    tokenizer = load_tokenizer(resolve_model(str(model)))
    return Encoder(
        tokenizer, settings or ModelSettings(), chat_template=chat_template, max_length=max_length
    )


def scored(context: str, *continuations: str) -> LoglikelihoodRequest:
    return LoglikelihoodRequest(
        task="t",
        sample_id="s",
        pairs=tuple(ContextContinuation(context, text) for text in continuations),
        messages=tuple((Message("user", context),) for _ in continuations),
    )


def asked(prompt: str, max_tokens: int = 32, stop: tuple[str, ...] = ()) -> GenerateRequest:
    return GenerateRequest("t", "s", prompt, (Message("user", prompt),), stop, max_tokens)


def likelihood(e: Encoder, request: LoglikelihoodRequest) -> EncodedLoglikelihood:
    encoded = e.encode([request])[0]
    assert isinstance(encoded, EncodedLoglikelihood)
    return encoded


def generation(e: Encoder, request: GenerateRequest) -> EncodedGenerate:
    encoded = e.encode([request])[0]
    assert isinstance(encoded, EncodedGenerate)
    return encoded


def test_context_and_continuation_are_encoded_as_one_text(tiny: Path) -> None:
    e = encoder(tiny)
    pair = likelihood(e, scored("질문: 하늘은 무슨 색인가?\n답:", " 파란색이다.")).pairs[0]
    whole = e.tokenizer("질문: 하늘은 무슨 색인가?\n답: 파란색이다.", add_special_tokens=False)
    assert list(pair.context + pair.continuation) == whole["input_ids"]
    context = e.tokenizer("질문: 하늘은 무슨 색인가?\n답:", add_special_tokens=False)["input_ids"]
    assert len(pair.context) == len(context)


def test_spaces_at_the_end_of_a_context_belong_to_the_continuation(tiny: Path) -> None:
    e = encoder(tiny)
    moved = likelihood(e, scored("답:  ", "예")).pairs[0]
    plain = likelihood(e, scored("답:", "  예")).pairs[0]
    assert moved == plain


@pytest.mark.parametrize("context", ["", " ", "\n"])
def test_an_empty_context_is_one_start_token(tiny: Path, context: str) -> None:
    e = encoder(tiny)
    pair = likelihood(e, scored(context, "파란색")).pairs[0]
    assert pair.context == (e.tokenizer.bos_token_id,)


def test_a_token_across_the_border_leaves_something_to_score(tiny: Path) -> None:
    e = encoder(tiny)
    for context in ("니", "습니", "하였습니"):
        pair = likelihood(e, scored(context, "다")).pairs[0]
        assert pair.context
        assert pair.continuation


def test_bos_stands_once_in_front(tiny_bos: Path) -> None:
    e = encoder(tiny_bos)
    bos = e.tokenizer.bos_token_id
    pair = likelihood(e, scored("답:", " 예")).pairs[0]
    assert (pair.context + pair.continuation).count(bos) == 1
    assert pair.context[0] == bos
    assert generation(e, asked("질문:")).prompt.count(bos) == 1


def test_a_context_gets_its_prefix_once_for_all_its_choices(
    tiny_bos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    e = encoder(tiny_bos)
    seen: list[tuple[int, ...]] = []
    with_prefix = Encoder._with_prefix

    def counted(self: Encoder, ids: tuple[int, ...]) -> tuple[int, ...]:
        seen.append(ids)
        return with_prefix(self, ids)

    monkeypatch.setattr(Encoder, "_with_prefix", counted)
    for choices in ([" 예", " 아니요", " 몰라"], ["\n예", "\n아니요", "\n몰라"]):
        seen.clear()
        pairs = likelihood(e, scored("질문: 오늘은 맑은가? 답:", *choices)).pairs
        assert len(seen) == 1
        assert pairs[0].context is pairs[1].context is pairs[2].context


def test_a_tokenizer_without_bos_gets_none(tiny: Path) -> None:
    e = encoder(tiny)
    assert e.prefix == ()
    assert e.tokenizer.bos_token_id not in generation(e, asked("질문:")).prompt


def test_a_long_context_is_cut_on_the_left_and_counted(tiny: Path) -> None:
    e = encoder(tiny, max_length=40)
    encoded = likelihood(e, scored("긴 문맥 " * 50 + "끝.", " 예"))
    pair = encoded.pairs[0]
    # The last token is scored but never fed, so one more than the window fits.
    assert len(pair.context) + len(pair.continuation) == 41
    assert encoded.truncated_tokens > 0
    assert e.tokenizer.decode(pair.context).endswith("끝.")


def test_a_scored_text_longer_than_the_window_is_an_error(tiny: Path) -> None:
    with pytest.raises(DataError, match="window is 16"):
        encoder(tiny, max_length=16).encode([scored("답:", " 아주 긴 선택지 " * 30)])


def test_room_for_the_answer_is_kept_when_a_prompt_is_cut(tiny: Path) -> None:
    encoded = generation(encoder(tiny, max_length=64), asked("긴 질문 " * 100, max_tokens=20))
    assert len(encoded.prompt) == 44
    assert encoded.truncated_tokens > 0


def test_asking_more_tokens_than_the_window_is_an_error(tiny: Path) -> None:
    with pytest.raises(DataError, match="asks for 600 new tokens"):
        encoder(tiny).encode([asked("질문", max_tokens=600)])


def test_auto_uses_the_template_for_generation_only(tiny_chat: Path) -> None:
    e = encoder(tiny_chat)
    shown = e.tokenizer.decode(generation(e, asked("안녕?")).prompt)
    assert shown == "<|user|>\n안녕?</s>\n<|assistant|>\n"
    pair = likelihood(e, scored("안녕?", " 네")).pairs[0]
    assert e.tokenizer.decode(pair.context) == "안녕?"


def test_on_uses_the_template_for_likelihoods_without_the_joining_space(tiny_chat: Path) -> None:
    e = encoder(tiny_chat, "on")
    pair = likelihood(e, scored("안녕?", " 네")).pairs[0]
    text = e.tokenizer.decode(pair.context + pair.continuation)
    assert text == "<|user|>\n안녕?</s>\n<|assistant|>\n네"


def test_off_never_uses_it(tiny_chat: Path) -> None:
    e = encoder(tiny_chat, "off")
    assert e.tokenizer.decode(generation(e, asked("안녕?")).prompt) == "안녕?"


def test_on_without_a_template_is_an_error(tiny: Path) -> None:
    with pytest.raises(ModelError, match="no chat template"):
        encoder(tiny, "on")


def test_equal_requests_have_equal_keys_and_others_do_not(tiny: Path) -> None:
    e = encoder(tiny)
    keys = [r.key for r in e.encode([asked("가"), asked("가"), asked("나"), asked("가", 31)])]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3


def test_a_thought_has_a_budget_but_gives_way_in_a_small_window(tiny_chat: Path) -> None:
    thinking = ModelSettings(reasoning=Reasoning(enabled=True, max_tokens=100))
    roomy = generation(encoder(tiny_chat, settings=thinking), asked("질문", max_tokens=32))
    assert roomy.thinking_tokens == 100
    narrow = encoder(tiny_chat, max_length=64, settings=thinking)
    encoded = generation(narrow, asked("질문", max_tokens=32))
    assert encoded.truncated_tokens == 0
    assert len(encoded.prompt) + 32 + encoded.thinking_tokens == 64


def test_without_a_template_nobody_is_told_to_think(tiny: Path) -> None:
    thinking = ModelSettings(reasoning=Reasoning(enabled=True, max_tokens=100))
    assert generation(encoder(tiny, settings=thinking), asked("질문")).thinking_tokens == 0


def test_a_template_without_bos_gets_the_tokenizers(tmp_path: Path) -> None:
    from tiny_model import make_tiny_llama

    plain = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    own = "{{ bos_token }}" + plain
    for name, template in (("plain", plain), ("own", own)):
        model = make_tiny_llama(tmp_path / name, chat_template=template, add_bos=True)
        e = encoder(model, "on")
        bos = e.tokenizer.bos_token_id
        prompt = generation(e, asked("안녕?")).prompt
        assert (prompt[0], prompt.count(bos)) == (bos, 1)
        pair = likelihood(e, scored("안녕?", " 네")).pairs[0]
        assert (pair.context[0], pair.context.count(bos)) == (bos, 1)


def test_a_template_that_asks_for_the_date_gets_a_fixed_one(tmp_path: Path) -> None:
    from tiny_model import make_tiny_llama

    template = "{{ strftime_now('%d %B %Y') }} {{ messages[-1].content }}"
    model = make_tiny_llama(tmp_path / "dated", chat_template=template)
    e = encoder(model, "on")
    assert e.tokenizer.decode(generation(e, asked("안녕?")).prompt) == "26 July 2024 안녕?"


@functools.cache
def shared_encoder(model: Path) -> Encoder:
    return encoder(model)


def plain_pair(e: Encoder, context: str, continuation: str) -> EncodedPair:
    """Context and whole each through the tokenizer, split at the context's length (FACTS 3.1)."""
    kept = context.rstrip()
    head = e.tokenizer(kept, add_special_tokens=False)["input_ids"]
    whole = e.tokenizer(context + continuation, add_special_tokens=False)["input_ids"]
    border = min(len(head), len(whole) - 1)
    front = list(e.prefix) + head[:border]
    return EncodedPair(tuple(front or [e.tokenizer.bos_token_id]), tuple(whole[border:]))


KOREAN = st.lists(
    st.sampled_from(
        ["질문:", "하늘은 ", "니다", "\n", "\n\n", " ", "  ", "A", "3", ".", "'s", "하였습"]
    ),
    max_size=8,
).map("".join)


@settings(max_examples=300, deadline=None)
@given(contexts=st.lists(KOREAN, min_size=1, max_size=3), ends=st.lists(KOREAN, min_size=1))
def test_pairs_are_those_of_whole_texts_however_they_were_encoded(
    tiny: Path, tiny_bos: Path, contexts: list[str], ends: list[str]
) -> None:
    for e in (shared_encoder(tiny), shared_encoder(tiny_bos)):
        continuations = [end + "끝" for end in ends]
        requests = [scored(context, *continuations) for context in contexts]
        for request, encoded in zip(requests, e.encode(requests), strict=True):
            assert isinstance(encoded, EncodedLoglikelihood)
            assert list(encoded.pairs) == [
                plain_pair(e, pair.context, pair.continuation) for pair in request.pairs
            ]


def test_choices_share_their_context_in_memory(tiny_bos: Path) -> None:
    e = encoder(tiny_bos)
    one, two = e.encode([scored("질문:\n답:", " 예", " 아니요"), scored("질문:\n답:", " 모름")])
    assert isinstance(one, EncodedLoglikelihood)
    assert isinstance(two, EncodedLoglikelihood)
    assert one.pairs[0].context is one.pairs[1].context is two.pairs[0].context


def test_a_key_is_of_the_token_ids_and_of_the_border_between_them() -> None:
    def key(*pairs: tuple[tuple[int, ...], tuple[int, ...]]) -> str:
        return likelihood_key([EncodedPair(*pair) for pair in pairs])

    again = tuple(int(text) for text in ("1000", "2000"))
    assert key(((1000, 2000), (3,)), ((1000, 2000), (4,))) == key((again, (3,)), (again, (4,)))
    different = [
        key(((1, 2), (3,))),
        key(((1,), (2, 3))),
        key(((1, 2), (3,)), ((1, 2), (3,))),
        key(((1, 2), (3,)), ((1,), (3,))),
        key(((1, 2), (4,))),
    ]
    assert len(set(different)) == len(different)
