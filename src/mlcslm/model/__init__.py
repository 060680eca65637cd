"""The speech LLM: its parts, building it from foundation models, checkpoints, and the encoder cache."""

from typing import TYPE_CHECKING

from mlcslm._lazy import lazy_exports

if TYPE_CHECKING:
    from mlcslm.model.build import build_speech_llm as build_speech_llm
    from mlcslm.model.checkpoint import load_checkpoint as load_checkpoint
    from mlcslm.model.checkpoint import save_checkpoint as save_checkpoint
    from mlcslm.model.checkpoint_file import CheckpointInfo as CheckpointInfo
    from mlcslm.model.checkpoint_file import read_checkpoint as read_checkpoint
    from mlcslm.model.encoder_cache import EncoderCache as EncoderCache
    from mlcslm.model.encoder_cache import write_encoder_cache as write_encoder_cache
    from mlcslm.model.exported import load_export as load_export
    from mlcslm.model.lora import merge_lora as merge_lora
    from mlcslm.model.parts import set_trainable as set_trainable
    from mlcslm.model.processor import SpeechProcessor as SpeechProcessor
    from mlcslm.model.speech_llm import SpeechLLM as SpeechLLM

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "mlcslm.model.build": ("build_speech_llm",),
        "mlcslm.model.checkpoint": ("load_checkpoint", "save_checkpoint"),
        "mlcslm.model.checkpoint_file": ("CheckpointInfo", "read_checkpoint"),
        "mlcslm.model.encoder_cache": ("EncoderCache", "write_encoder_cache"),
        "mlcslm.model.exported": ("load_export",),
        "mlcslm.model.lora": ("merge_lora",),
        "mlcslm.model.parts": ("set_trainable",),
        "mlcslm.model.processor": ("SpeechProcessor",),
        "mlcslm.model.speech_llm": ("SpeechLLM",),
    },
)
