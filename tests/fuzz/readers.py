"""All readers to fuzz, of hypotheses and of corpora, each with valid files, and how inputs are mutated.

To fuzz another reader, add it to READERS, or to CORPUS_READERS if it belongs to a corpus.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from corpus_readers import CORPUS_READERS

from mlcslm.errors import UserError
from mlcslm.formats.any_format import read_texts, read_transcripts, read_turns
from mlcslm.formats.ctm import read_ctm
from mlcslm.formats.foreign import read_foreign
from mlcslm.formats.kaldi_text import read_kaldi_text
from mlcslm.formats.nemo import read_nemo
from mlcslm.formats.rttm import read_rttm, write_rttm
from mlcslm.formats.seglst import read_seglst, write_seglst
from mlcslm.formats.stm import read_nist_stm, read_stm, write_stm
from mlcslm.formats.system_output import read_system_output
from mlcslm.formats.zones import read_uem

HANG_S = 5.0
"""A reader that computes for longer on a file of a few kilobytes hangs."""
WAIT_S = 60.0
"""So does one that takes longer on the clock, on a machine that has much else to do."""


@dataclass(frozen=True)
class Reader:
    """A reader and its inputs.

    name: of the file, since some readers infer the format from its suffix; read: may only raise UserError; seeds:
    contents that it accepts.
    """

    name: str
    read: Callable[[Path], Any]
    seeds: Sequence[bytes]


RTTM = (
    b";; a comment\nSPKR-INFO French_1 1 <NA> <NA> <NA> unknown O1 <NA> <NA>\n"
    b"SPEAKER French_1 1 0.10 0.20 <NA> <NA> O1 <NA> <NA>\nSPEAKER French_1 2 3 0 <NA> <NA> O1 <NA>\n"
    b"NOSCORE French_1 1 5.00 5.00 <NA> <NA> <NA> <NA> <NA>\n",
    b"SPEAKER\tFrench_1\t1\t0.10\t0.20\t<NA>\t<NA>\tSpeaker 1\t<NA>\t<NA>\r\n",
)
STM = (
    ';; LABEL "O" "Overall" ""\nThai_1 1 O1 0.5 1.25 <o,f0,male> ไม่ OK\nThai_1 1 O2 2 3\n'.encode(),
    b"a 1 inter_segment_gap 0 1 <o,,> IGNORE_TIME_SEGMENT_IN_SCORING\na\t1\tSpeaker 1\t1.0\t2.0\t<O> (uh) yes\n",
)
CTM = (
    b";; by hand\na A 0.1 0.2 hello 0.98\na 1 0.3 0 you 0.5 lex O2\na 1 0.4 0.1 uh 0.5 fp O2\n",
    b"a\t1\t1.0\t0.5\tnew york\tNA\n",
)
SEGLST = (
    b'[\n{"session_id": "a", "speaker": "O1", "start_time": 0, "end_time": 1.5, "words": "caf\\u00e9", "x": [1]},\n'
    b'{"session_id": "a", "speaker": "2", "start_time": "1e0", "end_time": 2, "words": ""}\n]\n',
    b"[]",
)
NEMO = (
    b'{"audio_filepath": "/d/French/1.wav", "offset": 0.5, "duration": 1.5, "speaker": "O1", "pred_text": "oui"}\n'
    b'{"utterance_id": "French-1-O1-000000-000100", "text": "non", "pred_text": "n\\ud83d\\ude00"}\n',
)
KALDI = ("French-1-O1-000000-000100 ça va\r\nThai-1 ไม่ \u2028 OK\n\nid\n".encode(),)
MOSS = ("[0.0][S01]ça va ?[1:02.5]\n[63][S02]oui[64]".encode(),)
WHISPER = (
    b'{"text": "oui", "segments": [{"id": 0, "start": 0.0, "end": 1.5, "text": " oui", "speaker": "S0"}], "x": null}',
    b'[{"Start": 0, "End": 5.20, "Speaker": 0, "Content": "text"}]',
    b'{"chunks": [{"timestamp": [0.0, null], "text": "a"}], "text": "a"}',
    b'{"transcription": [{"offsets": {"from": 0, "to": 1500}, "text": " a"}]}',
    b'{"pyannote": "Annotation", "content": [{"segment": {"start": 0.5, "end": 1.5}, "track": "A", "label": "S0"}]}',
    b'{"French-1-O1-000000-000100": "oui", "French-2": {"text": "non"}}',
    b'[{"audio": {"path": "a.wav"}, "language": "French", "text": "a"}]',
)
SRT = (
    "1\n00:00:01,000 --> 00:00:02,500\n[A]: ça va ?\n\n2\n00:01:01,000 --> 00:01:02,000\n[B]: <i>oui</i>\n".encode(),
)
VTT = (b"WEBVTT\n\n00:01.000 --> 00:02.500\n<v A>yes &amp; no\n\n01:01:01.000 --> 01:01:02.000\n<v.loud B C>yes</v>\n",)
TEXTGRID = (
    b'File type = "ooTextFile"\nObject class = "TextGrid"\n\nxmin = 0\nxmax = 5\ntiers? <exists>\nsize = 1\nitem []:\n'
    b'    item [1]:\n        class = "IntervalTier"\n        name = "A"\n        xmin = 0\n        xmax = 5\n'
    b"        intervals: size = 1\n        intervals [1]:\n            xmin = 0.5\n            xmax = 1.75\n"
    b'            text = "good ""day"""\n',
    b'File type = "ooTextFile"\nObject class = "TextGrid"\n\n0\n5\n<exists>\n1\n"IntervalTier"\n"A"\n0\n5\n1\n'
    b'0.5\n1.75\n"good day"\n',
)
ELAN = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n<ANNOTATION_DOCUMENT><TIME_ORDER>'
    b'<TIME_SLOT TIME_SLOT_ID="1" TIME_VALUE="5"/>'
    b'<TIME_SLOT TIME_SLOT_ID="2" TIME_VALUE="900"/></TIME_ORDER><TIER TIER_ID="A" PARTICIPANT="B"><ANNOTATION>'
    b'<ALIGNABLE_ANNOTATION ANNOTATION_ID="a" TIME_SLOT_REF1="1" TIME_SLOT_REF2="2"><ANNOTATION_VALUE>oui'
    b"</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION></TIER></ANNOTATION_DOCUMENT>",
)
AUDACITY = (b"0.500000\t1.750000\tA: good day\n\\\t100.0\t200.0\n2.000000\t3.000000\tB: yes\n",)
TABLE = (b'file_name,transcription,speaker\nwavs/a.wav,"yes, ""it"" is",A\nb.wav,,\n', b"id\ttext\na\toui\n")
TRN = (b";; by hand\noui non (French-1)\n(a-2)\n",)
UEM = (b"French_1 1 0.0 10\nFrench_1\t1\t12.5\t14\n",)


