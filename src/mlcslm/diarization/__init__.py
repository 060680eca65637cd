"""Diarization, who speaks when: voice activity detection, windows, clustering, and the pipeline that joins them."""

from typing import TYPE_CHECKING

from mlcslm._lazy import lazy_exports

if TYPE_CHECKING:
    from mlcslm.diarization.clustering import cluster as cluster
    from mlcslm.diarization.pipeline import SEGMENTS_SCHEMA as SEGMENTS_SCHEMA
    from mlcslm.diarization.pipeline import Diarizer as Diarizer
    from mlcslm.diarization.pipeline import diarize_manifest as diarize_manifest
    from mlcslm.diarization.pipeline import make_diarizer as make_diarizer
    from mlcslm.diarization.vad import VoiceActivityDetector as VoiceActivityDetector
    from mlcslm.diarization.vad import make_detector as make_detector

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "mlcslm.diarization.clustering": ("cluster",),
        "mlcslm.diarization.pipeline": ("SEGMENTS_SCHEMA", "Diarizer", "diarize_manifest", "make_diarizer"),
        "mlcslm.diarization.vad": ("VoiceActivityDetector", "make_detector"),
    },
)
