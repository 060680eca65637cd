"""Rows of Tables 6 and 7 for ready recognisers, and Table 8 of recipes, which the paper does not have."""

from __future__ import annotations

from collections.abc import Mapping

from mlcslm.config.paper_tables import WITH_OWN_ROWS, Measures, PaperRow, PaperTable
from mlcslm.config.schema import Config

RECIPES = "table8"
"""The table of the configuration's recipes, of which `config/tables.yaml` knows nothing."""


def with_own_rows(tables: Mapping[str, PaperTable], config: Config) -> dict[str, PaperTable]:
    """`tables` with a row in Table 6 for each recogniser, and in Table 7 for each diarizer that one transcribes,
    or whose checkpoint itself says who speaks when; and Table 8 if the configuration has recipes.

    Each says in its note that it is not in the paper. Systems that `tables` has rows for already get no second one.
    """
    found = dict(tables)
    for name, rows in zip(WITH_OWN_ROWS, (_recognizers(config), _diarizers(config)), strict=True):
        if name in found:
            table = found[name]
            known = [row.measures for row in table.rows]
            new = [
                PaperRow(labels=_labels(table, labels), measures=measures, note=f"not in the paper: {note}")
                for labels, measures, note in rows
                if measures not in known
            ]
            found[name] = table.model_copy(update={"rows": [*table.rows, *new]})
    return found | ({RECIPES: _recipes(config)} if config.recipes else {})


def _recipes(config: Config) -> PaperTable:
    rows = [
        PaperRow(
            labels={"recipe": name},
            measures=Measures(checkpoint=recipe.checkpoint, decoding=recipe.decoding),
            note=recipe.note or None,
        )
        for name, recipe in config.recipes.items()
    ]
    title = "Table 8: our recipes, each against a control of the same cost"
    return PaperTable(title=title, labels=["recipe"], values=["dev", "test"], rows=rows)


def _recognizers(config: Config) -> list[tuple[list[str], Measures, str]]:
    return [
        (
            [name, "ready recogniser"],
            Measures(checkpoint=name, decoding=one.decoding_name),
            f"{one.model} as it is, {_search(one.decoding.beams)}, language {one.language}",
        )
        for name, one in config.recognizers.items()
    ]


def _diarizers(config: Config) -> list[tuple[list[str], Measures, str]]:
    return [
        (
            [name, f"{diarizer.max_segment_s:g}" if diarizer.stretch_s is None else f"{diarizer.stretch_s:g}"],
            Measures(diarizer=name),
            f"segments transcribed by the ready recogniser {diarizer.asr.recognizer}"
            if diarizer.stretch_s is None
            else f"{diarizer.asr.checkpoint} answers stretches of a session with speakers, times and words",
        )
        for name, diarizer in config.diarizers.items()
        if diarizer.asr.recognizer is not None or diarizer.stretch_s is not None
    ]


def _search(beams: int) -> str:
    return "greedy search" if beams == 1 else f"{beams} beams"


def _labels(table: PaperTable, texts: list[str]) -> dict[str, str]:
    """The row's label columns: `texts` in order, and a dash where a table has more columns."""
    padded = texts + ["-"] * len(table.labels)
    return dict(zip(table.labels, padded, strict=False))
