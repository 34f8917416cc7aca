"""The scorer `choice_likelihood` for `evaluate.load`; see `ko_eval.interop.metric_module`."""

from ko_eval.interop import metric_module


class ChoiceLikelihood(metric_module.ScorerModule):
    """Judges as the scorer `choice_likelihood` does."""

    scorer = "choice_likelihood"
