"""The scorer `graded_choice` for `evaluate.load`; see `ko_eval.interop.metric_module`."""

from ko_eval.interop import metric_module


class GradedChoice(metric_module.ScorerModule):
    """Judges as the scorer `graded_choice` does."""

    scorer = "graded_choice"
