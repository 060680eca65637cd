"""Pretraining the demo's two small foundation models, a Whisper-shaped encoder and a Qwen2-shaped language model."""

from typing import TYPE_CHECKING

from mlcslm._lazy import lazy_exports

if TYPE_CHECKING:
    from mlcslm.pretraining.card import write_card as write_card
    from mlcslm.pretraining.encoder import EncoderRecipe as EncoderRecipe
    from mlcslm.pretraining.encoder import pretrain_encoder as pretrain_encoder
    from mlcslm.pretraining.language_model import pretrain_language_model as pretrain_language_model
    from mlcslm.pretraining.noisy_text import LanguageModelRecipe as LanguageModelRecipe
    from mlcslm.pretraining.speech_pool import write_speech_pool as write_speech_pool

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "mlcslm.pretraining.card": ("write_card",),
        "mlcslm.pretraining.encoder": ("EncoderRecipe", "pretrain_encoder"),
        "mlcslm.pretraining.language_model": ("pretrain_language_model",),
        "mlcslm.pretraining.noisy_text": ("LanguageModelRecipe",),
        "mlcslm.pretraining.speech_pool": ("write_speech_pool",),
    },
)
