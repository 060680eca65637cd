"""Error rates: WER, CER, DER and tcpWER as counts that add up, their intervals, and comparisons of systems."""

from typing import TYPE_CHECKING

from mlcslm._lazy import lazy_exports

if TYPE_CHECKING:
    from mlcslm.scoring.compare import compare_systems as compare_systems
    from mlcslm.scoring.der import DerOptions as DerOptions
    from mlcslm.scoring.der import DiarizationErrors as DiarizationErrors
    from mlcslm.scoring.der import score_diarization as score_diarization
    from mlcslm.scoring.error_counts import ErrorCounts as ErrorCounts
    from mlcslm.scoring.error_counts import pool as pool
    from mlcslm.scoring.intervals import group_mean_interval as group_mean_interval
    from mlcslm.scoring.intervals import pooled_interval as pooled_interval
    from mlcslm.scoring.transcripts import TranscriptErrors as TranscriptErrors
    from mlcslm.scoring.transcripts import score_transcripts as score_transcripts
    from mlcslm.scoring.wer import align_counts as align_counts
    from mlcslm.scoring.wer import score_texts as score_texts

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "mlcslm.scoring.compare": ("compare_systems",),
        "mlcslm.scoring.der": ("DerOptions", "DiarizationErrors", "score_diarization"),
        "mlcslm.scoring.error_counts": ("ErrorCounts", "pool"),
        "mlcslm.scoring.intervals": ("group_mean_interval", "pooled_interval"),
        "mlcslm.scoring.transcripts": ("TranscriptErrors", "score_transcripts"),
        "mlcslm.scoring.wer": ("align_counts", "score_texts"),
    },
)
