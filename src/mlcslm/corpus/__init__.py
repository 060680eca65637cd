"""Corpora: recordings and transcripts in the challenge's layout, Kaldi or Lhotse, checked and listed in a manifest."""

from typing import TYPE_CHECKING

from mlcslm._lazy import lazy_exports

if TYPE_CHECKING:
    from mlcslm.corpus.audio import read_audio as read_audio
    from mlcslm.corpus.audio import read_segment as read_segment
    from mlcslm.corpus.augmentation import Augmenter as Augmenter
    from mlcslm.corpus.faults import Fault as Fault
    from mlcslm.corpus.faults import FaultKind as FaultKind
    from mlcslm.corpus.layout import find_sessions as find_sessions
    from mlcslm.corpus.layout import write_session as write_session
    from mlcslm.corpus.manifest import read_corpus as read_corpus
    from mlcslm.corpus.manifest import read_manifest as read_manifest
    from mlcslm.corpus.manifest import write_manifest as write_manifest
    from mlcslm.corpus.transcripts import read_transcript as read_transcript
    from mlcslm.corpus.transcripts import write_transcript as write_transcript

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "mlcslm.corpus.audio": ("read_audio", "read_segment"),
        "mlcslm.corpus.augmentation": ("Augmenter",),
        "mlcslm.corpus.faults": ("Fault", "FaultKind"),
        "mlcslm.corpus.layout": ("find_sessions", "write_session"),
        "mlcslm.corpus.manifest": ("read_corpus", "read_manifest", "write_manifest"),
        "mlcslm.corpus.transcripts": ("read_transcript", "write_transcript"),
    },
)
