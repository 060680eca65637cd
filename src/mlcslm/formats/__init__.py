"""Readers and writers of hypothesis and reference files: RTTM, STM, CTM, SegLST, Kaldi text, NeMo and UEM."""

from typing import TYPE_CHECKING

from mlcslm._lazy import lazy_exports

if TYPE_CHECKING:
    from mlcslm.formats.ctm import read_ctm as read_ctm
    from mlcslm.formats.detect import detect_format as detect_format
    from mlcslm.formats.kaldi_text import read_kaldi_text as read_kaldi_text
    from mlcslm.formats.nemo import read_nemo as read_nemo
    from mlcslm.formats.rttm import read_rttm as read_rttm
    from mlcslm.formats.rttm import write_rttm as write_rttm
    from mlcslm.formats.seglst import read_seglst as read_seglst
    from mlcslm.formats.seglst import write_seglst as write_seglst
    from mlcslm.formats.segments import Segment as Segment
    from mlcslm.formats.segments import Utterance as Utterance
    from mlcslm.formats.stm import read_stm as read_stm
    from mlcslm.formats.stm import write_stm as write_stm

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "mlcslm.formats.ctm": ("read_ctm",),
        "mlcslm.formats.detect": ("detect_format",),
        "mlcslm.formats.kaldi_text": ("read_kaldi_text",),
        "mlcslm.formats.nemo": ("read_nemo",),
        "mlcslm.formats.rttm": ("read_rttm", "write_rttm"),
        "mlcslm.formats.seglst": ("read_seglst", "write_seglst"),
        "mlcslm.formats.segments": ("Segment", "Utterance"),
        "mlcslm.formats.stm": ("read_stm", "write_stm"),
    },
)
