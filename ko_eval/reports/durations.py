"""Times as people read them."""

from __future__ import annotations


def duration(seconds: float | None) -> str:
    """`12.3 s`, `4 min 05 s`, `2 h 03 min`; a dash where it is not known."""
    if seconds is None:
        return "–"
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours:,} h {minutes:02d} min"
