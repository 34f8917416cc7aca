"""The scorer `eq_bench` for `evaluate.load`; see `ko_eval.interop.metric_module`."""

from ko_eval.interop import metric_module


class EqBench(metric_module.ScorerModule):
    """Judges as the scorer `eq_bench` does."""

    scorer = "eq_bench"
