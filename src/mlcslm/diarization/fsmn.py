"""FSMN-VAD, the detector of the paper and of 3D-Speaker, through funasr (an extra: `pip install 'mlcslm[fsmn]'`)."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

from huggingface_hub import constants

from mlcslm.config.diarization import FSMN_MODEL
from mlcslm.config.model_sources import fsmn_remedy, modelscope_folder
from mlcslm.corpus.audio import SAMPLE_RATE, Audio
from mlcslm.diarization.speech import SpeechSettings, pad_runs
from mlcslm.errors import UserError
from mlcslm.formats.segments import Segment, in_pieces

FILES = ("model.pt", "config.yaml", "am.mvn")
FRAME_MS = 10  # a segment may exceed the given limit by one frame (measured, funasr 1.4)


class FsmnDetector:
    """Speech by FSMN-VAD, in segments of at most `max_segment_s` seconds.

    settings: its pause, shortest speech and padding change the segments found; its thresholds do nothing, as FSMN-VAD
    gives no probabilities. model: ModelScope id or folder of `FILES`; None: `FSMN_MODEL`. Raises UserError where
    funasr or the model is missing.
    """

    def __init__(self, max_segment_s: float, settings: SpeechSettings, model: str | None = None) -> None:
        self.max_segment_s = max_segment_s
        self.settings = settings
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # funasr prints its version and tables
                from funasr import AutoModel
        except ImportError as error:
            raise UserError(
                f"vad fsmn needs the package funasr ({error}). Run: pip install 'mlcslm[fsmn]', or use vad: silero."
            ) from None
        source = _local_source(model or FSMN_MODEL)
        printed = io.StringIO()
        try:
            with contextlib.redirect_stdout(printed):
                # The limit has no effect if passed to `generate`.
                self._model = AutoModel(
                    model=source,
                    max_single_segment_time=int(1000 * max_segment_s) - FRAME_MS,
                    trust_remote_code=False,
                    device="cpu",
                    disable_update=True,
                    disable_pbar=True,
                    disable_log=True,
                    log_level="ERROR",
                )
        except Exception as error:  # funasr passes on whatever its hub client raises
            if not Path(source).is_dir():
                reason = re.search(r"^Download: .* failed!: (.*)", printed.getvalue(), re.MULTILINE)
                why = f"the download failed ({reason[1]})" if reason else "funasr does not know it"
                raise UserError(f"vad_model {source}: {why}. {fsmn_remedy(source)}.") from error
            raise UserError(
                f"vad_model {source}: funasr cannot load it ({str(error).splitlines()[0] if str(error) else error!r}). "
                "Expected a folder with model.pt, config.yaml and am.mvn of an FSMN-VAD."
            ) from error

    def __call__(self, waveform: Audio) -> list[Segment]:
        """Speech of a (samples,) float32 waveform at 16 kHz: disjoint segments in order, in whole milliseconds."""
        if len(waveform) < SAMPLE_RATE // 40:  # less than one frame of 25 ms, the minimum for its features
            return []
        with contextlib.redirect_stdout(io.StringIO()):
            found = self._model.generate(input=waveform, fs=SAMPLE_RATE, cache={})[0]["value"]
        duration_ms = 1000 * len(waveform) // SAMPLE_RATE
        runs: list[tuple[int, int]] = []
        for start, end in found:
            start, end = max(start, runs[-1][1] if runs else 0), min(end, duration_ms)
            if runs and start - runs[-1][1] < 1000 * self.settings.min_pause_s:
                runs[-1] = (runs[-1][0], max(end, runs[-1][1]))
            elif start < end:
                runs.append((start, end))
        padded = pad_runs(runs, duration_ms, self.settings)
        return in_pieces([Segment(start / 1000, end / 1000) for start, end in padded], self.max_segment_s)


def _local_source(model: str) -> str:
    """The folder of `model` if it is one or is in ModelScope's cache, else the hub id.

    funasr would query the hub even for what is in the cache, and fail without a network. Raises UserError for a
    folder that is missing or incomplete, and for a hub id if HF_HUB_OFFLINE is set.
    """
    folder = Path(model) if Path(model).is_dir() else modelscope_folder(model)
    if folder is not None:
        if missing := [name for name in FILES if not (folder / name).is_file()]:
            raise UserError(f"vad_model {folder}: lacks {', '.join(missing)}; expected {', '.join(FILES)}.")
        return str(folder)
    if "/" in model and (model.startswith((".", "/", "~")) or Path(model).parent.is_dir()):
        raise UserError(f"vad_model {model}: no such folder. Expected one with {', '.join(FILES)}.")
    if constants.HF_HUB_OFFLINE:
        raise UserError(
            f"vad_model {model}: not in ModelScope's cache, and HF_HUB_OFFLINE is set. {fsmn_remedy(model)}."
        )
    return model
