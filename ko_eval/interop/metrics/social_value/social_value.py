"""The scorer `social_value` for `evaluate.load`; see `ko_eval.interop.metric_module`."""

from ko_eval.interop import metric_module


class SocialValue(metric_module.ScorerModule):
    """Judges as the scorer `social_value` does."""

    scorer = "social_value"
