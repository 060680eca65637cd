"""Error counts of a hypothesis file against a reference file, as `mlcslm score` prints them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from mlcslm.config.languages import Group, group_of_utterance, read_languages
from mlcslm.config.systems import FileFormat
from mlcslm.errors import FaultyInput, UserError, shortened
from mlcslm.formats.any_format import Turns, log_notes, read_texts, read_transcripts, read_turns
from mlcslm.formats.rttm import Channel
from mlcslm.formats.segments import Utterance, by_recording
from mlcslm.formats.zones import Zone, read_uem
from mlcslm.scoring.der import STRICT, DerOptions, DerTask, DiarizationErrors, pool_diarization, score_tasks
from mlcslm.scoring.error_counts import ErrorCounts, count_run_ons, pool
from mlcslm.scoring.explanation import describe_normalised, explain_characters, explain_normalisation, normalising
from mlcslm.scoring.recordings import (
    GROUPLESS,
    MAX_LISTED_RECORDINGS,
    assign_groups,
    check_references,
    groups_of_recordings,
)
from mlcslm.scoring.transcripts import (
    TranscriptErrors,
    TranscriptTask,
    map_transcripts,
    pool_transcripts,
    score_tcp_alone,
    score_transcripts,
)
from mlcslm.scoring.wer import score_texts
from mlcslm.scoring.word_timing import COLLAR
from mlcslm.text.protocols import Protocol, get_protocol


def score_kaldi_texts(
    reference: Path,
    hypothesis: Path,
    protocol: str,
    languages: Path,
    *,
    normalise_hypothesis: bool = False,
    group: str | None = None,
    file_format: FileFormat = "auto",
) -> dict[str, Any]:
    """Pooled error counts of `hypothesis` against `reference`, as a value for JSON.

    Files are Kaldi text, or of another format with texts by id (`read_texts`); group: of all utterances, by default
    inferred from their ids; file_format: of `hypothesis`, by default detected.

    Keys: protocol; errors, length, insertions, deletions, substitutions, error_rate (a fraction, None without reference
    tokens); with_normalised_hypotheses, if the protocol leaves hypotheses unchanged; utterances, missing_hypotheses;
    run_ons (utterances, insertions, share_of_insertions); groups, counts and rate of each group that occurs, in the
    order of the languages table. Raises UserError or FaultyInput as the readers do, and for an empty reference file and
    ids of no known group.
    """
    chosen = get_protocol(protocol, normalise_hypothesis)
    languages_table = read_languages(languages)
    (references, reference_notes), (hypotheses, notes) = (
        read_texts(reference, "reference"),
        read_texts(hypothesis, "hypothesis", file_format),
    )
    if not references:
        raise UserError(f"{reference}: found no utterances, expected `<utterance id> <text>` per line.")
    groups = _groups_of(references, languages_table, reference, group)
    counts = score_texts(references, hypotheses, chosen, groups, source=str(hypothesis))
    pooled = pool(counts.values())
    explained: list[str | None] = [*notes, *explain_characters(references.values(), hypotheses.values())]
    normalised: dict[str, Any] = {}
    if other := normalising(chosen):
        under_other = pool(score_texts(references, hypotheses, other, groups, source=str(hypothesis)).values())
        explained.append(explain_normalisation(pooled, under_other, chosen.name))
        normalised = {"with_normalised_hypotheses": describe_normalised(under_other, other)}
    logged = log_notes(reference, reference_notes) + log_notes(hypothesis, explained)
    run_ons = count_run_ons(count.insertions for count in counts.values())
    by_group: dict[str, list[ErrorCounts]] = {name: [] for name in languages_table}
    for utterance_id, count in counts.items():
        by_group.setdefault(groups[utterance_id].group, []).append(count)
    by_group.pop(GROUPLESS.group, None)
    return {
        "protocol": chosen.name,
        **_describe(pooled),
        **normalised,
        **({"notes": logged} if logged else {}),
        "utterances": len(counts),
        "missing_hypotheses": len(references) - len(hypotheses),
        "run_ons": {
            "utterances": run_ons.utterances,
            "insertions": run_ons.insertions,
            "share_of_insertions": run_ons.share,
        },
        "groups": {name: _describe(pool(group_counts)) for name, group_counts in by_group.items() if group_counts},
    }


def _describe(counts: ErrorCounts) -> dict[str, Any]:
    return {
        "errors": counts.errors,
        "length": counts.length,
        "insertions": counts.insertions,
        "deletions": counts.deletions,
        "substitutions": counts.substitutions,
        "error_rate": counts.error_rate,
    }


def _groups_of(
    ids: Iterable[str], languages_table: dict[str, Group], path: Path, group: str | None
) -> dict[str, Group]:
    """Group of each utterance, by id. Raises FaultyInput listing the first ten ids of no group."""

    def find(utterance_id: str) -> Group | None:
        try:
            return languages_table[group_of_utterance(utterance_id, languages_table)]
        except UserError:
            return None

    expected = "`<group>-<session>-<speaker>-<start>-<end>`"
    return assign_groups(ids, find, languages_table, str(path), group, kind="ids", expected=expected)


Errors = TypeVar("Errors")
Value = TypeVar("Value")


def score_turn_files(
    reference: Path,
    hypothesis: Path,
    languages: Path,
    *,
    group: str | None = None,
    options: DerOptions = STRICT,
    uem: Path | None = None,
    file_format: FileFormat = "auto",
    jobs: int,
) -> dict[str, Any]:
    """DER of `hypothesis` against `reference`, with its parts in seconds; docs/scoring.md lists the keys.

    Files are RTTM, or transcripts, whose utterances then count as turns. The channels of a recording are scored
    separately. group: of all recordings, by default inferred from their names; uem: the zones to score, by default each
    recording from its first start to its last end; file_format: of `hypothesis`, by default detected. Raises UserError
    or FaultyInput for files that cannot be read, recordings and channels without a reference, recordings of no group of
    `languages`, and a UEM with none of the recordings.
    """
    languages_table = read_languages(languages)
    sides = read_turns(reference, "reference"), read_turns(hypothesis, "hypothesis", file_format)
    logged = [
        note for path, side in zip((reference, hypothesis), sides, strict=True) for note in log_notes(path, side.notes)
    ]
    tasks, outside = _der_tasks(*sides, (reference, hypothesis), options, uem)
    recordings = list(dict.fromkeys(recording for recording, _ in tasks))
    groups = groups_of_recordings(recordings, languages_table, str(reference), group, without="scored without groups")
    by_channel = score_tasks(tasks, jobs=jobs)
    errors = {name: DiarizationErrors.zero() for name in recordings}
    for (name, _), of_channel in by_channel.items():
        errors[name] += of_channel
    zones = sum(len(of_channel) for channel, of_channel in sides[0].unscored.items() if channel in tasks)
    return {
        "collar": options.collar,
        "skip_overlap": options.skip_overlap,
        **({"uem": str(uem), "outside_uem": outside} if uem else {}),
        **_describe_diarization(pool_diarization(errors.values())),
        **({"notes": logged} if logged else {}),
        **({"unscored_zones": zones} if zones else {}),
        **({"channels": len(tasks)} if len(tasks) > len(recordings) else {}),
        **_missing(errors, {recording for recording, _ in sides[1].segments}),
        **_by_group_and_session(errors, groups, languages_table, pool_diarization, _describe_diarization),
    }


def _der_tasks(
    reference: Turns, hypothesis: Turns, paths: tuple[Path, Path], options: DerOptions, uem: Path | None
) -> tuple[dict[Channel, DerTask], int]:
    """What to score in each channel of the reference, and how many recordings the UEM excludes."""
    names = [list(dict.fromkeys(recording for recording, _ in turns.segments)) for turns in (reference, hypothesis)]
    check_references(names[0], names[1], (str(paths[0]), str(paths[1])))
    found = _on_channels(hypothesis.segments, reference.segments, paths[1])
    unscored = _on_channels(reference.unscored, reference.segments, paths[0], strict=False)
    scored = None if uem is None else _on_channels(read_uem(uem), reference.segments, uem, strict=False)
    tasks = {
        channel: DerTask(
            spoken,
            found.get(channel, ()),
            None if scored is None else scored[channel],
            unscored.get(channel, ()),
            options,
        )
        for channel, spoken in reference.segments.items()
        if scored is None or channel in scored
    }
    outside = [name for name in names[0] if name not in {recording for recording, _ in tasks}]
    if not tasks:
        raise UserError(f"{uem}: has none of the recordings of {paths[0]}, such as {names[0][0]}; nothing to score.")
    if uem and outside:
        log_notes(uem, [f"excludes {len(outside)} of {len(names[0])} recordings: {', '.join(shortened(outside, 3))}"])
    return tasks, len(outside)


def _on_channels(
    given: Mapping[Channel, Sequence[Value]],
    reference: Mapping[Channel, Any],
    path: Path,
    *,
    strict: bool = True,
) -> dict[Channel, Sequence[Value]]:
    """A file's values by channel, under the reference's channel names, which do not matter if both sides have just one.

    strict: whether a channel that the reference lacks is a fault; otherwise it is skipped.
    """
    of_reference, of_given = _channels(reference), _channels(given)
    found: dict[Channel, Sequence[Value]] = {}
    unknown = []
    for (recording, channel), values in given.items():
        known = of_reference.get(recording, [])
        if len(known) == 1 and len(of_given[recording]) == 1:
            found[recording, known[0]] = values
        elif channel in known:
            found[recording, channel] = values
        elif recording in of_reference:
            unknown.append(f"{recording}: channel {channel or '(unnamed)'}, expected {', '.join(known)}")
    if unknown and strict:
        raise FaultyInput(
            f"{path}: {len(unknown)} channels have no reference; correct or remove:",
            shortened(unknown, MAX_LISTED_RECORDINGS),
        )
    return found


def _channels(given: Mapping[Channel, Any]) -> dict[str, list[str]]:
    channels: dict[str, list[str]] = {}
    for recording, channel in given:
        channels.setdefault(recording, []).append(channel)
    return channels


def score_transcript_files(
    reference: Path,
    hypothesis: Path,
    protocol: str,
    languages: Path,
    *,
    normalise_hypothesis: bool = False,
    group: str | None = None,
    breakdown: bool = False,
    file_format: FileFormat = "auto",
    jobs: int,
) -> dict[str, Any]:
    """tcpWER (tcpCER) of `hypothesis` against `reference`, and related rates; docs/scoring.md lists the keys.

    Files are STM, SegLST, CTM or NeMo lines; group: of all recordings, by default inferred from their names;
    file_format: of `hypothesis`, by default detected. Zones that the reference marks as unscored are excluded on both
    sides. Raises UserError or FaultyInput for an unknown protocol, files that cannot be read, recordings without a
    reference and recordings of no group of `languages`.
    """
    chosen = get_protocol(protocol, normalise_hypothesis)
    languages_table = read_languages(languages)
    sides = read_transcripts(reference, "reference"), read_transcripts(hypothesis, "hypothesis", file_format)
    logged = [
        note for path, side in zip((reference, hypothesis), sides, strict=True) for note in log_notes(path, side.notes)
    ]
    references, hypotheses = (by_recording(side.utterances) for side in sides)
    check_references(references, hypotheses, (str(reference), str(hypothesis)))
    groups = groups_of_recordings(references, languages_table, str(reference), group)
    unscored = sides[0].unscored
    errors = score_transcripts(
        references, hypotheses, groups, chosen, breakdown=breakdown, unscored=unscored, jobs=jobs
    )
    pooled = pool_transcripts(errors.values())
    notes: list[str | None] = [*explain_characters(*([u.text for u in side.utterances] for side in sides))]
    normalised: dict[str, Any] = {}
    if other := normalising(chosen):
        counts = {name: of_recording.tcp for name, of_recording in errors.items()}
        under_other = pool(
            (counts | count_changed(references, hypotheses, groups, (chosen, other), unscored, jobs=jobs)).values()
        )
        notes.append(explain_normalisation(pooled.tcp, under_other, chosen.name))
        normalised = {"with_normalised_hypotheses": describe_normalised(under_other, other)}
    logged += log_notes(hypothesis, notes)
    by_group = _by_group_and_session(errors, groups, languages_table, pool_transcripts, _describe_transcript)
    return {
        "protocol": chosen.name,
        "collar": COLLAR,
        **_describe_transcript(pooled),
        **normalised,
        **({"notes": logged} if logged else {}),
        **_describe_unscored(unscored, pooled),
        "group_mean_error_rate": _mean([group["error_rate"] for group in by_group["groups"].values()]),
        **_missing(references, hypotheses),
        **by_group,
    }


def count_changed(
    references: Mapping[str, Sequence[Utterance]],
    hypotheses: Mapping[str, Sequence[Utterance]],
    groups: Mapping[str, Group],
    protocols: tuple[Protocol, Protocol],
    unscored: Mapping[str, Sequence[Zone]],
    *,
    jobs: int,
) -> dict[str, ErrorCounts]:
    """tcpWER's counts under the second protocol, for recordings whose hypothesis it tokenises differently."""
    changed = [
        name
        for name, spoken in hypotheses.items()
        if any(
            protocols[0].hypothesis_tokens(u.text, groups[name]) != protocols[1].hypothesis_tokens(u.text, groups[name])
            for u in spoken
        )
    ]
    tasks = [
        TranscriptTask(references[name], hypotheses[name], groups[name], protocols[1], False, unscored.get(name, ()))
        for name in changed
    ]
    return dict(zip(changed, map_transcripts(score_tcp_alone, tasks, jobs=jobs), strict=True))


