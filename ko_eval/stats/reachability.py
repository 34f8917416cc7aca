"""Whether a published share can be a count of right answers at all.

With n known, a share shown with two decimals must be some k/n: 25.25 is 50 of 198, but 34.59 is no
share of 6,000. A value that cannot be reached tells of another n, another metric or a slip.
"""

from __future__ import annotations

# Published values were rounded from floats, up or to even: either side of a half is allowed.
_SLACK = 1e-9


def reachable(published: float, n: int, *, digits: int = 2, scale: float = 100.0) -> int | None:
    """The k for which k/n·`scale` rounds to the published value, or None.

    Where several do, the nearest.

    Args:
        published: as shown.
        n: items; the items times three where credits are thirds.
        digits: decimals shown.

    Raises:
        ValueError: n or the scale is not positive.
    """
    count, value = nearest_reachable(published, n, scale=scale)
    return count if abs(value - published) <= 0.5 * 10.0**-digits + _SLACK else None


def nearest_reachable(published: float, n: int, *, scale: float = 100.0) -> tuple[int, float]:
    """The k from 0 to n whose k/n·`scale` is nearest to the published value, and that value.

    Raises:
        ValueError: n or the scale is not positive.
    """
    if n < 1 or scale <= 0:
        raise ValueError("a share needs at least one item and a positive scale")
    count = min(n, max(0, round(published / scale * n)))
    return count, count / n * scale
