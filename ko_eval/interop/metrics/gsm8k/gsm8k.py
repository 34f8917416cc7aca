"""The scorer `gsm8k` for `evaluate.load`; see `ko_eval.interop.metric_module`."""

from ko_eval.interop import metric_module


class Gsm8k(metric_module.ScorerModule):
    """Judges as the scorer `gsm8k` does."""

    scorer = "gsm8k"
