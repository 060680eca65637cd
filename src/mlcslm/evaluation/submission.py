"""Submissions: `track1.txt` and `track2.stm`, written, read back, and scored by the challenge's own steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlcslm.config.languages import Group, read_languages
from mlcslm.config.schema import Config
from mlcslm.decoding.hypothesis_files import merged_shards
from mlcslm.errors import UserError
from mlcslm.evaluation.external_hypotheses import load_external
from mlcslm.evaluation.matching import References
from mlcslm.evaluation.official import score_track_1, score_track_2
from mlcslm.evaluation.request import configured_request, protocols_of
from mlcslm.formats.kaldi_text import read_kaldi_text
from mlcslm.formats.segments import Utterance, by_recording
from mlcslm.formats.stm import read_stm, write_stm
from mlcslm.io.files import atomic_path, sha256, write_json
from mlcslm.io.parquet import read_table
from mlcslm.scoring.error_counts import ErrorCounts, pool
from mlcslm.scoring.transcripts import score_transcripts
from mlcslm.scoring.wer import score_texts
from mlcslm.scoring.wer_counts import groups_of_rows
from mlcslm.text.protocols import Protocol, get_protocol
from mlcslm.workflow.layout import Layout


@dataclass(frozen=True)
class Submission:
    """What a file is written for, and where: `out`, next to `<name>.json` with the outcome of the checks.

    protocol: of the results. The file has hypotheses as that protocol expects them: raw but for the spaces of the
    official step 2, or normalised if the protocol normalises them. Under `whisper-norm`, which is not one of the
    challenge's, it is written for `mlcslm-2025`.
    """

    system: str
    split: str
    manifest: Path
    languages: Path
    protocol: Protocol
    out: Path
    jobs: int = 1

    @property
    def official_protocol(self) -> Protocol:
        """The protocol whose counts the official steps reproduce on the file."""
        return self.protocol if self.protocol.name.startswith("mlcslm-2025") else get_protocol("mlcslm-2025")


def write_track_1(submission: Submission, transcripts: Mapping[str, str | None]) -> dict[str, Any]:
    """Write `<id> <text>` for every utterance of the manifest, in its order, and return the outcome of the checks.

    transcripts: raw, by utterance id; a missing one is submitted as an empty text. Raises UserError, and writes
    nothing, if the file does not read back as written or its official counts differ from ours.
    """
    references = References(submission.manifest)
    groups = groups_of_rows(
        references.rows, read_languages(submission.languages), submission.manifest, submission.languages
    )
    protocol = submission.official_protocol
    texts = {
        name: " ".join(protocol.hypothesis_tokens(transcripts.get(name) or "", groups[name])) for name in references.ids
    }
    missing = [name for name in texts if transcripts.get(name) is None]

    def check(path: Path) -> dict[str, Any]:
        read = read_kaldi_text(path)
        if list(read.items()) != list(texts.items()):
            raise UserError(f"{submission.out}: does not read back as written; nothing was kept. Please report it.")
        if not _labelled(references):
            return {}
        spoken = dict(zip(references.ids, references.rows["text"], strict=True))
        raw = {name: transcripts.get(name) or "" for name in references.ids}
        return _compare(submission, score_track_1(spoken, read, groups), score_texts(spoken, raw, protocol, groups))

    def write(path: Path) -> None:
        lines = (f"{name} {text}".rstrip() for name, text in texts.items())
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="")

    return _write_and_check(submission, 1, write, check, entries=len(texts), missing=missing)


def write_track_2(submission: Submission, utterances: Iterable[Utterance]) -> dict[str, Any]:
    """Write raw utterances as STM in the order of the manifest's recordings, and return the outcome of the checks.

    A recording without utterances has no line. Raises UserError, and writes nothing, for recordings that the manifest
    lacks, and if the file does not read back as written or its official counts differ from ours.
    """
    references = References(submission.manifest)
    languages_table, protocol = read_languages(submission.languages), submission.official_protocol
    groups = {name: languages_table[group] for name, group in references.groups.items()}
    given = by_recording(utterances)
    if unknown := [name for name in given if name not in groups]:
        raise UserError(
            f"{submission.out}: {unknown[0]} is not a recording of {submission.manifest}; nothing was written."
        )
    raw = {name: sorted(given.get(name, ()), key=lambda spoken: spoken.start) for name in groups}
    spaced = [_spaced(spoken, protocol, groups[name]) for name, all_spoken in raw.items() for spoken in all_spoken]

    def check(path: Path) -> dict[str, Any]:
        if read_stm(path) != spaced:
            raise UserError(f"{submission.out}: does not read back as written; nothing was kept. Please report it.")
        if not _labelled(references):
            return {}
        spoken = by_recording(references.utterances())
        ours = score_transcripts(spoken, raw, groups, protocol, breakdown=False, jobs=submission.jobs)
        official = score_track_2(spoken, path, groups, jobs=submission.jobs)
        return _compare(submission, official, {name: errors.tcp for name, errors in ours.items()})

    missing = [name for name, all_spoken in raw.items() if not all_spoken]
    return _write_and_check(
        submission, 2, lambda path: write_stm(path, spaced), check, entries=len(spaced), missing=missing
    )


def _write_and_check(
    submission: Submission,
    track: int,
    write: Callable[[Path], None],
    check: Callable[[Path], dict[str, Any]],
    *,
    entries: int,
    missing: list[str],
) -> dict[str, Any]:
    """Write the file under a temporary name, check it, and only then rename it."""
    with atomic_path(submission.out) as temporary:
        write(temporary)
        found = {
            **{"system": submission.system, "split": submission.split, "track": track, "entries": entries},
            **{"missing": missing, "sha256": sha256(temporary), "protocol": submission.official_protocol.name},
            **check(temporary),
        }
    write_json(submission.out.with_suffix(".json"), found)
    return found


def _compare(
    submission: Submission, official: Mapping[str, ErrorCounts], ours: Mapping[str, ErrorCounts]
) -> dict[str, Any]:
    """The official counts, pooled. Raises UserError if any differs from ours."""
    if differing := [name for name in ours if official.get(name) != ours[name]]:
        first = differing[0]
        raise UserError(
            f"{submission.out}: {len(differing)} of {len(ours)} counts of the official steps differ from the results, "
            f"first {first}: {official.get(first)}, expected {ours[first]}. Nothing was kept; please report it."
        )
    pooled = pool(official.values())
    return {"errors": pooled.errors, "length": pooled.length, "error_rate": pooled.error_rate}


def _labelled(references: References) -> bool:
    return all(text is not None for text in references.rows["text"])


def _spaced(utterance: Utterance, protocol: Protocol, group: Group) -> Utterance:
    text = " ".join(protocol.hypothesis_tokens(utterance.text, group))
    return Utterance(utterance.recording, utterance.speaker, float(utterance.start), float(utterance.end), text)


def write_submission(
    config: Config, layout: Layout, system: str, split: str, track: int, out: Path, *, jobs: int
) -> dict[str, Any]:
    """Write a system's submission for a split to `out`; return the outcome of the checks.

    Raises UserError for an external system of the other track, and as `write_track_1` and `write_track_2` do.
    """
    submission = Submission(
        system, split, layout.manifest(split), Path(config.languages), protocols_of(config)[0], out, jobs
    )
    if system in config.systems:
        loaded = load_external(configured_request(config, layout, system, split, jobs=jobs))
        if loaded.track != track or (track == 2 and loaded.transcripts is None):
            raise UserError(f"systems.{system}: its files have no transcripts for Track {track}; nothing to submit.")
        if track == 1:
            return write_track_1(submission, loaded.texts)
        return write_track_2(submission, [u for spoken in (loaded.transcripts or {}).values() for u in spoken])
    files = [Path(path) for path in layout.submission_inputs(system, split, track)]
    if track == 2:
        return write_track_2(submission, read_stm(files[0]))
    if files == [layout.external_hypotheses(system, split)]:  # by `mlcslm evaluate`; what it lacks is missing
        answers = read_table(files[0], columns=["utterance_id", "transcript"]).to_pydict()
        return write_track_1(submission, dict(zip(answers["utterance_id"], answers["transcript"], strict=True)))
    return write_track_1(submission, _transcripts(files, submission.manifest))


def _transcripts(shards: Sequence[Path], manifest: Path) -> dict[str, str | None]:
    columns = merged_shards(shards, manifest).select(["utterance_id", "transcript"]).to_pydict()
    return dict(zip(columns["utterance_id"], columns["transcript"], strict=True))
