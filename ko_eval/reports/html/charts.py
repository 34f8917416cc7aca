"""Charts as SVG with text as text: pure functions from numbers to a string.

Bars, intervals and scatter plots have no view box: places are shares of the width, so that a chart
fills a phone or a desk while its text keeps its size. Colours are classes of `theme.css`, number
`0` to `7` by the index of the series. Every chart carries a name for screen readers, and callers
put the same numbers in a table beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from unicodedata import east_asian_width

from markupsafe import Markup, escape

from ko_eval.reports.html.words import Word
from ko_eval.safe_text import visible

Label = str | Word
"""A text that is data, or a word of the interface in both languages."""

COLOURS = 8
# Of a name beside a radar, in characters.
_LONGEST_LINE = 11
# What a phone has room for in one line, in columns (a Hangul syllable takes two): a name alone, and
# a name with the value behind it.
_LONGEST_NAME, _LONGEST_PAIR = 38, 40


@dataclass(frozen=True, slots=True)
class Mark:
    """A value with its interval.

    Attributes:
        text: how the value is written; empty shows none.
        series: whose value it is; picks the colour.
        name: what a pointer resting on it is told.
    """

    value: float
    low: float | None = None
    high: float | None = None
    text: Label = ""
    series: int = 0
    name: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A labelled row of marks, one under the other."""

    label: Label
    marks: Sequence[Mark]


