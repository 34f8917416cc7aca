"""The scorer `ifeval` for `evaluate.load`; see `ko_eval.interop.metric_module`."""

from ko_eval.interop import metric_module


class Ifeval(metric_module.ScorerModule):
    """Judges as the scorer `ifeval` does."""

    scorer = "ifeval"
