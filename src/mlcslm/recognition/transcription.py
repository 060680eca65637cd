"""Transcripts of recordings by a ready recogniser, outside the workflow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlcslm.config.languages import Group
from mlcslm.config.recognizers import RecognizerConfig
from mlcslm.corpus.audio import SAMPLE_RATE
from mlcslm.decoding.transcription import recording_rows
from mlcslm.errors import UserError
from mlcslm.recognition.batches import RecognizerDecoder
from mlcslm.recognition.loading import load_recognizer
from mlcslm.runtime.progress import progress


class RecognizerTranscriber:
    """A recogniser that transcribes, with the methods of `mlcslm.decoding.transcription.Transcriber`.

    languages: groups by name, by which a language may be named too. Whoever names none lets the model find it.
    """

    def __init__(self, config: RecognizerConfig, languages: Mapping[str, Group]) -> None:
        self.name = config.model
        self.decoding = config
        self.groups = dict(languages)
        self._recognizer = load_recognizer(config)

    def rows_of(self, audio: Path, group: str | None = None) -> list[dict[str, Any]]:
        """Manifest rows of a recording, split at pauses if it is longer than the model hears at once."""
        longest = round(self._recognizer.longest_s * SAMPLE_RATE)
        return recording_rows(audio, self.find_group(group), longest)

    def decode(self, rows: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """A hypothesis for each row, in the order in which they are found."""
        label = f"transcribing with {self.name}"
        decoder = RecognizerDecoder(self._recognizer, self.decoding, self.groups, label)
        told = [row | {"language": None if row["grp"] is None else self._code(row["grp"])} for row in rows]
        with progress(len(rows), label, "utterance") as bar:
            for hypotheses in decoder.decode(told):
                bar.update(len(hypotheses))
                yield from hypotheses

    def find_group(self, group: str | None) -> str | None:
        """`group` as a group's name or a language's code that the model can be told; None: the model finds it.

        Raises UserError for what is neither a group, nor a code that the model knows.
        """
        if group is None:
            return None
        code = self._code(group)
        if not self._recognizer.knows(code):
            known = sorted({one.language for one in self.groups.values() if self._recognizer.knows(one.language)})
            which = f"Of the groups' languages it knows {', '.join(known)}" if known else "It cannot be told any"
            raise UserError(f"language {group!r}: {self.name} cannot be told it. {which}; omit it to let it be found.")
        return self._named(group) or code

    def group_of(self, token: str | None) -> str | None:
        """The group of the language that was heard; None if there is none, or several."""
        found = [name for name, group in self.groups.items() if group.token == token]
        return found[0] if len(found) == 1 else None

    def _code(self, group: str) -> str:
        """ISO 639-1 code of a group, by its name or language; what is neither is taken for a code."""
        name = self._named(group)
        return group.casefold() if name is None else self.groups[name].language

    def _named(self, group: str) -> str | None:
        """The first group that is called so, or whose language is."""
        wanted = group.casefold()
        names = (
            name
            for name, one in self.groups.items()
            if wanted in (name.casefold(), one.language.casefold(), name.split("-")[0].casefold())
        )
        return next(names, None)
