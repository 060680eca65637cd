"""FSMN-VAD, the detector of the paper and of 3D-Speaker, through funasr (an extra: `pip install 'mlcslm[fsmn]'`)."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

from mlcslm.config.diarization import FSMN_MODEL
from mlcslm.corpus.audio import SAMPLE_RATE, Audio
from mlcslm.errors import UserError
from mlcslm.formats.segments import Segment, in_pieces

FRAME_MS = 10  # a segment may exceed the given limit by one frame (measured, funasr 1.4)


class FsmnDetector:
    """Speech by FSMN-VAD, in segments of at most `max_segment_s` seconds.

    model: hub id, or folder with `model.pt`, `config.yaml` and `am.mvn`; None: `FSMN_MODEL`. Raises UserError if
    funasr or the model is missing.
    """

    def __init__(self, max_segment_s: float, model: str | None = None) -> None:
        self.max_segment_s = max_segment_s
        model = model or FSMN_MODEL
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # funasr prints its version and tables
                from funasr import AutoModel
        except ImportError as error:
            raise UserError(
                f"vad fsmn needs the package funasr ({error}). Run: pip install 'mlcslm[fsmn]', or use vad: silero."
            ) from None
        if "/" in model and not Path(model).is_dir() and (model.startswith((".", "/")) or Path(model).parent.is_dir()):
            raise UserError(f"vad_model {model}: no such folder. Expected one with model.pt, config.yaml and am.mvn.")
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                # The limit has no effect if passed to `generate`.
                self._model = AutoModel(
                    model=model,
                    max_single_segment_time=int(1000 * max_segment_s) - FRAME_MS,
                    trust_remote_code=False,
                    device="cpu",
                    disable_update=True,
                    disable_pbar=True,
                    disable_log=True,
                    log_level="ERROR",
                )
        except Exception as error:  # funasr passes on whatever its hub client raises
            raise UserError(
                f"vad_model {model}: funasr cannot load it ({error}). Expected a hub id, or a folder with model.pt, "
                "config.yaml and am.mvn."
            ) from error

    def __call__(self, waveform: Audio) -> list[Segment]:
        """Speech of a (samples,) float32 waveform at 16 kHz: disjoint segments in order, in whole milliseconds."""
        if len(waveform) < SAMPLE_RATE // 40:  # less than one frame of 25 ms, the minimum for its features
            return []
        with contextlib.redirect_stdout(io.StringIO()):
            found = self._model.generate(input=waveform, fs=SAMPLE_RATE, cache={})[0]["value"]
        duration_ms = 1000 * len(waveform) // SAMPLE_RATE
        segments, free = [], 0
        for start, end in found:
            start, end = max(start, free), min(end, duration_ms)
            if start < end:
                segments.append(Segment(start / 1000, end / 1000))
                free = end
        return in_pieces(segments, self.max_segment_s)
