"""Ready recognisers: models that transcribe without training here, one module per family."""

from typing import TYPE_CHECKING

from mlcslm._lazy import lazy_exports

if TYPE_CHECKING:
    from mlcslm.recognition.loading import load_recognizer as load_recognizer
    from mlcslm.recognition.recognizer import Answer as Answer
    from mlcslm.recognition.recognizer import Recognizer as Recognizer
    from mlcslm.recognition.split import recognize_split as recognize_split
    from mlcslm.recognition.transcription import RecognizerTranscriber as RecognizerTranscriber

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "mlcslm.recognition.loading": ("load_recognizer",),
        "mlcslm.recognition.recognizer": ("Answer", "Recognizer"),
        "mlcslm.recognition.split": ("recognize_split",),
        "mlcslm.recognition.transcription": ("RecognizerTranscriber",),
    },
)
