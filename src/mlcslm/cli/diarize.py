"""`mlcslm diarize`: who speaks when in recordings; and the options that `mlcslm transcribe --speakers` shares."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mlcslm.errors import FaultyInput, UserError

if TYPE_CHECKING:
    from mlcslm.diarization.pipeline import Diarizer
    from mlcslm.diarization.recordings import DiarizedRecording
    from mlcslm.diarization.vad import VoiceActivityDetector
    from mlcslm.formats.conversation_files import Format
    from mlcslm.formats.segments import Utterance

EXAMPLES = """
**Examples**

    mlcslm diarize call.wav --num-speakers 2 > call.rttm
    mlcslm diarize meetings/*.m4a --max-speakers 6 --out turns
    mlcslm diarize call.wav --channels speakers --format textgrid --out turns
    mlcslm diarize call.wav --vad segmentation --vad-model models/segmentation-3.0 --overlap
"""

AUDIO = "wav, flac, mp3, ogg or m4a files."
Out = Annotated[Path | None, typer.Option(metavar="DIR", help="Write a file for each recording there; none: print.")]
NumSpeakers = Annotated[int | None, typer.Option(min=1, help="Speakers, if their number is known.")]
MinSpeakers = Annotated[int | None, typer.Option(min=1, help="Fewest speakers.")]
MaxSpeakers = Annotated[int | None, typer.Option(min=1, help="Most speakers.")]
Embedding = Annotated[
    str, typer.Option(help="Speaker embedding: file, folder or hub id of its weights (docs/embeddings.md).")
]
Network = Annotated[
    Literal["campplus", "eres2net", "resnet101"], typer.Option(help="What the embedding's weights are of.")
]
Vad = Annotated[
    Literal["silero", "fsmn", "segmentation"],
    typer.Option(help="Voice activity detector; segmentation also finds where speakers change."),
]
VadModel = Annotated[str | None, typer.Option(help="Of fsmn and segmentation: folder or hub id; none: the public one.")]
Overlap = Annotated[
    bool, typer.Option("--overlap", help="With --vad segmentation: also the second speaker where two speak at once.")
]
Channels = Annotated[
    Literal["mean", "speakers"], typer.Option(help="mean: all channels as one; speakers: each channel is a speaker.")
]


def register(app: typer.Typer) -> None:
    """Add `diarize` to `app`."""
    app.command("diarize", epilog=EXAMPLES)(diarize)


def diarize(
    audio: Annotated[list[Path], typer.Argument(metavar="FILE", help=AUDIO)],
    out: Out = None,
    form: Annotated[
        Literal["rttm", "text", "json", "srt", "vtt", "stm", "textgrid"],
        typer.Option(
            "--format", help="json: SegLST. stm, srt and vtt are without words: `mlcslm transcribe --speakers`."
        ),
    ] = "rttm",
    num_speakers: NumSpeakers = None,
    min_speakers: MinSpeakers = None,
    max_speakers: MaxSpeakers = None,
    channels: Channels = "mean",
    embedding: Embedding = "models/campplus",
    network: Network = "campplus",
    vad: Vad = "silero",
    vad_model: VadModel = None,
    overlap: Overlap = False,
) -> None:
    """Print who speaks when in recordings, or write a file for each.

    Speakers are S1, S2, … in each recording, in the order in which they first speak. A recording in which nobody speaks
    has no turns, and that is said. See docs/diarization.md.
    """
    from mlcslm.runtime.progress import waiting

    check_output(audio, form, out)
    with waiting("loading the diarizer"):
        find = load_for_channels(
            channels, embedding, network, vad, vad_model, num_speakers, min_speakers, max_speakers, overlap
        )
    write_conversations(audio, lambda path: diarized(path, find, channels), lambda found: found.utterances(), form, out)


def load_for_channels(
    channels: Literal["mean", "speakers"],
    embedding: str,
    network: str,
    vad: Literal["silero", "fsmn", "segmentation"],
    vad_model: str | None,
    num_speakers: int | None,
    min_speakers: int | None,
    max_speakers: int | None,
    overlap: bool,
) -> Diarizer | VoiceActivityDetector:
    """The diarizer; where each channel is a speaker, its detector is enough."""
    from mlcslm.diarization.recordings import load_diarizer
    from mlcslm.diarization.vad import make_detector

    if channels == "speakers":
        if num_speakers or min_speakers or max_speakers:
            raise UserError("With --channels speakers there are as many speakers as channels: leave their number out.")
        if overlap:
            raise UserError("With --channels speakers, turns overlap where the speakers do: leave --overlap out.")
        return make_detector(vad, 8.0, vad_model)
    return load_diarizer(
        embedding,
        network=network,
        vad=vad,
        vad_model=vad_model,
        num_speakers=num_speakers,
        min_speakers=min_speakers,
        max_speakers=max_speakers,
        overlap=overlap,
    )


def diarized(
    path: Path, find: Diarizer | VoiceActivityDetector, channels: Literal["mean", "speakers"]
) -> DiarizedRecording:
    """A recording's turns; that there are none is said."""
    from mlcslm.diarization.recordings import diarize_file
    from mlcslm.runtime.progress import say

    found = diarize_file(path, find, channels)
    if not found.turns:
        say(f"{path}: no speech found in {found.seconds:.1f} s")
    return found


def check_output(audio: Sequence[Path], form: Format, out: Path | None) -> None:
    """Raise UserError for what cannot be written so, before anything is computed."""
    from mlcslm.formats.conversation_files import ONE_RECORDING
    from mlcslm.io.places import is_stream
    from mlcslm.io.reading import check_input

    for path in audio:
        check_input(path, AUDIO.removesuffix("."))
        if is_stream(path):
            raise UserError(f"{path}: is a pipe, and audio is read from a file. Save it as one first.")
    if out is None and len(audio) > 1 and form in ONE_RECORDING:
        raise UserError(f"{len(audio)} recordings as {form}: one file each. Name a folder for them: --out DIR.")
    if out is not None and out.exists() and not out.is_dir():
        raise UserError(f"{out}: is a file, expected a folder. Name another place.")
    names = Counter("_".join(path.stem.split()) for path in audio)
    if several := [name for name, count in names.items() if count > 1]:
        raise UserError(
            f"{names[several[0]]} recordings named {several[0]}: nothing would tell them apart. Rename one."
        )


def write_conversations(
    audio: Sequence[Path],
    hear: Callable[[Path], DiarizedRecording],
    words: Callable[[DiarizedRecording], list[Utterance]],
    form: Format,
    out: Path | None,
) -> None:
    """Print what is found in each recording, or write it; files that cannot be read are named at the end."""
    from mlcslm.formats.conversation_files import SUFFIXES, conversation
    from mlcslm.io.files import atomic_path
    from mlcslm.runtime.progress import progress

    faults = []
    with progress(len(audio), "diarizing", "recording") as bar:
        for path in audio:
            try:
                found = hear(path)
                text = conversation(words(found), form, found.seconds)
            except UserError as error:
                faults.append(str(error))
                continue
            bar.update()
            if out is not None:
                out.mkdir(parents=True, exist_ok=True)
                with atomic_path(out / f"{found.name}{SUFFIXES[form]}", inputs=[path]) as temporary:
                    temporary.write_text(text, encoding="utf-8")
                continue
            if form == "text" and len(audio) > 1:
                typer.echo(f"{path}")
            typer.echo(text, nl=False)
    if len(faults) == len(audio):
        raise UserError("\n".join(faults))
    if faults:
        raise FaultyInput(f"skipped {len(faults)} of {len(audio)} files:", faults)
