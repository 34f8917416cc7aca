"""Every word of the pages in English and Korean; both stand in the page, and a button switches.

A text may hold `{places}`. Names of tasks, models and metrics are data and stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from markupsafe import Markup, escape

from ko_eval.safe_text import visible


class Word(NamedTuple):
    """One word or sentence of the interface."""

    en: str
    ko: str


def pair(word: Word, **values: object) -> Markup:
    """Both languages as HTML, one of which the page shows; values are escaped and made visible."""
    safe = {name: escape(visible(str(value))) for name, value in values.items()}

    def spoken(language: str, text: str) -> str:
        filled = escape(text).format(**safe) if values else escape(text)
        return f'<span class="w" lang="{language}">{filled}</span>'

    return Markup(spoken("en", word.en) + spoken("ko", word.ko))


FRAME: Mapping[str, Word] = {
    "skip": Word("Skip to content", "본문으로 건너뛰기"),
    "nav": Word("Sections", "차례"),
    "other_language": Word("한국어", "English"),
    "switch_language": Word("한국어로 보기", "View in English"),
    "switch_theme": Word("Switch between light and dark", "밝은 화면과 어두운 화면 바꾸기"),
    "made_with": Word("Made with ko-eval {version}.", "ko-eval {version}(으)로 만들었습니다."),
    "needs_scripts": Word(
        "This part needs JavaScript, which is switched off.",
        "이 부분을 보려면 자바스크립트를 켜야 합니다.",
    ),
}

TERMS: Mapping[str, Word] = {
    "task": Word("Task", "과제"),
    "metric": Word("Metric", "지표"),
    "score": Word("Score", "점수"),
    "interval": Word("95% interval", "95% 신뢰구간"),
    "n": Word("n", "문항 수"),
    "average": Word("Average", "평균"),
    "model": Word("Model", "모델"),
    "data": Word("Data", "데이터"),
    "bundled": Word("bundled", "자체 문항"),
    "hub": Word("hub", "공개 데이터"),
    "private": Word("private", "비공개 데이터"),
    "published": Word("published, not reproduced", "발표된 값(재현하지 않음)"),
    "bundled_note": Word(
        "Bundled data: original items written for ko-eval. These scores are not comparable with "
        "the leaderboard, whose test sets are private.",
        "자체 문항: ko-eval을 위해 새로 쓴 문항입니다. 리더보드의 시험 문항은 공개되지 않았으므로 "
        "이 점수를 리더보드 점수와 비교할 수 없습니다.",
    ),
    "hub_note": Word(
        "Hub data: public equivalents. These scores are not comparable with the leaderboard, whose "
        "test sets are private.",
        "공개 데이터: 리더보드의 시험 문항을 대신하는 공개 데이터입니다. 리더보드의 시험 문항은 "
        "공개되지 않았으므로 이 점수를 리더보드 점수와 비교할 수 없습니다.",
    ),
    "outcomes": Word("Outcomes", "응답 결과"),
    "ok": Word("answered", "정상 응답"),
    "no_answer": Word("no answer found", "답을 찾지 못함"),
    "truncated": Word("cut off", "잘림"),
    "wrong_language": Word("wrong language", "다른 언어"),
    "failed": Word("failed", "실패"),
    "format_loss": Word("Format loss", "형식 손실"),
    "category": Word("Category", "영역"),
    "knowledge": Word("knowledge", "지식"),
    "reasoning": Word("reasoning", "추론"),
    "mathematics": Word("mathematics", "수학"),
    "instruction": Word("instruction following", "지시 이행"),
    "emotion": Word("emotion", "감정"),
    "values": Word("values", "가치"),
    "safety": Word("safety", "안전"),
}

WORDS: Mapping[str, Word] = {**FRAME, **TERMS}
