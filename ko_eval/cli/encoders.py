"""A model's tokenizer as a run would use it, without its weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ko_eval.engines.encoding import ChatTemplate, Encoder
    from ko_eval.engines.model_folder import ModelFolder


def load_encoder(
    model: str,
    chat_template: ChatTemplate,
    max_length: int | None,
    *,
    trust_remote_code: bool,
    revision: str | None = None,
) -> tuple[ModelFolder, Encoder]:
    """The model's folder, and an encoder with its tokenizer.

    Args:
        max_length: window in tokens; None takes the model's own.
        revision: commit, tag or branch on the hub.

    Raises:
        ModelError: the model cannot be found, or its tokenizer not loaded.
    """
    from ko_eval.engines.encoding import Encoder, load_tokenizer
    from ko_eval.engines.model_folder import resolve_model
    from ko_eval.engines.model_settings import settings_for
    from ko_eval.runs.plan import window

    folder = resolve_model(
        model, revision=revision, trust_remote_code=trust_remote_code, weights=False
    )
    encoder = Encoder(
        load_tokenizer(folder, trust_remote_code=trust_remote_code),
        settings_for(folder),
        chat_template=chat_template,
        max_length=window(folder, max_length),
    )
    return folder, encoder
