"""Files of other tools: by their own writers where they are installed, else in their documented form."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pysubs2
import pytest
from praatio import textgrid

from mlcslm.errors import FaultyInput, UserError
from mlcslm.formats.any_format import read_texts, read_transcripts, read_turns
from mlcslm.formats.conversation_files import Format, conversation
from mlcslm.formats.detect import detect_format
from mlcslm.formats.seglst import write_seglst
from mlcslm.formats.segments import Segment, Utterance
from mlcslm.formats.system_output import read_system_output
from mlcslm.scoring.files import score_kaldi_texts, score_transcript_files

LANGUAGES = Path(__file__).parents[2] / "config" / "languages.tsv"
SAID = [("A", 0.5, 1.75, "good day"), ("B", 2.0, 3.25, "ça va ?"), ("A", 3.0, 4.5, "yes: it is")]
WORDS = [text for *_, text in SAID]


def as_json(items: Any) -> str:
    return json.dumps(items, ensure_ascii=False)


def named(start: str, end: str, speaker: str | None, text: str) -> list[dict[str, Any]]:
    one = [
        {start: begin, end: stop, text: words, **({speaker: who} if speaker else {})}
        for who, begin, stop, words in SAID
    ]
    return [{"id": number, **item} for number, item in enumerate(one)]


def subtitle(kind: str, with_speakers: Callable[[str, str], str]) -> str:
    file = pysubs2.SSAFile()
    for who, start, end, text in SAID:
        file.append(pysubs2.SSAEvent(start=int(1000 * start), end=int(1000 * end), text=with_speakers(who, text)))
    return file.to_string(kind)


def praat(folder: Path) -> str:
    grid = textgrid.Textgrid(0, 5)
    for name in ("A", "B"):
        entries = [(start, end, text) for who, start, end, text in SAID if who == name]
        grid.addTier(textgrid.IntervalTier(name, entries, 0, 5))
    grid.save(str(folder / "x.TextGrid"), format="short_textgrid", includeBlankSpaces=True)
    return (folder / "x.TextGrid").read_text(encoding="utf-8")


def elan() -> str:
    slots, tiers = "", ""
    for name in ("A", "B"):
        notes = ""
        for number, (who, start, end, text) in enumerate(SAID):
            if who == name:
                for side, time in ((1, start), (2, end)):
                    slots += f'<TIME_SLOT TIME_SLOT_ID="ts{number}{side}" TIME_VALUE="{int(1000 * time)}"/>'
                notes += (
                    f'<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a{number}" TIME_SLOT_REF1="ts{number}1" '
                    f'TIME_SLOT_REF2="ts{number}2"><ANNOTATION_VALUE>{text}</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION>'
                    "</ANNOTATION>"
                )
        tiers += f'<TIER LINGUISTIC_TYPE_REF="default" PARTICIPANT="{name}" TIER_ID="{name}-tier">{notes}</TIER>'
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<ANNOTATION_DOCUMENT FORMAT="3.0" VERSION="3.0"><HEADER/>'
        f"<TIME_ORDER>{slots}</TIME_ORDER>{tiers}"
        '<TIER TIER_ID="gloss" PARENT_REF="A-tier"><ANNOTATION><REF_ANNOTATION ANNOTATION_ID="r" ANNOTATION_REF="a0">'
        "<ANNOTATION_VALUE>not said</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION></TIER></ANNOTATION_DOCUMENT>"
    )


WHISPER = {"text": " ".join(WORDS), "segments": named("start", "end", None, "text"), "language": "en"}
TIMED: dict[str, tuple[str, str, bool]] = {
    # Format, content, whether it names speakers.
    "whisper": ("json", as_json(WHISPER), False),
    "faster-whisper": ("json", as_json(named("start", "end", None, "text")), False),
    "whisperx": (
        "json",
        as_json(
            {
                "segments": [
                    {**one, "words": [{"word": "x", "start": 0.5}]} for one in named("start", "end", "speaker", "text")
                ],
                "word_segments": [],
            }
        ),
        True,
    ),
    "transformers": (
        "json",
        as_json({"text": "", "chunks": [{"timestamp": [start, end], "text": text} for _, start, end, text in SAID]}),
        False,
    ),
    "whisper.cpp": (
        "json",
        as_json(
            {
                "result": {"language": "en"},
                "transcription": [
                    {"offsets": {"from": int(1000 * start), "to": int(1000 * end)}, "text": f" {text}"}
                    for _, start, end, text in SAID
                ],
            }
        ),
        False,
    ),
    "vibevoice": ("json", as_json(named("Start", "End", "Speaker", "Content")), True),
    "vibevoice, its demo": ("json", as_json({"segments": named("start_time", "end_time", "speaker_id", "text")}), True),
    "moss": ("moss", "".join(f"[{start}][S0{ord(who) - 64}]{text}[{end}]" for who, start, end, text in SAID), True),
    "srt": ("srt", subtitle("srt", lambda _, text: text), False),
    "srt of whisperx": ("srt", subtitle("srt", lambda who, text: f"[{who}]: {text}"), True),
    "vtt": ("vtt", subtitle("vtt", lambda who, text: f"{who}: <i>{text}</i>"), True),
    "vtt with voices": (
        "vtt",
        "WEBVTT\n\n" + "\n".join(f"00:{s:06.3f} --> 00:{e:06.3f}\n<v {who}>{text}\n" for who, s, e, text in SAID),
        True,
    ),
    "elan": ("elan", elan(), True),
    "audacity": ("audacity", "".join(f"{s:.6f}\t{e:.6f}\t{who}: {text}\n" for who, s, e, text in SAID), True),
    "audacity without speakers": ("audacity", "".join(f"{s:.6f}\t{e:.6f}\t{text}\n" for _, s, e, text in SAID), False),
}


@pytest.mark.parametrize("tool", [*TIMED, "textgrid"])
def test_what_a_tool_wrote_scores_as_seglst_does(tool: str, tmp_path: Path) -> None:
    kind, content, speakers = TIMED.get(tool) or ("textgrid", praat(tmp_path), True)
    path = tmp_path / "call"  # no suffix, so that the content decides
    path.write_text(content, encoding="utf-8")
    assert detect_format(path) == kind
    found = read_transcripts(path, "hypothesis")
    names = dict.fromkeys(one.speaker for one in found.utterances)
    assert len(names) == (2 if speakers else 1) and bool(found.notes) != speakers
    assert sorted((one.recording, one.start, one.end, one.text) for one in found.utterances) == sorted(
        ("call", start, end, text) for _, start, end, text in SAID
    )
    reference, same = tmp_path / "ref.json", tmp_path / "same.json"
    spoken = [Utterance("call", who if speakers else "x", start, end, text) for who, start, end, text in SAID]
    write_seglst(same, spoken)
    write_seglst(
        reference, [Utterance(one.recording, one.speaker, one.start, one.end, f"{one.text} more") for one in spoken]
    )
    scores = [
        score_transcript_files(reference, hypothesis, "mlcslm-2025", LANGUAGES, jobs=1) for hypothesis in (path, same)
    ]
    counts = [
        {key: score[key] for key in ("errors", "length", "insertions", "deletions", "substitutions")}
        for score in scores
    ]
    assert counts[0] == counts[1]
    assert counts[0]["errors"] >= 3


@pytest.mark.parametrize("kind", ["srt", "vtt", "textgrid", "json"])
def test_what_mlcslm_wrote_is_read(kind: Format, tmp_path: Path) -> None:
    said = [*SAID, ("B", 4.5, 5.0, "")]
    spoken = [Utterance("call", *one) for one in said]
    path = tmp_path / "call.txt"
    path.write_text(conversation(spoken, kind, 6.0), encoding="utf-8")
    found = read_transcripts(path, "hypothesis").utterances
    assert sorted(found, key=lambda one: one.start) == sorted(spoken, key=lambda one: one.start)


TEXTS = {"French-1": "ça va, oui", "French-2": "non", "French-3": ""}


def table(delimiter: str, names: tuple[str, str]) -> str:
    return "\n".join([delimiter.join(names), *(delimiter.join((k, f'"{v}"' if v else v)) for k, v in TEXTS.items())])


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("json", as_json(TEXTS)),
        ("json", as_json({name: {"text": text} for name, text in TEXTS.items()})),
        ("json", as_json([{"id": name, "prediction": text, "text": "reference"} for name, text in TEXTS.items()])),
        ("json", as_json([{"audio": f"wavs/{k}.wav", "language": "French", "text": v} for k, v in TEXTS.items()])),
        ("nemo", "\n".join(as_json({"audio": {"path": f"{k}.wav"}, "transcription": v}) for k, v in TEXTS.items())),
        (
            "nemo",
            "\n".join(as_json({"utterance_id": k, "hypothesis": v, "text": "reference"}) for k, v in TEXTS.items()),
        ),
        ("table", table(",", ("id", "pred_text"))),
        ("table", table("\t", ("file_name", "Transcription")).replace("French-1\t", "French-1.wav\t")),
        ("table", table(";", ("utterance_id", "text"))),
        ("trn", "".join(f"{text} ({name})\n".lstrip() for name, text in TEXTS.items())),
    ],
)
def test_texts_by_name(kind: str, content: str, tmp_path: Path) -> None:
    path = tmp_path / "hyp"
    path.write_text(content, encoding="utf-8")
    assert detect_format(path) == kind
    assert read_texts(path, "hypothesis")[0] == TEXTS
    kaldi, reference = tmp_path / "text", tmp_path / "ref"
    kaldi.write_text("".join(f"{name} {text}\n" for name, text in TEXTS.items()), encoding="utf-8")
    reference.write_text("French-1 ça va\nFrench-2 non merci\nFrench-3 oui\n", encoding="utf-8")
    keys = ("errors", "length", "insertions", "deletions", "substitutions")
    counts = [score_kaldi_texts(reference, one, "mlcslm-2025", LANGUAGES, group="French") for one in (path, kaldi)]
    assert [counts[0][key] for key in keys] == [counts[1][key] for key in keys]


def test_a_table_written_by_python(tmp_path: Path) -> None:
    path = tmp_path / "hyp.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ("path", "sentence", "prediction"))
        writer.writeheader()
        writer.writerows(
            {"path": f"{name}.mp3", "sentence": "reference", "prediction": text} for name, text in TEXTS.items()
        )
    assert read_texts(path, "hypothesis")[0] == TEXTS


@pytest.mark.parametrize(
    "value",
    [
        {"diarization": [{"start": 0.5, "end": 1.5, "speaker": "S0"}, {"start": 1, "end": 2.5, "speaker": "S1"}]},
        {
            "output": {
                "diarization": [{"start": 0.5, "end": 1.5, "speaker": "S0"}, {"start": 1, "end": 2.5, "speaker": "S1"}]
            }
        },
        [{"start": 0.5, "end": 1.5, "label": "S0"}, {"start": 1, "end": 2.5, "label": "S1"}],
        {
            "pyannote": "Annotation",
            "content": [
                {"segment": {"start": 0.5, "end": 1.5}, "track": "A", "label": "S0"},
                {"segment": {"start": 1, "end": 2.5}, "track": "B", "label": "S1"},
            ],
        },
    ],
)
def test_pyannote_gives_turns(value: Any, tmp_path: Path) -> None:
    path = tmp_path / "call.json"
    path.write_text(as_json(value))
    expected = [Segment(0.5, 1.5, "S0"), Segment(1.0, 2.5, "S1")]
    assert read_turns(path, "hypothesis").segments == {("call", ""): expected}
    output = read_system_output([path])
    assert output.turns == {"call": expected} and not output.has_transcripts
    with pytest.raises(UserError, match="which has no"):
        read_transcripts(path, "hypothesis")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"results": {"channels": []}, "metadata": {}}', r"a JSON object with the keys .*channels"),
        (
            '[{"language": "English", "text": "hello"}]',
            "a JSON list of 1 entries, the first of them a JSON object .*language",
        ),
        ("<html></html>", None),
        ('<?xml version="1.0"?><ANNOTATION_DOCUMENT><!ENTITY x "y"></ANNOTATION_DOCUMENT>', "document type"),
        ("WEBVTT\n\nno cue\n", "found no cue"),
        ('File type = "ooTextFile"\nObject class = "TextGrid"\n\n0\n', "cannot be read as a TextGrid"),
    ],
)
def test_what_is_not_recognised_is_described(content: str, said: str | None, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text(content)
    if said is None:
        assert detect_format(path) == "kaldi"
        return
    with pytest.raises(UserError, match=said):
        read_system_output([path])


def test_faults_are_listed_by_entry(tmp_path: Path) -> None:
    path = tmp_path / "call.json"
    path.write_text(
        as_json({"segments": [{"start": 1, "end": 0.5, "text": "x"}, {"start": "now", "end": 2, "text": "y"}]})
    )
    with pytest.raises(FaultyInput) as caught:
        read_system_output([path])
    assert [fault.split(": ")[1] for fault in caught.value.faults] == ["entry 1", "entry 2"]


def test_files_of_a_folder_are_named_by_their_recordings(tmp_path: Path) -> None:
    for name in ("French_1", "French_2"):
        (tmp_path / f"{name}.json").write_text(as_json(WHISPER))
    (tmp_path / "French_3.srt").write_text(subtitle("srt", lambda _, text: text))
    assert {one.recording for one in read_system_output([tmp_path]).utterances} == {"French_1", "French_2", "French_3"}


def test_a_textgrid_in_utf_16_as_praat_saves_other_letters_than_ascii(tmp_path: Path) -> None:
    path = tmp_path / "call.TextGrid"
    path.write_text(praat(tmp_path), encoding="utf-16")
    assert detect_format(path) == "textgrid"
    assert {one.text for one in read_transcripts(path, "reference").utterances} == set(WORDS)
