"""What NIST's formats mark as unscored or as not a word is excluded and reported; malformed lines are refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlcslm.errors import FaultyInput, UserError
from mlcslm.formats.any_format import read_transcripts
from mlcslm.formats.ctm import read_ctm
from mlcslm.formats.detect import detect_format
from mlcslm.formats.kaldi_text import read_kaldi_text
from mlcslm.formats.nemo import read_nemo
from mlcslm.formats.rttm import read_rttm, read_rttm_channels
from mlcslm.formats.seglst import read_seglst
from mlcslm.formats.segments import Segment, Utterance
from mlcslm.formats.stm import read_nist_stm, read_stm
from mlcslm.formats.zones import read_uem, without
from mlcslm.scoring.files import score_kaldi_texts, score_transcript_files, score_turn_files

SHEET = Path(__file__).parents[2] / "config" / "languages.tsv"


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


def faults(read, path: Path) -> str:
    with pytest.raises(FaultyInput) as caught:
        read(path)
    return "\n".join(caught.value.faults)


def turn(recording: str, start: float, duration: float, speaker: str, channel: str = "1") -> str:
    return f"SPEAKER {recording} {channel} {start} {duration} <NA> <NA> {speaker} <NA> <NA>\n"


def der(folder: Path, reference: str, hypothesis: str, **options) -> dict:
    files = write(folder, "ref.rttm", reference), write(folder, "hyp.rttm", hypothesis)
    return score_turn_files(*files, SHEET, jobs=1, **options)


# Fields are counted


@pytest.mark.parametrize(("count", "fine"), [(8, False), (9, True), (10, True), (11, False)])
def test_rttm_has_ten_fields_or_nine(tmp_path: Path, count: int, fine: bool):
    fields = ["SPEAKER", "a", "1", "0", "1", "<NA>", "<NA>", "O1", *["<NA>"] * (count - 8)]
    path = write(tmp_path, "a.rttm", " ".join(fields))
    if fine:
        assert read_rttm(path) == {"a": [Segment(0, 1, "O1")]}
    else:
        assert f"a.rttm:1: found {count} fields, expected 10" in faults(read_rttm, path)


def test_tabs_keep_a_name_with_a_space_whole(tmp_path: Path):
    rttm = turn("a", 0, 1, "Speaker 1").replace(" <", "\t<").replace("> ", ">\t").replace("a 1 0 1", "a\t1\t0\t1")
    rttm = rttm.replace("SPEAKER ", "SPEAKER\t")
    assert read_rttm(write(tmp_path, "a.rttm", rttm)) == {"a": [Segment(0, 1, "Speaker 1")]}
    stm = read_nist_stm(write(tmp_path, "a.stm", "a\t1\tSpeaker 1\t5.0\t7.0\thello you\n"))
    assert stm.utterances == [Utterance("a", "Speaker 1", 5, 7, "hello you")]
    ctm = read_ctm(write(tmp_path, "a.ctm", "a\t1\t5.0\t0.5\thello\t0.9\tlex\tSpeaker 1\n"))
    assert ctm.words == [Utterance("a", "Speaker 1", 5, 5.5, "hello")]


def test_a_name_cut_at_a_space_is_not_taken_for_a_time(tmp_path: Path):
    lines = "a 1 Speaker 1 5.00 7.50 hello\na 1 Speaker 2 7.50 9.00 you\n"
    found = faults(read_nist_stm, write(tmp_path, "a.stm", lines))
    assert found.count("three numbers after the speaker 'Speaker'") == 2
    amount = write(tmp_path, "b.stm", "a 1 A 1 5.00 7.50 euros\na 1 A 6 8 please\n")
    assert [u.text for u in read_nist_stm(amount).utterances] == ["7.50 euros", "please"]


# STM: labels and unscored zones


def test_labels_are_no_words_and_other_tags_are(tmp_path: Path):
    stm = read_nist_stm(
        write(
            tmp_path,
            "a.stm",
            ';; LABEL "F0" "planned" ""\na 1 A 0 1 <o,f0,male> one\na 1 A 1 2 <f0>\na 1 A 2 3 <NA> two\n'
            "a 1 A 3 4 <unk> three\na 1 A 4 5 four <o,f0>\n",
        )
    )
    assert [u.text for u in stm.utterances] == ["one", "", "two", "<unk> three", "four <o,f0>"]
    notes = stm.notes(zones_used=True)
    assert "removed 3 labels such as <o,f0,male>" in notes[0] and "found 1 text beginning with <unk>" in notes[1]


def test_files_of_our_own_have_no_labels(tmp_path: Path):
    assert read_stm(write(tmp_path, "a.stm", "a 1 A 0 1 <o,f0> one\n"))[0].text == "<o,f0> one"


def test_words_in_a_stretch_that_is_not_scored_are_left_out_on_both_sides(tmp_path: Path):
    reference = (
        "French_1 1 A 0 2 un deux\nFrench_1 1 inter_segment_gap 2 4 <o,,> Ignore_Time_Segment_In_Scoring\n"
        "French_1 1 A 2.5 3.5 trois\nFrench_1 1 A 4 5 quatre\n"
    )
    # By characters, 'aa' to 'dd' lie at 1-2, 2-3, 3-4 and 4-5: the middles of bb and cc are in the stretch.
    files = write(tmp_path, "ref.stm", reference), write(tmp_path, "hyp.stm", "French_1 1 x 1 5 aa bb cc dd\n")
    found = score_transcript_files(*files, "mlcslm-2025", SHEET, jobs=1)
    assert (found["length"], found["errors"], found["deletions"], found["substitutions"]) == (3, 3, 1, 2)
    expected = {"stretches": 1, "seconds": 2.0, "reference_tokens": 1, "hypothesis_tokens": 2}
    assert found["unscored"] == expected
    excluded = "excluded 1 zone marked IGNORE_TIME_SEGMENT_IN_SCORING (2.00 s) from scoring"
    assert any(excluded in note for note in found["notes"])
    # A hypothesis does not say what is scored.
    files = write(tmp_path, "plain.stm", "French_1 1 A 2 4 un\n"), files[0]
    found = score_transcript_files(*files, "mlcslm-2025", SHEET, jobs=1)
    assert "unscored" not in found and "1 line marked" in found["notes"][0]


def test_alternatives_are_refused(tmp_path: Path):
    assert "alternatives '{ uh / um }'" in faults(
        read_nist_stm, write(tmp_path, "a.stm", "a 1 A 0 1 so { uh / um } yes\n")
    )
    assert "'<ALT_BEGIN>'" in faults(read_ctm, write(tmp_path, "a.ctm", "a 1 * * <ALT_BEGIN>\n"))


# RTTM: no-score zones, channels, other types


def test_noscore_regions_are_out_and_false_alarms_in_them_too(tmp_path: Path):
    noscore = "NOSCORE French_1 1 4 4 <NA> <NA> <NA> <NA> <NA>\n"
    reference = turn("French_1", 0, 5, "A") + turn("French_1", 10, 5, "B")
    hypothesis = turn("French_1", 0, 11, "x") + turn("French_1", 11, 4, "y")
    # Without it: 5 s of false alarm and 1 s of confusion of 10 s; with it speech 0-4 and 10-15, false alarm 8-10.
    assert der(tmp_path, reference, hypothesis)["error_rate"] == pytest.approx(0.6)
    found = der(tmp_path, reference + noscore, hypothesis)
    assert [found[name] for name in ("scored_speech", "missed", "false_alarm", "confusion")] == [9, 0, 2, 1]
    assert found["unscored_zones"] == 1 and "excluded 1 NOSCORE zone (4.00 s) from scoring" in found["notes"][0]
    assert der(tmp_path, reference, hypothesis + noscore)["error_rate"] == pytest.approx(0.6)


def test_channels_are_scored_apart(tmp_path: Path):
    reference = turn("French_1", 0, 5, "A") + turn("French_1", 3, 5, "A", "2")
    right = turn("French_1", 0, 5, "x", "1") + turn("French_1", 3, 5, "x", "2")
    found = der(tmp_path, reference, right)
    assert (found["error_rate"], found["channels"], found["recordings"]) == (0, 2, 1)
    assert der(tmp_path, reference, turn("French_1", 0, 5, "x"))["missed"] == 5
    with pytest.raises(FaultyInput, match="French_1: channel 3, expected 1, 2"):
        der(tmp_path, reference, right + turn("French_1", 0, 1, "x", "3"))
    # One channel each: how it is called is no matter.
    assert der(tmp_path, turn("French_1", 0, 5, "A"), turn("French_1", 0, 5, "x", "A"))["error_rate"] == 0


def test_one_name_on_two_channels_is_two_speakers_of_a_recording(tmp_path: Path, caplog):
    path = write(tmp_path, "a.rttm", turn("a", 0, 1, "A") + turn("a", 0, 1, "A", "2") + turn("a", 2, 1, "B"))
    assert [segment.speaker for segment in read_rttm(path)["a"]] == ["1/A", "B", "2/A"]
    assert "found the same speaker name on several channels in 1 recording" in caplog.text


def test_other_types_are_counted_and_unknown_ones_refused(tmp_path: Path):
    kinds = ("LEXEME", "NON-LEX", "A/P", "LEXEME")
    lines = "".join(f"{kind} a 1 0 1 x other A <NA> <NA>\n" for kind in kinds)
    found = read_rttm_channels(write(tmp_path, "a.rttm", lines + turn("a", 0, 1, "A")))
    assert (found.ignored, list(found.turns)) == ({"LEXEME": 2, "NON-LEX": 1, "A/P": 1}, [("a", "1")])
    bad = write(tmp_path, "b.rttm", "SPEAKR a 1 0 1 <NA> <NA> A <NA> <NA>\n")
    assert "type 'SPEAKR'" in faults(read_rttm, bad)


def test_ctm_types_that_are_no_words_are_counted(tmp_path: Path):
    types = ("lex", "fp", "non-lex", "for-lex", "misc", "NA", "fp")
    lines = "".join(f"a 1 {number} 0.5 w{number} 0.5 {kind} A\n" for number, kind in enumerate(types))
    found = read_ctm(write(tmp_path, "a.ctm", lines))
    assert [word.text for word in found.words] == ["w0", "w3", "w5"]
    assert found.notes() == ["ignored 4 tokens of other types than words: 2 fp, 1 misc, 1 non-lex"]
    bad = write(tmp_path, "b.ctm", "a 1 0 1 two words 0.5\na 1 0 1 w 0.5 verb\na 1 0 1 w 1 lex A more\n")
    found = faults(read_ctm, bad)
    assert "confidence 'words'" in found and "type 'verb'" in found and "found 9 fields, expected 5 to 8" in found


# Line ends and half characters


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_are_alike_in_every_reader(tmp_path: Path, end: str):
    def lines(name: str, *these: str) -> Path:
        return write(tmp_path, name, "\ufeff" + end.join(these) + end)

    assert len(read_rttm(lines("a.rttm", turn("a", 0, 1, "A").strip(), turn("a", 1, 1, "B").strip()))["a"]) == 2
    stm = read_nist_stm(lines("a.stm", "a 1 A 0 1 one\u2028two", "a 1 A 1 2 three"))
    assert [u.text for u in stm.utterances] == ["one\u2028two", "three"]
    assert len(read_ctm(lines("a.ctm", "a 1 0 1 one", "a 1 1 1 two")).words) == 2
    assert read_kaldi_text(lines("text", "a one\u2028two", "b three")) == {"a": "one\u2028two", "b": "three"}
    assert len(read_nemo(lines("a.json", '{"id": "a", "text": "x"}', '{"id": "b", "text": "y"}'))) == 2
    entry = '{"session_id": "a", "speaker": "A", "start_time": 0, "end_time": 1, "words": "x"}'
    assert len(read_seglst(lines("b.json", "[", entry, "]"))) == 1
    assert read_uem(lines("a.uem", "a 1 0 1", "b 1 0 2")) == {("a", "1"): [(0, 1)], ("b", "1"): [(0, 2)]}


def test_a_byte_order_mark_inside_is_named(tmp_path: Path):
    for name, read, line in (
        ("a.stm", read_nist_stm, "a 1 A 0 1 one"),
        ("text", read_kaldi_text, "a one"),
        ("a.rttm", read_rttm, turn("a", 0, 1, "A").strip()),
    ):
        joined = write(tmp_path, name, f"\ufeff{line}\n\ufeff{line}x\n")
        assert f"{name}:2: found a byte order mark (U+FEFF)" in faults(read, joined)
    assert r"in the speaker 'A\ufeff'" in faults(read_nist_stm, write(tmp_path, "b.stm", "a 1 A\ufeff 0 1 one\n"))


def test_half_characters_are_named(tmp_path: Path):
    entry = {"session_id": "a", "speaker": "A", "start_time": 0, "end_time": 1, "words": "ok \ud83d"}
    assert r"found a lone surrogate (\ud83d) in the words at column 4" in faults(
        read_seglst, write(tmp_path, "a.json", json.dumps([entry]))
    )
    assert r"(\udc00) in the pred_text" in faults(
        read_nemo, write(tmp_path, "b.json", json.dumps({"id": "a", "pred_text": "\udc00"}))
    )
    assert "byte 0xed" in faults(read_kaldi_text, write(tmp_path, "text", b"a \xed\xa0\xbd\n"))


def test_what_looks_alike_and_is_not_is_said(tmp_path: Path):
    reference = write(tmp_path, "ref", "French-1-O1-000000-000100 é\n")
    found = score_kaldi_texts(
        reference, write(tmp_path, "hyp", "French-1-O1-000000-000100 e\u0301\n"), "mlcslm-2025", SHEET
    )
    assert found["errors"] == 1 and "Unicode NFD" in found["notes"][0]
    files = (
        write(tmp_path, "a.rttm", turn("French_é", 0, 1, "A")),
        write(tmp_path, "b.rttm", turn("French_e\u0301", 0, 1, "A")),
    )
    with pytest.raises(FaultyInput, match="looks like a known name, but this is NFD and that is NFC"):
        score_turn_files(*files, SHEET, jobs=1)


def test_invisible_characters_in_texts_are_said(tmp_path: Path):
    texts = [
        write(tmp_path, name, f"French-1-O1-000000-000100 {text}\n") for name, text in (("a", "où"), ("b", "\u200boù"))
    ]
    found = score_kaldi_texts(*texts, "mlcslm-2025", SHEET)
    assert found["errors"] == 1 and "1 of 1 hypotheses have invisible characters such as U+200B" in found["notes"][0]
    joined = write(tmp_path, "a.json", "[\r1,\r\ufeff2]")
    with pytest.raises(UserError, match=r"a.json:3: not JSON .*found '.ufeff'"):
        read_seglst(joined)


# Groups, UEM, formats


def test_recordings_of_no_group_are_scored_in_words_or_as_a_group(tmp_path: Path, caplog):
    files = write(tmp_path, "a.stm", "tst00 1 A 0 1 ก ข\n"), write(tmp_path, "b.stm", "tst00 1 x 0 1 กข\n")
    found = score_transcript_files(*files, "mlcslm-2025", SHEET, jobs=1)
    assert (found["length"], found["errors"], found["groups"]) == (2, 2, {})
    assert "no name begins with a group" in caplog.text and "scored without groups, in words; set" in caplog.text
    caplog.clear()
    found = score_transcript_files(*files, "mlcslm-2025", SHEET, group="Thai", jobs=1)
    assert (found["errors"], list(found["groups"])) == (0, ["Thai"])
    with pytest.raises(UserError, match=r"found 'Tai', expected one of the languages table.*Did you mean Thai\?"):
        score_transcript_files(*files, "mlcslm-2025", SHEET, group="Tai", jobs=1)
    assert der(tmp_path, turn("tst00", 0, 1, "A"), turn("tst00", 0, 1, "x"))["error_rate"] == 0
    assert "scored without groups; set" in caplog.text  # turns have no words
    texts = write(tmp_path, "text", "utt1 a b\n")
    assert score_kaldi_texts(texts, texts, "mlcslm-2025", SHEET)["length"] == 2


def test_a_uem_says_what_is_scored(tmp_path: Path):
    reference = turn("French_1", 0, 4, "A") + turn("French_2", 0, 4, "A")
    hypothesis = turn("French_1", 0, 10, "x")
    uem = write(tmp_path, "a.uem", ";; zones\nFrench_1 1 2 3\nFrench_1 1 5 6\n")
    found = der(tmp_path, reference, hypothesis, uem=uem)
    assert [found[name] for name in ("scored_speech", "missed", "false_alarm", "confusion")] == [1, 0, 1, 0]
    assert (found["recordings"], found["outside_uem"]) == (1, 1)
    with pytest.raises(UserError, match="has none of the recordings"):
        der(tmp_path, reference, hypothesis, uem=write(tmp_path, "b.uem", "Thai_1 1 0 1\n"))
    bad = write(tmp_path, "c.uem", "French_1 1 0\nFrench_1 1 3 2\n")
    assert "found 3 fields, expected 4" in faults(read_uem, bad) and "c.uem:2: found the end 2 s" in faults(
        read_uem, bad
    )


def test_zones_are_taken_out_of_zones():
    assert without([(0, 4), (3, 6), (8, 9)], [(1, 2), (5, 10)]) == [(0, 1), (2, 5)]


@pytest.mark.parametrize(
    ("text", "expected", "timed"),
    [
        (turn("a", 0, 1, "A"), "rttm", "rttm"),
        ("a 1 A 0.0 1.5 hello\nb 1 B 0.5 2.0\n", "stm", "stm"),
        ("a 1 A 0 1 hello\n", "kaldi", "stm"),
        (";; x\na 1 0.5 0.25 hello\na 1 1.0 0.25 7\n", "ctm", "ctm"),
        ("utt1 room is 12 15\n", "kaldi", "stm"),
        ("utt1 hello\nutt2\n", "kaldi", "kaldi"),
    ],
)
def test_formats_are_told_by_content(tmp_path: Path, text: str, expected: str, timed: str):
    path = write(tmp_path, "unnamed", text)
    assert (detect_format(path), detect_format(path, timed=True)) == (expected, timed)


def test_score_takes_what_evaluate_takes(tmp_path: Path):
    stm = write(tmp_path, "a.stm", "French_1 1 A 0.0 1.0 oui\nFrench_1 1 B 1.0 2.0 non\n")
    rttm = write(tmp_path, "turns", turn("French_1", 0, 1, "x") + turn("French_1", 1, 1, "y"))
    assert score_turn_files(stm, rttm, SHEET, jobs=1)["error_rate"] == 0
    lines = [
        {"audio_filepath": "d/French_1.wav", "offset": at, "duration": 1, "speaker": who, "pred_text": text}
        for at, who, text in ((0, "x", "oui"), (1, "y", "non"))
    ]
    nemo = write(tmp_path, "a.jsonl", "\n".join(map(json.dumps, lines)))
    assert score_transcript_files(stm, nemo, "mlcslm-2025", SHEET, jobs=1)["errors"] == 0
    with pytest.raises(UserError, match="found RTTM, which has no words"):
        read_transcripts(rttm, "hypothesis")
    ids = write(tmp_path, "ids.ctm", "French-1-O1-000000-000100 1 0.5 0.2 deux\nFrench-1-O1-000000-000100 1 0 0.2 un\n")
    text = write(tmp_path, "ref", "French-1-O1-000000-000100 un deux\n")
    assert score_kaldi_texts(text, ids, "mlcslm-2025", SHEET)["errors"] == 0


def test_a_file_against_itself_is_explained(tmp_path: Path):
    text = write(tmp_path, "text", "French-1-O1-000000-000100 Oui, merci beaucoup.\n")
    found = score_kaldi_texts(text, text, "mlcslm-2025", SHEET)
    assert (found["errors"], found["with_normalised_hypotheses"]["errors"]) == (2, 0)
    assert "2 of 2 errors are capitals or punctuation" in found["notes"][0]
    assert "66.67 % as written, 0.00 % normalised" in found["notes"][0]
    for protocol, normalise in (("mlcslm-2025", True), ("whisper-norm", False)):
        found = score_kaldi_texts(text, text, protocol, SHEET, normalise_hypothesis=normalise)
        assert "notes" not in found and "with_normalised_hypotheses" not in found
    stm = write(tmp_path, "a.stm", "French_1 1 A 0 1 Oui, merci.\nFrench_1 1 A 1 2 non\n")
    found = score_transcript_files(stm, stm, "mlcslm-2025", SHEET, jobs=1)
    assert (found["errors"], found["with_normalised_hypotheses"]["errors"]) == (2, 0)


def test_a_ctm_without_speakers_says_that_its_only_channel_counts_as_one(tmp_path: Path):
    one = write(tmp_path, "a.ctm", "a 1 0.0 0.5 hello\na 1 0.6 0.4 you\nb 1 0.0 0.5 hello\nb 2 0.6 0.4 you\n")
    (note,) = read_ctm(one).notes()
    assert note.startswith("names no speaker in 1 recording, whose only channel counts as one")
    named = write(tmp_path, "b.ctm", "a 1 0.0 0.5 hello 0.9 lex O1\na 1 0.6 0.4 you 0.9 lex O2\n")
    assert read_ctm(named).notes() == []
