"""Speech levels of sentences and texts; the sentences are a table in `gallery`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bounded_time import read_in_bounded_time

from ko_eval.korean.endings import SpeechLevel, ending_level, is_unmistakable, last_word
from ko_eval.korean.register import sentence_register, text_register

GALLERY = Path(__file__).parent / "gallery" / "speech_levels.jsonl"
SENTENCES = [json.loads(line) for line in GALLERY.read_text(encoding="utf-8").splitlines()]

FORMAL, POLITE = SpeechLevel.FORMAL, SpeechLevel.POLITE
INFORMAL, PLAIN, FRAGMENT = SpeechLevel.INFORMAL, SpeechLevel.PLAIN, SpeechLevel.FRAGMENT


@pytest.mark.parametrize("row", SENTENCES, ids=[row["sentence"] for row in SENTENCES])
def test_a_sentence_has_the_level_of_its_ending(row: dict[str, str]) -> None:
    assert sentence_register(row["sentence"]) is SpeechLevel(row["level"])


def test_the_table_holds_many_sentences_of_every_level() -> None:
    counts = [sum(row["level"] == level for row in SENTENCES) for level in SpeechLevel]
    assert len(SENTENCES) >= 160
    assert min(counts) >= 15
    assert len({row["sentence"] for row in SENTENCES}) == len(SENTENCES)


@pytest.mark.parametrize(
    ("word", "level"),
    [
        *(("필요", None), ("필요해요", POLITE), ("바다", None), ("바다다", PLAIN)),
        *(("동네", None), ("좋네", INFORMAL), ("네", POLITE), ("네요", POLITE)),
        *(("의자", None), ("가자", INFORMAL), ("참가자", None), ("편지", None), ("했지", INFORMAL)),
        *(("노래", None), ("할래", INFORMAL), ("분야", None), ("학생이야", INFORMAL)),
        *(("하니까", None), ("갑니까", FORMAL), ("접시다", PLAIN), ("갑시다", FORMAL), ("", None)),
    ],
)
def test_look_alikes_are_told_apart(word: str, level: SpeechLevel | None) -> None:
    assert ending_level(word) is level


@pytest.mark.parametrize("word", ["왔습니다", "했어요", "가세요", "좋네요", "갈게요", "이에요"])
def test_some_words_can_only_end_a_sentence(word: str) -> None:
    assert is_unmistakable(word)


@pytest.mark.parametrize("word", ["갔는데요", "한다고요", "필요", "가요", "왔다", "했어", "요"])
def test_others_may_stand_within_one(word: str) -> None:
    assert not is_unmistakable(word)


def test_marks_emoji_and_laughter_behind_the_last_word_do_not_count() -> None:
    assert last_word("집에 갔어요~!! ㅋㅋ 😊") == "갔어요"
    assert last_word("...") == ""


TEXTS = [
    ("both kinds of 존댓말", "안녕하세요. 반갑습니다.", {POLITE: 1, FORMAL: 1}),
    ("반말", "배고파. 뭐 먹을까?", {INFORMAL: 2}),
    ("a heading", "# 지금 간다\n오늘 출발해요.", {POLITE: 1}),
    ("a title", "<<봄이 온다>>\n꽃이 피었어요.", {POLITE: 1}),
    ("a line that announces", "순서는 이렇다:\n물부터 끓이세요.", {POLITE: 1}),
    ("a table", "| 이름 | 뜻이다 |\n설명할게요.", {POLITE: 1}),
    ("list items", "이렇게 하세요.\n- 물을 끓인다.\n1. 면을 넣는다.", {POLITE: 1}),
    ("an answer in front", "네. 가자!", {POLITE: 1, INFORMAL: 1}),
    ("only list items", "- 물을 끓인다.\n- 면을 넣는다.", {PLAIN: 2}),
    ("a quotation", "그는 “빨리 가자!” 하고 말했습니다.", {FORMAL: 1}),
    ("only a quotation", "'이제 좀 쉬세요.'", {POLITE: 1}),
    ("a quoted line", "> 이제 가자.\n그렇게 말했어요.", {POLITE: 1}),
    ("code", "실행해 보세요.\n```\nprint('했다')\n```", {POLITE: 1}),
    ("a fragment", "감사 인사\n\n고맙습니다.", {FORMAL: 1}),
    ("no sentence", "사과, 배, 포도", {FRAGMENT: 1}),
    ("nothing", "", {}),
]


@pytest.mark.parametrize(("name", "text", "counts"), TEXTS, ids=[name for name, *_ in TEXTS])
def test_a_text_counts_its_own_sentences(
    name: str, text: str, counts: dict[SpeechLevel, int]
) -> None:
    assert text_register(text).counts == counts


def test_the_share_of_honorific_sentences_leaves_fragments_out() -> None:
    register = text_register("제목\n\n안녕하세요. 나는 학생이야. 잘 부탁합니다.")
    assert register.levelled == 3
    assert register.honorific_share == pytest.approx(2 / 3)
    assert text_register("사과").honorific_share is None


@pytest.mark.parametrize("unit", ["습니다 ", "(", "- ", "요", "'", "“", "다.\n", "> ", "했어요 "])
def test_hostile_text_takes_bounded_time(unit: str) -> None:
    def read(text: str) -> None:
        text_register(text)
        sentence_register(text)

    assert read_in_bounded_time(read, lambda size: unit * (size // len(unit)), seconds=3)