def _stm(path: Path) -> None:
    for utterance in read_nist_stm(path).utterances:
        if not 0 <= utterance.start <= utterance.end:
            raise AssertionError(f"{utterance} has invalid times")


def _own_stm(path: Path) -> None:
    """What was read survives a round trip, except for white space."""
    found = [replace(utterance, text=" ".join(utterance.text.split())) for utterance in read_stm(path)]
    again = path.with_name("again.stm")
    write_stm(again, found)
    if [utterance for utterance in read_stm(again) if utterance.recording[:2] != ";;"] != [
        utterance for utterance in found if utterance.recording[:2] != ";;"
    ]:
        raise AssertionError(f"{found!r} became {read_stm(again)!r}")


def _seglst(path: Path) -> None:
    found = [entry for entry in read_seglst(path) if len(entry.speaker.split()) == len(entry.recording.split()) == 1]
    named = [entry for entry in found if entry.speaker == entry.speaker.strip()]
    write_seglst(path.with_name("again.json"), [entry for entry in named if entry.recording == entry.recording.strip()])


def _any_format(path: Path) -> None:
    """Read a file of unknown format as `mlcslm evaluate` and `mlcslm score` do; refused if all of them refuse it."""
    refusals = []
    for read in (_evaluated, *(partial(read, side="reference") for read in (read_texts, read_transcripts, read_turns))):
        try:
            read(path)
        except UserError as refusal:
            refusals.append(refusal)
    if len(refusals) == 4:
        raise refusals[0]


