"""Configuration of the speech LLM and of its adapters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from transformers import AutoConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec


@dataclass(frozen=True)
class LoraSettings:
    """Rank and alpha of LoRA adapters (section 3.3; an update is scaled by alpha / rank), and their dropout."""

    rank: int = 16
    alpha: int = 32
    dropout: float = 0.0


class SpeechLLMConfig(PreTrainedConfig):
    """Sizes of the encoder, the projector and the language model, and the token ids that connect them.

    audio_config: the Whisper encoder's configuration; text_config: the causal language model's (transformers expects
    these two names); projector_hidden: width inside the projector; audio_token_id: the placeholder that the projector
    replaces; added_tokens: the templates' tokens and the placeholder, with their ids; encoder_window: "true_length" or
    "full", as in the processor.
    """

    model_type = "mlcslm"
    sub_configs_defaults = {  # noqa: RUF012
        "audio_config": SubConfigSpec(config_class=AutoConfig, model_type="whisper"),
        "text_config": SubConfigSpec(config_class=AutoConfig, model_type="qwen2"),
    }

    audio_config: dict[str, Any] | PreTrainedConfig | None = None
    text_config: dict[str, Any] | PreTrainedConfig | None = None
    projector_hidden: int = 2048
    audio_token_id: int | None = None
    added_tokens: dict[str, int] | None = None
    encoder_window: str = "true_length"

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        self.tie_word_embeddings = bool(getattr(self.text_config, "tie_word_embeddings", False))
        # trl reads this dict on every class that is not transformers' own.
        self.auto_map = {
            "AutoConfig": "configuration.SpeechLLMConfig",
            "AutoModelForCausalLM": "speech_llm.SpeechLLM",
        }
