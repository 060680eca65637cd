"""Error counts of two Kaldi text files, for people who bring hypotheses of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from mlcslm.config.languages import Group, group_of_utterance, read_languages
from mlcslm.errors import FaultyInput, UserError, shortened
from mlcslm.formats.kaldi_text import read_kaldi_text
from mlcslm.formats.rttm import read_rttm
from mlcslm.formats.seglst import read_seglst
from mlcslm.formats.segments import Utterance, by_recording
from mlcslm.formats.stm import read_stm
from mlcslm.scoring.der import DiarizationErrors, pool_diarization, score_diarizations
from mlcslm.scoring.error_counts import ErrorCounts, count_run_ons, pool
from mlcslm.scoring.recordings import check_references, groups_of_recordings
from mlcslm.scoring.transcripts import TranscriptErrors, pool_transcripts, score_transcripts
from mlcslm.scoring.wer import SHOWN_IDS, score_texts
from mlcslm.scoring.word_timing import COLLAR
from mlcslm.text.protocols import get_protocol


def score_kaldi_texts(
    reference: Path, hypothesis: Path, protocol: str, languages: Path, *, normalise_hypothesis: bool = False
) -> dict[str, Any]:
    """Pooled error counts of `hypothesis` against `reference` as a value that JSON can hold.

    Keys: protocol; errors, length, insertions, deletions, substitutions, error_rate (a fraction, None without reference
    tokens); utterances, missing_hypotheses; run_ons (utterances, insertions, share_of_insertions); groups, the counts
    and rate of each group that occurs, in the sheet's order. Raises UserError or FaultyInput as its readers do, and for
    an empty reference file and ids of no known group.
    """
    chosen = get_protocol(protocol, normalise_hypothesis)
    languages_table = read_languages(languages)
    references, hypotheses = read_kaldi_text(reference), read_kaldi_text(hypothesis)
    if not references:
        raise UserError(f"{reference}: found no utterances, expected `<utterance id> <text>` a line.")
    groups = _groups_of(references, languages_table, reference)
    counts = score_texts(references, hypotheses, chosen, groups, source=str(hypothesis))
    run_ons = count_run_ons(count.insertions for count in counts.values())
    by_group: dict[str, list[ErrorCounts]] = {name: [] for name in languages_table}
    for utterance_id, count in counts.items():
        by_group[groups[utterance_id].group].append(count)
    return {
        "protocol": chosen.name,
        **_describe(pool(counts.values())),
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


def _groups_of(ids: Iterable[str], languages_table: dict[str, Group], path: Path) -> dict[str, Group]:
    """Group of each utterance, by its id; raises FaultyInput listing the first ten ids of no group."""
    groups: dict[str, Group] = {}
    unknown = []
    for utterance_id in ids:
        try:
            groups[utterance_id] = languages_table[group_of_utterance(utterance_id, languages_table)]
        except UserError:
            unknown.append(utterance_id)
    if unknown:
        raise FaultyInput(
            f"{path}: {len(unknown)} ids begin with no group of the languages table ({', '.join(languages_table)}). "
            "Expected `<group>-<session>-<speaker>-<start>-<end>`:",
            shortened(unknown, SHOWN_IDS),
        )
    return groups


Errors = TypeVar("Errors")


def score_rttm_files(reference: Path, hypothesis: Path, languages: Path, *, jobs: int) -> dict[str, Any]:
    """DER of `hypothesis` against `reference`, with its parts in seconds; docs/scoring.md has the keys.

    Raises UserError or FaultyInput for files that cannot be read, recordings without a reference and recordings of no
    group of `languages`.
    """
    languages_table = read_languages(languages)
    references, hypotheses = read_rttm(reference), read_rttm(hypothesis)
    check_references(references, hypotheses, (str(reference), str(hypothesis)))
    groups = groups_of_recordings(references, languages_table, str(reference))
    errors = score_diarizations(references, hypotheses, jobs=jobs)
    return {
        "collar": 0,
        **_describe_diarization(pool_diarization(errors.values())),
        **_missing(references, hypotheses),
        **_by_group_and_session(errors, groups, languages_table, pool_diarization, _describe_diarization),
    }


def score_transcript_files(
    reference: Path,
    hypothesis: Path,
    protocol: str,
    languages: Path,
    *,
    normalise_hypothesis: bool = False,
    breakdown: bool = False,
    jobs: int,
) -> dict[str, Any]:
    """tcpWER (tcpCER) of `hypothesis` against `reference` and what stands beside it; docs/scoring.md has the keys.

    Files are STM, or SegLST where they end in `.json`. Raises UserError or FaultyInput for an unknown protocol, files
    that cannot be read, recordings without a reference and recordings of no group of `languages`.
    """
    chosen = get_protocol(protocol, normalise_hypothesis)
    languages_table = read_languages(languages)
    references, hypotheses = (by_recording(_read(path)) for path in (reference, hypothesis))
    check_references(references, hypotheses, (str(reference), str(hypothesis)))
    groups = groups_of_recordings(references, languages_table, str(reference))
    errors = score_transcripts(references, hypotheses, groups, chosen, breakdown=breakdown, jobs=jobs)
    by_group = _by_group_and_session(errors, groups, languages_table, pool_transcripts, _describe_transcript)
    return {
        "protocol": chosen.name,
        "collar": COLLAR,
        **_describe_transcript(pool_transcripts(errors.values())),
        "group_mean_error_rate": _mean([group["error_rate"] for group in by_group["groups"].values()]),
        **_missing(references, hypotheses),
        **by_group,
    }


def _read(path: Path) -> list[Utterance]:
    return read_seglst(path) if path.suffix == ".json" else read_stm(path)


def _mean(rates: Iterable[float | None]) -> float | None:
    """Mean of the groups' rates, those without a reference token left out: the 2026 challenge's tcpMER."""
    known = [rate for rate in rates if rate is not None]
    return sum(known) / len(known) if known else None


def _missing(references: Mapping[str, Any], hypotheses: Mapping[str, Any]) -> dict[str, int]:
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
        by_group[groups[recording].group].append(recording_errors)
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
