"""Decoding: batched search, conversational context, hypothesis files, and transcription outside the workflow."""

from typing import TYPE_CHECKING

from mlcslm._lazy import lazy_exports

if TYPE_CHECKING:
    from mlcslm.decoding.batching import length_buckets as length_buckets
    from mlcslm.decoding.compiled_tree import CompiledTrees as CompiledTrees
    from mlcslm.decoding.decoder import SCHEMA as SCHEMA
    from mlcslm.decoding.decoder import Decoder as Decoder
    from mlcslm.decoding.encoded_audio import EncodedAudio as EncodedAudio
    from mlcslm.decoding.generation import DecodingPaths as DecodingPaths
    from mlcslm.decoding.generation import decode_split as decode_split
    from mlcslm.decoding.generation import decode_with_all as decode_with_all
    from mlcslm.decoding.generation import transcribe_segments as transcribe_segments
    from mlcslm.decoding.hypothesis_files import merge_shards as merge_shards
    from mlcslm.decoding.read_ahead import Noise as Noise
    from mlcslm.decoding.transcription import Transcriber as Transcriber

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "mlcslm.decoding.batching": ("length_buckets",),
        "mlcslm.decoding.compiled_tree": ("CompiledTrees",),
        "mlcslm.decoding.decoder": ("SCHEMA", "Decoder"),
        "mlcslm.decoding.encoded_audio": ("EncodedAudio",),
        "mlcslm.decoding.generation": ("DecodingPaths", "decode_split", "decode_with_all", "transcribe_segments"),
        "mlcslm.decoding.hypothesis_files": ("merge_shards",),
        "mlcslm.decoding.read_ahead": ("Noise",),
        "mlcslm.decoding.transcription": ("Transcriber",),
    },
)