def _describe_unscored(unscored: Mapping[str, Sequence[Zone]], errors: TranscriptErrors) -> dict[str, Any]:
    if not unscored:
        return {}
    zones = [zone for of_recording in unscored.values() for zone in of_recording]
    return {
        "unscored": {
            "stretches": len(zones),
            "seconds": round(sum(end - start for start, end in zones), 6),
            "reference_tokens": errors.unscored_reference,
            "hypothesis_tokens": errors.unscored_hypothesis,
        }
    }


def _mean(rates: Iterable[float | None]) -> float | None:
    """Mean of the groups' rates, skipping groups without a reference token: the 2026 challenge's tcpMER."""
    known = [rate for rate in rates if rate is not None]
    return sum(known) / len(known) if known else None


def _missing(references: Collection[str], hypotheses: Collection[str]) -> dict[str, int]:
    return {"recordings": len(references), "missing_hypotheses": sum(name not in hypotheses for name in references)}


def _by_group_and_session(
    errors: Mapping[str, Errors],
    groups: Mapping[str, Group],
    languages_table: Mapping[str, Group],
    pool: Callable[[Iterable[Errors]], Errors],
    describe: Callable[[Errors], dict[str, Any]],
) -> dict[str, Any]:
    by_group: dict[str, list[Errors]] = {name: [] for name in languages_table}
    for recording, recording_errors in errors.items():
        by_group.setdefault(groups[recording].group, []).append(recording_errors)
    by_group.pop(GROUPLESS.group, None)
    return {
        "groups": {name: describe(pool(of_group)) for name, of_group in by_group.items() if of_group},
        "sessions": {recording: describe(of_session) for recording, of_session in errors.items()},
    }


def _describe_diarization(errors: DiarizationErrors) -> dict[str, Any]:
    return {name: round(seconds, 6) for name, seconds in asdict(errors).items()} | {"error_rate": errors.error_rate}


def _describe_transcript(errors: TranscriptErrors) -> dict[str, Any]:
    length = errors.tcp.length

    def rate(count: int) -> dict[str, Any]:
        return {"errors": count, "error_rate": count / length if length else None}

    return {
        **asdict(errors.tcp),
        "error_rate": errors.tcp.error_rate,
        **({} if errors.breakdown is None else {"breakdown": asdict(errors.breakdown)}),
        "cpwer": rate(errors.cp),
        "tcorcwer": {**rate(errors.orc), "exact": errors.orc_exact},
    }