def _evaluated(path: Path) -> None:
    for turns in read_system_output([path]).turns.values():
        write_rttm(path.with_name("again.rttm"), {"French_1": turns})


READERS = (
    Reader("a.rttm", lambda path: list(read_rttm(path)), RTTM),
    Reader("b.stm", _own_stm, STM),
    Reader("c.stm", _stm, STM),
    Reader("d.ctm", read_ctm, CTM),
    Reader("e.json", _seglst, SEGLST),
    Reader("f.jsonl", read_nemo, NEMO),
    Reader("text", read_kaldi_text, KALDI),
    Reader("h.uem", read_uem, UEM),
    Reader("i.json", lambda path: read_foreign(path, "json"), WHISPER),
    Reader("moss", lambda path: read_foreign(path, "moss"), MOSS),
    Reader("j.srt", lambda path: read_foreign(path, "srt"), SRT),
    Reader("k.vtt", lambda path: read_foreign(path, "vtt"), VTT),
    Reader("l.TextGrid", lambda path: read_foreign(path, "textgrid"), TEXTGRID),
    Reader("m.eaf", lambda path: read_foreign(path, "elan"), ELAN),
    Reader("labels.txt", lambda path: read_foreign(path, "audacity"), AUDACITY),
    Reader("n.csv", lambda path: read_foreign(path, "table"), TABLE),
    Reader("o.trn", lambda path: read_foreign(path, "trn"), TRN),
    Reader(
        "unknown",
        _any_format,
        (
            *RTTM,
            *STM,
            *CTM,
            *SEGLST,
            *NEMO,
            *KALDI,
            *WHISPER,
            *MOSS,
            *SRT,
            *VTT,
            *TEXTGRID,
            *ELAN,
            *AUDACITY,
            *TABLE,
            *TRN,
        ),
    ),
    *(Reader(*entry) for entry in CORPUS_READERS),
)

TOKENS = (
    *(b"\t", b" ", b"\n", b"\r", b"\r\n", b"\x00", b"\xff", b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"\xc2\xa0", b"\xc2\x85"),
    *(
        b"\xed\xa0\xbd",
        b"\\ud83d",
        b"e\xcc\x81",
        b"\x1b[2J",
        b'"',
        b"\\",
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b";;",
        b"<",
        b">",
    ),
    *(b"-1", b"nan", b"inf", b"1e400", b"1_0", b"0x7fffffff", b"9" * 30, b"9" * 5000, b"[" * 5000, b"1e-400", b"-0"),
    *(b"null", b"true", b"{}", b"NOSCORE", b"SPEAKER", b"<NA>", b"<ALT_BEGIN>", b"<o,f0,male>", b"{ a / b }"),
    *(b"IGNORE_TIME_SEGMENT_IN_SCORING", b"inter_segment_gap", "\u0661".encode(), b"/", b"..", b"~", b"/dev/zero"),
    *(b"|", b"'", b"1e308", b"\x00\x00\x00\x80", b"\xff" * 4, b"data", b"fmt ", b"RIFF"),
)
"""Inserted by mutations: what has broken readers, here or elsewhere."""
HEADER = 64
"""Bytes of a header, which half of the mutations hit."""


