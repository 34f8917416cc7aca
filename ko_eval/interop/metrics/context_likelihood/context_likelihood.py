"""The scorer `context_likelihood` for `evaluate.load`; see `ko_eval.interop.metric_module`."""

from ko_eval.interop import metric_module


class ContextLikelihood(metric_module.ScorerModule):
    """Judges as the scorer `context_likelihood` does."""

    scorer = "context_likelihood"