@dataclass(frozen=True, slots=True)
class Point:
    """A point of a scatter plot.

    Attributes:
        label: shown beside it; empty shows none.
        name: what a pointer resting on it is told.
        frontier: whether the line of the best goes through it.
    """

    x: float
    y: float
    label: str = ""
    series: int = 0
    name: str = ""
    frontier: bool = False


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis of a scatter plot: its name, and whether distances are ratios."""

    label: Label
    logarithmic: bool = False
    unit: str = ""


def bars(rows: Sequence[Row], *, label: Label, low: float = 0.0, high: float = 100.0) -> Markup:
    """Horizontal bars from zero with whiskers, the row's label above them.

    Args:
        low, high: ends of the scale; widened where a mark lies outside.
    """
    low, high = _widened(rows, min(low, 0.0), high)
    scale = _scale(low, high)

    def bar(mark: Mark, top: float) -> str:
        start, end = sorted((scale(0.0), scale(mark.value)))
        return (
            f'<rect class="track" x="0" width="100%" y="{top:g}" height="10" rx="2"/>'
            f'<rect class="f{_series(mark)}" x="{start:.3f}%" width="{max(end - start, 0.3):.3f}%" '
            f'y="{top:g}" height="10" rx="2">{_title(mark)}</rect>' + _whisker(mark, scale, top + 5)
        )

    return _stacked(rows, bar, label)


def intervals(
    rows: Sequence[Row],
    *,
    label: Label,
    low: float = 0.0,
    high: float = 100.0,
    reference: float | None = None,
) -> Markup:
    """Dots with their intervals as lines, the row's label above them.

    Args:
        reference: a value to be marked in every row, such as zero.
    """
    low, high = _widened(rows, low, high)
    scale = _scale(low, high)

    def dot(mark: Mark, top: float) -> str:
        y = top + 5
        line = ""
        if reference is not None:
            at = f"{scale(reference):.3f}%"
            line = f'<line class="axis" x1="{at}" x2="{at}" y1="{y - 6:g}" y2="{y + 6:g}"/>'
        if mark.low is not None and mark.high is not None:
            line += (
                f'<line class="l{_series(mark)}" stroke-width="3" stroke-linecap="round" '
                f'x1="{scale(mark.low):.3f}%" x2="{scale(mark.high):.3f}%" y1="{y:g}" y2="{y:g}"/>'
            )
        return (
            f'<line class="rule" x1="0" x2="100%" y1="{y:g}" y2="{y:g}"/>{line}'
            f'<circle class="dot f{_series(mark)}" cx="{scale(mark.value):.3f}%" cy="{y:g}" r="5">'
            f"{_title(mark)}</circle>"
        )

    return _stacked(rows, dot, label)


def shares(
    rows: Sequence[tuple[Label, Sequence[tuple[str, float, str]]]], *, label: Label
) -> Markup:
    """Rows of segments that fill the width.

    Args:
        rows: label and segments: class of the segment, its size, its name.
    """
    parts = []
    for place, (name, segments) in enumerate(rows):
        top = place * 40
        parts.append(_name(name, top + 13))
        total = sum(size for _, size, _ in segments) or 1.0
        left = 0.0
        for kind, size, told in segments:
            if size > 0:
                width = 100 * size / total
                parts.append(
                    f'<rect class="{escape(kind)}" x="{left:.3f}%" width="{width:.3f}%" '
                    f'y="{top + 20}" height="10"><title>{_safe(told)}</title></rect>'
                )
                left += width
    return _svg("".join(parts), label, f'width="100%" height="{max(len(rows) * 40 - 6, 1)}"')


def radar(
    axes: Sequence[Label], series: Sequence[Sequence[float | None]], *, label: Label
) -> Markup:
    """A radar of shares in percent; what is below 0 stands at the centre.

    Args:
        axes: at least three, clockwise from the top.
        series: a value per axis each; None leaves the axis out of that outline.
    """
    width, height, radius = 420.0, 310.0, 115.0
    middle = (width / 2, height / 2)

    def place(axis: int, share: float) -> tuple[float, float]:
        angle = 2 * math.pi * axis / len(axes) - math.pi / 2
        return (
            middle[0] + radius * share * math.cos(angle),
            middle[1] + radius * share * math.sin(angle),
        )

    parts = []
    for ring in (0.25, 0.5, 0.75, 1.0):
        parts.append(_polygon("rule", [place(axis, ring) for axis in range(len(axes))]))
        x, y = place(0, ring)
        parts.append(f'<text class="soft" x="{x + 4:.1f}" y="{y + 10:.1f}">{ring * 100:g}</text>')
    for axis, name in enumerate(axes):
        x, y = place(axis, 1.0)
        parts.append(
            f'<line class="rule" x1="{middle[0]:g}" y1="{middle[1]:g}" x2="{x:.1f}" y2="{y:.1f}"/>'
        )
        parts.append(_corner(name, *place(axis, 1.1), middle[0]))
    for number, values in enumerate(series):
        found = [
            place(axis, min(max(value, 0.0), 100.0) / 100)
            for axis, value in enumerate(values)
            if value is not None
        ]
        colour = number % COLOURS
        parts.append(_polygon(f"area f{colour} l{colour}", found))
        parts.extend(
            f'<circle class="dot f{colour}" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>' for x, y in found
        )
    return _svg("".join(parts), label, f'viewBox="0 0 {width:g} {height:g}"', kind="chart radar")


def scatter(
    points: Sequence[Point], *, x: Axis, y: Axis, label: Label, height: int = 340
) -> Markup:
    """Points over two axes, a dashed line through those of the frontier from left to right.

    Stands in an element of class `plot`, whose padding makes room for the axes' labels.
    """
    along = _axis([point.x for point in points], x)
    upward = _axis([point.y for point in points], y)
    parts = []
    for value, text in upward.ticks:
        at = height * (1 - upward.share(value))
        parts.append(f'<line class="rule" x1="0" x2="100%" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(_text(text, 'class="soft" x="-8" text-anchor="end"', at + 4))
    for value, text in along.ticks:
        at = 100 * along.share(value)
        parts.append(
            f'<line class="rule" x1="{at:.3f}%" x2="{at:.3f}%" y1="0" y2="{height}"/>'
            + _text(text, f'class="soft" x="{at:.3f}%" text-anchor="middle"', height + 18)
        )
    parts.append(f'<line class="axis" x1="0" x2="100%" y1="{height}" y2="{height}"/>')
    parts.append(_text(x.label, 'x="50%" text-anchor="middle"', height + 40))
    parts.append(_text(y.label, 'x="-48"', -10))
    best = sorted((point for point in points if point.frontier), key=lambda point: point.x)
    for one, other in pairwise(best):
        parts.append(
            f'<line class="frontier" x1="{100 * along.share(one.x):.3f}%" '
            f'y1="{height * (1 - upward.share(one.y)):.1f}" '
            f'x2="{100 * along.share(other.x):.3f}%" '
            f'y2="{height * (1 - upward.share(other.y)):.1f}"/>'
        )
    for point in points:
        left, top = 100 * along.share(point.x), height * (1 - upward.share(point.y))
        title = f"<title>{_safe(point.name)}</title>" if point.name else ""
        parts.append(
            f'<circle class="dot f{point.series % COLOURS}" cx="{left:.3f}%" cy="{top:.1f}" '
            f'r="{6 if point.frontier else 5}">{title}</circle>'
        )
        if point.label:
            side = 'text-anchor="end" dx="-9"' if left > 70 else 'dx="9"'
            parts.append(_text(point.label, f'x="{left:.3f}%" {side}', top + 4))
    return _svg("".join(parts), label, f'width="100%" height="{height}"')


def _corner(label: Label, x: float, y: float, middle: float) -> str:
    """The name of a radar's axis, away from the middle, in two lines where it is long."""
    anchor = "middle" if abs(x - middle) < 12 else "start" if x > middle else "end"

    def lines(text: str) -> str:
        parts = _in_two(text)
        top = y + 4 - 7 * (len(parts) - 1)
        return f"<title>{_safe(text)}</title>" + "".join(
            f'<tspan x="{x:.1f}" y="{top + 14 * place:.1f}">{_safe(part)}</tspan>'
            for place, part in enumerate(parts)
        )

    attributes = f'text-anchor="{anchor}"'
    if isinstance(label, Word):
        return "".join(
            f"<text {_with_class(attributes, language)}>{lines(text)}</text>"
            for language, text in (("en", label.en), ("ko", label.ko))
        )
    return f"<text {attributes}>{lines(label)}</text>"