def mutate(content: bytes, rng: random.Random) -> bytes:
    """`content` after 1 to 4 changes: bits flipped, pieces removed, doubled, moved or truncated, TOKENS inserted."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        position = rng.randint(0, min(len(data), rng.choice([HEADER, len(data)])))
        length = rng.randint(1, 12)
        match rng.randrange(7):
            case 0 if position < len(data):
                data[position] ^= 1 << rng.randrange(8)
            case 1:
                del data[position : position + length]
            case 2:
                data[position:position] = data[position : position + length]
            case 3:
                data[position:position] = rng.choice(TOKENS)
            case 4:
                data[position : position + length] = rng.choice(TOKENS)
            case 5:
                other = rng.randint(0, len(data))
                data[other:other] = data[position : position + length]
            case 6 if rng.random() < 0.2:
                del data[position:]
    return bytes(data)


@dataclass
class Report:
    """Result of fuzzing a reader: inputs, how many were refused, seconds that the slowest computed, other exceptions.

    failures: an input for each exception other than UserError.
    """

    inputs: int = 0
    refused: int = 0
    slowest_s: float = 0.0
    failures: dict[str, bytes] = field(default_factory=dict)


def try_input(reader: Reader, content: bytes, folder: Path, report: Report) -> None:
    """Give a reader `content` in a file of `folder`, and add the outcome to `report`."""
    path = folder / reader.name
    path.write_bytes(content)
    report.inputs += 1
    began = time.process_time()
    try:
        with _alarm():
            reader.read(path)
    except UserError as refusal:
        report.refused += 1
        if not _is_printable(str(refusal)):
            report.failures.setdefault("a message that cannot be printed", content)
    except Exception as error:
        report.failures.setdefault(f"{type(error).__name__}: {error}"[:200], content)
    report.slowest_s = max(report.slowest_s, time.process_time() - began)


def fuzz(reader: Reader, inputs: int, seed: int) -> Report:
    """Fuzz a reader with mutated seeds, in a folder whose surroundings have to stay as they are."""
    rng, report = random.Random(f"{reader.name}/{seed}"), Report()
    with tempfile.TemporaryDirectory() as place, surroundings(Path(place)) as (folder, touched):
        for _ in range(inputs):
            content = mutate(rng.choice(reader.seeds), rng)
            try_input(reader, content, folder, report)
            if why := touched():
                report.failures.setdefault(why, content)
    return report


@contextmanager
def surroundings(place: Path) -> Iterator[tuple[Path, Callable[[], str | None]]]:
    """A folder to read in, with files beside and above it, a home and a working directory; and a function that says
    what in these has changed since it was last called, None if nothing.

    Relative paths, `..`, `~` and `~root` in an input lead there.
    """
    home, work, folder = (place / name for name in ("home", "work", "above/folder"))
    for one in (home, work, folder, folder.with_name("beside")):
        one.mkdir(parents=True)
        if one != folder:
            (one / "mine.txt").write_text("mine")
    watched = [place, home, work, folder.parent, folder.with_name("beside")]
    # Modification times of folders show new, removed and replaced entries; those of files, writes.
    seen = _stamps(watched)

    def touched() -> str | None:
        nonlocal seen
        before, seen = seen, _stamps(watched)
        changed = sorted(
            str(path.relative_to(place)) for path in {*seen, *before} if seen.get(path) != before.get(path)
        )
        return f"touched {', '.join(changed)}" if changed else None

    before, environment = Path.cwd(), os.environ.get("HOME")
    os.chdir(work)
    os.environ["HOME"] = str(home)
    try:
        yield folder, touched
    finally:
        os.chdir(before)
        os.environ.pop("HOME", None) if environment is None else os.environ.update(HOME=environment)


def _stamps(folders: Sequence[Path]) -> dict[Path, tuple[int, int, int]]:
    """Inode, size and modification time of these folders and of the files in them."""
    paths = [*folders, *(entry for folder in folders for entry in folder.iterdir() if not entry.is_dir())]
    return {path: (status.st_ino, status.st_size, status.st_mtime_ns) for path in paths for status in [path.lstat()]}


def _is_printable(message: str) -> bool:
    """Whether a message can be printed without controlling the terminal."""
    return all(character.isprintable() or character in " \n" for character in message)


@contextmanager
def _alarm() -> Iterator[None]:
    """Raise TimeoutError after `HANG_S` of computing or `WAIT_S` on the clock; works in the main thread only."""

    def ring(number: int, _: object) -> None:
        spent = f"computes for longer than {HANG_S}" if number == signal.SIGPROF else f"takes longer than {WAIT_S}"
        raise TimeoutError(f"{spent} s")

    timers = ((signal.SIGPROF, signal.ITIMER_PROF, HANG_S), (signal.SIGALRM, signal.ITIMER_REAL, WAIT_S))
    before = [signal.signal(number, ring) for number, _, _ in timers]
    for _, timer, seconds in timers:
        signal.setitimer(timer, seconds)
    try:
        yield
    finally:
        for (number, timer, _), handler in zip(timers, before, strict=True):
            signal.setitimer(timer, 0)
            signal.signal(number, handler)
