"""The language of a text by the statistical detector of the reference (langdetect), seeded.

The detector samples at random; with seed 0 in a factory of our own, a text always gets the same
verdict, and nobody else's random state is touched.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any

SEED = 0


@lru_cache(maxsize=4096)
def detected_language(text: str) -> str | None:
    """The language code of a text, or None where the detector finds nothing to go by."""
    from langdetect import LangDetectException

    detector = _factory().create()
    try:
        detector.append(text)
        return str(detector.detect())
    except LangDetectException:
        return None


@cache
def known_languages() -> frozenset[str]:
    """The codes that the detector can give."""
    return frozenset(_factory().get_lang_list())


@cache
def _factory() -> Any:
    from langdetect.detector_factory import PROFILES_DIRECTORY, DetectorFactory

    factory = DetectorFactory()
    factory.set_seed(SEED)
    factory.load_profile(PROFILES_DIRECTORY)
    return factory
