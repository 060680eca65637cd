"""`mlcslm transcribe`: transcribes recordings with an exported model, a checkpoint or a ready recogniser."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mlcslm.cli.diarize import (
    Channels,
    Embedding,
    MaxSpeakers,
    MinSpeakers,
    Network,
    NumSpeakers,
    Out,
    Overlap,
    Vad,
    VadModel,
    check_output,
    diarized,
    load_for_channels,
    write_conversations,
)
from mlcslm.cli.text_table import printable
from mlcslm.errors import FaultyInput, UserError

if TYPE_CHECKING:
    from mlcslm.decoding.transcription import Transcriber
    from mlcslm.recognition.transcription import RecognizerTranscriber

    AnyTranscriber = Transcriber | RecognizerTranscriber

EXAMPLES = """
**Examples**

    mlcslm transcribe my-model call.wav --group French
    mlcslm transcribe my-model *.wav --group fr --json | jq .transcript
    mlcslm transcribe my-model results/manifests/dev.parquet > hypotheses.txt
    mlcslm transcribe my-model call.m4a --group fr --speakers --num-speakers 2
    mlcslm transcribe my-model calls/*.wav --group fr --speakers --format srt --out subtitles
    mlcslm transcribe openai/whisper-base call.wav
    mlcslm transcribe openai/whisper-base call.wav --language fr --beams 5
"""


def register(app: typer.Typer) -> None:
    """Add `transcribe` to `app`."""
    app.command("transcribe", epilog=EXAMPLES)(transcribe)


def transcribe(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="Folder of an exported model or of a checkpoint; or a ready recogniser: its folder or hub id.",
        ),
    ],
    audio: Annotated[list[Path], typer.Argument(metavar="AUDIO", help="wav or flac files, or one manifest.")],
    group: Annotated[
        str | None,
        typer.Option(
            "--group",
            "--language",
            help="Language: a group or a language (French, fr). Not needed for a manifest, a model of one language, "
            "one that is always prompted in English, or a recogniser, which finds it.",
        ),
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print a JSON line per utterance: times, transcript, reasoning, raw answer."),
    ] = False,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Utterances per batch; affects only speed.")] = None,
    encoder: Annotated[str | None, typer.Option(help="For a checkpoint: its encoder, if it has moved since.")] = None,
    language_model: Annotated[str | None, typer.Option(help="For a checkpoint: its language model, likewise.")] = None,
    languages: Annotated[
        Path | None, typer.Option(help="For a checkpoint or a recogniser: the languages table.")
    ] = None,
    beams: Annotated[int | None, typer.Option(min=1, help="For a recogniser: beam size; 1 is greedy search.")] = None,
    revision: Annotated[str | None, typer.Option(help="For a recogniser's hub id: branch, tag or commit.")] = None,
    speakers: Annotated[bool, typer.Option("--speakers", help="Print who said what and when.")] = False,
    form: Annotated[
        Literal["text", "json", "srt", "vtt", "stm", "rttm", "textgrid", "ctm"],
        typer.Option("--format", help="With --speakers. json: SegLST; ctm: words' times are shares of their turn's."),
    ] = "text",
    out: Out = None,
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
    """Print transcripts of recordings.

    For one file its transcript, for several one line `FILE<tab>TRANSCRIPT` each, for a manifest (.parquet) one line
    `ID TRANSCRIPT` per utterance, which `mlcslm score wer` reads. Recordings longer than 30 s are split at pauses. With
    --speakers, who said what and when, in any format of `mlcslm diarize` and from any file that it reads.
    """
    from mlcslm.cli.score import find_languages
    from mlcslm.config.languages import read_languages
    from mlcslm.io.places import is_stream
    from mlcslm.io.reading import check_input
    from mlcslm.runtime.progress import waiting

    for path in audio:
        check_input(path, "wav or flac files, or one manifest")
        if is_stream(path):
            raise UserError(f"{path}: is a pipe; audio is read from files only. Save it to a file first.")
    is_manifest = [path.suffix == ".parquet" for path in audio]
    if any(is_manifest) and len(audio) > 1:
        raise UserError("A manifest names its own audio. Pass either a manifest or audio files.")

    if not speakers and (out is not None or form != "text" or channels != "mean"):
        raise UserError("--format, --out and --channels are options of --speakers: add it.")
    if speakers:
        if any(is_manifest):
            raise UserError(f"{audio[0]}: is a manifest, which has the speakers. Pass audio files with --speakers.")
        if as_json:
            raise UserError("--json is for transcripts without speakers; use --format json with --speakers.")
        check_output(audio, form, out)
    folder = Path(model)
    transcriber: AnyTranscriber
    if is_recognizer(model):
        if encoder or language_model:
            raise UserError(f"{model}: is a ready recogniser; --encoder and --language-model are for a checkpoint.")
        from mlcslm.config.recognizers import RecognizerConfig, RecognizerDecodingConfig

        search = RecognizerDecodingConfig(beams=beams or 1)
        config = RecognizerConfig(model=model, revision=revision, decoding=search, batch_size=batch_size or 8)
        table = read_languages(languages or find_languages())
        with waiting(f"loading {model}"):
            from mlcslm.recognition.transcription import RecognizerTranscriber

            transcriber = RecognizerTranscriber(config, table)
    else:
        if beams is not None or revision is not None:
            raise UserError(f"{model}: --beams and --revision are for ready recognisers; this is a model of ours.")
        is_checkpoint = (folder / "checkpoint.json").is_file()
        languages_table = read_languages(languages or find_languages()) if is_checkpoint else None
        with waiting(f"loading {model}"):
            from mlcslm.decoding.transcription import Transcriber

            own = Transcriber.load(folder, languages=languages_table, encoder=encoder, language_model=language_model)
        if batch_size is not None:
            own.decoding = own.decoding.model_copy(update={"batch_size": batch_size})
        transcriber = own
    if speakers:
        from mlcslm.decoding.speakers import transcribe_turns

        transcriber.find_group(group)  # what is wrong with the group is wrong for every file
        with waiting("loading the diarizer"):
            find = load_for_channels(
                channels, embedding, network, vad, vad_model, num_speakers, min_speakers, max_speakers, overlap
            )
        write_conversations(
            audio,
            lambda path: diarized(path, find, channels),
            lambda found: transcribe_turns(transcriber, found, group),
            form,
            out,
        )
        return
    lines = _manifest_lines if any(is_manifest) else _audio_lines
    for line in lines(transcriber, audio, group, as_json):
        typer.echo(line)


def is_recognizer(model: str) -> bool:
    """Whether MODEL is a ready recogniser: a model's folder that no export or checkpoint wrote, or a hub id.

    >>> is_recognizer("openai/whisper-base"), is_recognizer("results/checkpoints/ckpt-7000")
    (True, False)
    """
    from mlcslm.config.model_sources import split_source

    source = split_source(model)[0]
    folder = Path(source)
    if folder.is_dir():
        ours = any((folder / name).is_file() for name in ("mlcslm.json", "checkpoint.json"))
        return not ours and (folder / "config.json").is_file()
    parts = source.split("/")
    return len(parts) == 2 and all(parts) and parts[0][0] not in "./~" and not Path(parts[0]).exists()


def _manifest_lines(transcriber: AnyTranscriber, audio: list[Path], group: str | None, as_json: bool) -> Iterable[str]:
    from mlcslm.corpus.manifest import read_manifest

    rows = read_manifest(audio[0]).drop_columns(["text"]).to_pylist()
    rows = [row | {"grp": group or row["grp"]} for row in rows]
    found = {one["utterance_id"]: one for one in transcriber.decode(rows)}
    for row in rows:
        hypothesis = found[row["utterance_id"]]
        yield _json(row, hypothesis) if as_json else f"{row['utterance_id']} {printable(hypothesis['transcript'])}"


def _audio_lines(transcriber: AnyTranscriber, audio: list[Path], group: str | None, as_json: bool) -> Iterable[str]:
    by_file: dict[Path, list[dict[str, Any]]] = {}
    faults = []
    for path in audio:
        try:
            by_file[path] = transcriber.rows_of(path, group)
        except UserError as error:
            faults.append(str(error))
            transcriber.find_group(group)  # what is wrong with the group is wrong for every file
    if faults and not by_file:
        raise UserError("\n".join(faults))
    found = {one["utterance_id"]: one for one in transcriber.decode([row for rows in by_file.values() for row in rows])}
    for path, rows in by_file.items():
        if as_json:
            for row in rows:
                hypothesis = found[row["utterance_id"]]
                heard = row if group else row | {"grp": transcriber.group_of(hypothesis["language"])}
                yield _json(heard, hypothesis)
            continue
        text = " ".join(filter(None, (printable(found[row["utterance_id"]]["transcript"]) for row in rows)))
        yield text if len(audio) == 1 else f"{path}\t{text}"
    if faults:
        raise FaultyInput(f"{len(faults)} of {len(audio)} files not transcribed:", faults)


def _json(row: dict[str, Any], hypothesis: dict[str, Any]) -> str:
    kept = ("language", "transcript", "think", "raw_text", "tokens", "stop_reason", "loop")
    about = {"audio": row["audio"], "start": row["start"], "end": row["end"], "group": row["grp"]}
    return json.dumps({**about, **{key: hypothesis[key] for key in kept}}, ensure_ascii=False)
