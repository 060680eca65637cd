"""A CTC head on an encoder that stands still: how probable a transcript is, given what the encoder heard.

A language model that answers from speech knows what people say and takes one plausible name for another; CTC (Graves et
al., 2006) knows nothing of words, but hears letters. So it is a judge of the language model's answers
(`mlcslm.decoding.consensus`), as in hybrid CTC/attention recognition (Watanabe et al., 2017). And what it hears is a
first pass, which a stage's prompt can contain (`first_pass: ctc`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from mlcslm.errors import FaultyInput, UserError
from mlcslm.io.files import sha256, write_json
from mlcslm.io.metadata import changed_files, read_metadata
from mlcslm.model.speech_llm import SpeechLLM
from mlcslm.text.characters import characters, written

BLANK = 0
HEAD_FILE = "ctc.json"
FORMAT_VERSION = 1
_WEIGHTS = "ctc.safetensors"
HEAD_FILES = (HEAD_FILE, _WEIGHTS)
"""What a head consists of, wherever it lies."""
_REMEDY = "Delete the folder and run the workflow again."
Fold = tuple[int, int]
"""Number and count."""


@dataclass(frozen=True)
class CtcInfo:
    """Contents of `ctc.json`.

    alphabet: the letters, the first of which is class 1; width: of the encoder's frames; encoder, adapters:
    fingerprints of the encoder whose frames the head reads; loss: mean per letter over the last tenth of training;
    files: SHA-256 by file name; fold: of the training set's sessions that it was trained without, none by default.
    """

    alphabet: str
    width: int
    encoder: str
    adapters: str
    loss: float
    files: dict[str, str]
    fold: Fold | None = None
    format_version: int = FORMAT_VERSION


class CtcHead(nn.Module):
    """Linear layer from encoder frames (…, width) to blank and letters."""

    def __init__(self, width: int, alphabet: str) -> None:
        super().__init__()
        self.alphabet = alphabet
        self.linear = nn.Linear(width, len(alphabet) + 1)
        self._classes = {letter: number for number, letter in enumerate(alphabet, start=1)}

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """Log-probabilities (…, letters + 1) of encoder frames (…, width)."""
        log_probs: torch.Tensor = self.linear(frames.float()).log_softmax(-1)
        return log_probs

    def classes(self, text: str) -> list[int]:
        """Classes of a transcript's letters, without those outside the alphabet, of which nothing can be said."""
        return [self._classes[letter] for letter in characters(text) if letter in self._classes]

    @torch.inference_mode()
    def score(self, frames: torch.Tensor, transcripts: Sequence[str]) -> list[float]:
        """Natural log of the probability of each transcript's letters, given the frames (T, width) of an utterance.

        -inf for a transcript with more letters than the frames have room for.
        """
        texts = list(dict.fromkeys(transcripts))
        labels = [self.classes(text) for text in texts]
        log_probs = self(frames).double()[:, None].expand(-1, len(texts), -1)
        losses = nn.functional.ctc_loss(
            log_probs,
            torch.tensor([one for label in labels for one in label], dtype=torch.long),
            torch.full((len(texts),), len(frames)),
            torch.tensor([len(label) for label in labels]),
            blank=BLANK,
            reduction="none",
        )
        of = dict(zip(texts, (-losses).tolist(), strict=True))
        return [of[text] for text in transcripts]

    @torch.inference_mode()
    def transcribe(self, frames: torch.Tensor) -> str:
        """The most probable letter of each of the frames (T, width) of an utterance: repetitions count once."""
        best = self(frames).argmax(-1).unique_consecutive().tolist()
        return written("".join(self.alphabet[one - 1] for one in best if one != BLANK))


def save_ctc_head(
    folder: Path, head: CtcHead, *, encoder: str, adapters: str, loss: float, fold: Fold | None = None
) -> None:
    """Write a head's weights and, last, `ctc.json` (`CtcInfo`) into `folder`."""
    weights = folder / _WEIGHTS
    save_file({name: tensor.contiguous() for name, tensor in head.state_dict().items()}, weights)
    files = {_WEIGHTS: sha256(weights)}
    info = asdict(CtcInfo(head.alphabet, head.linear.in_features, encoder, adapters, loss, files, fold))
    if fold is None:
        del info["fold"]
    write_json(folder / HEAD_FILE, info)


def read_ctc_info(folder: Path) -> CtcInfo:
    """`ctc.json` in `folder`. Raises UserError if there is none, or a damaged one."""
    if not (folder / HEAD_FILE).is_file():
        raise UserError(f"{folder / HEAD_FILE}: no such file, so {folder} has no finished CTC head. {_REMEDY}")
    return read_metadata(CtcInfo, folder / HEAD_FILE, FORMAT_VERSION, _REMEDY)


def load_ctc_head(folder: Path, model: SpeechLLM | None = None) -> CtcHead:
    """The head in `folder`, checked to be one of `model`'s encoder. Raises UserError naming the file at fault."""
    info = read_ctc_info(folder)
    if faults := changed_files(folder, info.files):
        raise FaultyInput(f"{folder}: not as it was written. {_REMEDY}", faults)
    if model is not None:
        found = model.foundation["encoder"]["fingerprint"], model.encoder_adapters
        if found != (info.encoder, info.adapters):
            raise UserError(f"{folder}: head of another encoder than the model's. {_REMEDY}")
    head = CtcHead(info.width, info.alphabet)
    try:
        head.load_state_dict(load_file(folder / _WEIGHTS))
    except (SafetensorError, RuntimeError) as error:
        raise UserError(f"{folder / _WEIGHTS}: damaged ({error}). {_REMEDY}") from None
    return head.eval()


def head_beside(checkpoint: Path, model: SpeechLLM) -> Path:
    """Folder of the head on `model`'s encoder in the results that the folder `checkpoint` lies in.

    Raises UserError if there is none.
    """
    for folder in (Path.cwd() / checkpoint).parents:
        if folder.name == "checkpoints":
            heads = folder.parent / "ctc"
            expected = model.foundation["encoder"]["fingerprint"], model.encoder_adapters
            # A head's folder is named after a checkpoint, whose name may have several parts.
            for card in sorted(heads.rglob(HEAD_FILE)):
                info = read_ctc_info(card.parent)
                if (info.encoder, info.adapters) == expected:
                    return card.parent
            raise UserError(
                f"{heads}: no CTC head on the encoder of {checkpoint.name}, which it needs; decode it first: the "
                "workflow then trains the head."
            )
    raise UserError(f"{checkpoint}: not in a results folder, which has the CTC head that it needs.")