def _in_two(text: str) -> list[str]:
    """The text cut behind the hyphen or space next to its middle, and shortened where too long."""
    if len(text) <= _LONGEST_LINE:
        return [text]
    borders = [place + 1 for place, letter in enumerate(text) if letter in "- "]
    border = min(borders, key=lambda place: abs(place - len(text) / 2), default=_LONGEST_LINE)
    parts = (text[:border].rstrip(), text[border:])
    return [p if len(p) <= _LONGEST_LINE + 1 else p[:_LONGEST_LINE] + "…" for p in parts if p]


# --- scales ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Scaled:
    low: float
    high: float
    logarithmic: bool
    ticks: Sequence[tuple[float, str]]

    def share(self, value: float) -> float:
        """Where a value lies between the ends, from 0 to 1."""
        if self.logarithmic:
            value, low, high = (math.log10(v) for v in (max(value, self.low), self.low, self.high))
        else:
            low, high = self.low, self.high
        return (value - low) / (high - low)


def _axis(values: Sequence[float], axis: Axis) -> _Scaled:
    positive = [value for value in values if value > 0]
    if axis.logarithmic and positive:
        first = math.floor(math.log10(min(positive)) + 1e-9)
        last = max(math.ceil(math.log10(max(positive)) - 1e-9), first + 1)
        ticks = [10.0**power for power in range(first, last + 1)]
    else:
        low, high = (min(values), max(values)) if values else (0.0, 1.0)
        step = _step((high - low) or abs(high) or 1.0)
        start, end = math.floor(low / step), max(math.ceil(high / step), math.floor(low / step) + 1)
        ticks = [step * place for place in range(start, end + 1)]
    logarithmic = axis.logarithmic and bool(positive)
    return _Scaled(
        ticks[0], ticks[-1], logarithmic, [(tick, short(tick) + axis.unit) for tick in ticks]
    )


def _step(span: float) -> float:
    """A round step of which about five cover the span."""
    raw = span / 5
    power = 10.0 ** math.floor(math.log10(raw))
    return next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw * 0.999)


def short(value: float) -> str:
    """A number in few characters: `1.2k`, `35M`, `0.05`."""
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{round(value, 10):.3g}"


