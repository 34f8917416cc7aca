"""The scorer `choice_text` for `evaluate.load`; see `ko_eval.interop.metric_module`."""

from ko_eval.interop import metric_module


class ChoiceText(metric_module.ScorerModule):
    """Judges as the scorer `choice_text` does."""

    scorer = "choice_text"