def _widened(rows: Sequence[Row], low: float, high: float) -> tuple[float, float]:
    for row in rows:
        for mark in row.marks:
            ends = [v for v in (mark.value, mark.low, mark.high) if v is not None]
            low, high = min(low, *ends), max(high, *ends)
    return low, high


def _scale(low: float, high: float) -> Callable[[float], float]:
    span = (high - low) or 1.0
    return lambda value: 100 * (value - low) / span


# --- drawing -----------------------------------------------------------------------------------


def _stacked(
    rows: Sequence[Row],
    draw: Callable[[Mark, float], str],
    label: Label,
) -> Markup:
    """Rows under one another: label and value in a line, the drawing under it."""
    parts: list[str] = []
    top = 0.0
    for row in rows:
        parts.append(_name(row.label, top + 13))
        single = len(row.marks) == 1
        for mark in row.marks:
            if single:
                # A long name gets a line of its own.
                top += 18 if _columns(row.label) + _columns(mark.text) > _LONGEST_PAIR else 0
                parts.append(_text(mark.text, 'x="100%" text-anchor="end"', top + 13))
                parts.append(draw(mark, top + 20))
                top += 32
            else:
                parts.append(draw(mark, top + 20))
                top += 15
        top += 10 if single else 30
    height = max(top - 8, 1)
    return _svg("".join(parts), label, f'width="100%" height="{height:g}"')


def _whisker(mark: Mark, scale: Callable[[float], float], y: float) -> str:
    if mark.low is None or mark.high is None:
        return ""
    low, high = scale(mark.low), scale(mark.high)
    return "".join(
        f'<line class="whisker" x1="{a:.3f}%" x2="{b:.3f}%" y1="{c:g}" y2="{d:g}"/>'
        for a, b, c, d in (
            (low, high, y, y),
            (low, low, y - 3, y + 3),
            (high, high, y - 3, y + 3),
        )
    )


def _svg(inside: str, label: Label, size: str, kind: str = "chart") -> Markup:
    """The chart's element; its name is given in both languages, one of which is shown."""
    if isinstance(label, Word):
        names = f'aria-label="{_safe(label.en)}" data-en="{_safe(label.en)}" '
        names += f'data-ko="{_safe(label.ko)}"'
    else:
        names = f'aria-label="{_safe(label)}"'
    return Markup(f'<svg class="{kind}" role="img" {names} {size}>{inside}</svg>')


def _text(label: Label, attributes: str, y: float) -> str:
    if isinstance(label, Word):
        return "".join(
            f'<text {_with_class(attributes, language)} y="{y:g}">{_safe(text)}</text>'
            for language, text in (("en", label.en), ("ko", label.ko))
        )
    return f'<text {attributes} y="{y:g}">{_safe(label)}</text>' if label else ""


def _name(label: Label, y: float) -> str:
    """The name of a row; a long one is shortened, and whole for a pointer resting on it."""
    if isinstance(label, Word) or _columns(label) <= _LONGEST_NAME:
        return _text(label, 'class="name" x="0"', y)
    short = ""
    for letter in label:
        if _columns(short + letter) >= _LONGEST_NAME:
            break
        short += letter
    return f'<text class="name" x="0" y="{y:g}"><title>{_safe(label)}</title>{_safe(short)}…</text>'


def _columns(label: Label) -> int:
    """How wide a text is, in columns of a fixed font; of a word the longer language."""
    texts = label if isinstance(label, Word) else (label,)
    return max(
        sum(2 if east_asian_width(letter) in "WF" else 1 for letter in visible(text))
        for text in texts
    )


def _with_class(attributes: str, language: str) -> str:
    """The attributes with those of a word of one language."""
    if 'class="' in attributes:
        return attributes.replace('class="', 'class="w ', 1) + f' lang="{language}"'
    return f'{attributes} class="w" lang="{language}"'


def _polygon(kind: str, corners: Sequence[tuple[float, float]]) -> str:
    where = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
    return f'<polygon class="{kind}" points="{where}"/>'


def _title(mark: Mark) -> str:
    return f"<title>{_safe(mark.name)}</title>" if mark.name else ""


def _series(mark: Mark) -> int:
    return mark.series % COLOURS


def _safe(text: str) -> str:
    return str(escape(visible(text)))
