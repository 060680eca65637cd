from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from mlcslm.config.paper_tables import PaperTable, read_paper_tables, rows_for
from mlcslm.config.reading import read_config, read_config_files
from mlcslm.errors import UserError

TABLES = Path(__file__).parents[2] / "config/tables.yaml"
# Other files there hold tables or figures.
PRESETS = sorted(path for path in TABLES.parent.glob("*.yaml") if "\nstages:" in path.read_text("utf-8"))
# Typed from the paper, row by row: the numbers that each table prints, in its columns' order.
PAPER = {
    "table1": [(0.35, 24.32), (0.2, 18.99), (0.15, 15.48), (0.12, 35.03), (0.1, 13.42)],
    "table2": [(13.42,), (13.15,), (15.44,), (16.12,), (12.73,), (28.29,), (20.75,)],
    "table3": [(0.15, 15.48), (0.14, 14.30)],
    "table4": [(16.72,), (14.04,), (13.90,), (14.26,), (16.39,), (13.55,), (13.68,), (13.61,), (12.73,)],
    "table5": [(16.71, 24.64), (17.28, 19.32), (17.22, 19.27), (16.78, 18.03)],
    "table6": [(21.49, 20.17), (18.99, 20.29), (15.48, 13.86), (13.42, 12.26), (13.15, 11.79), (12.73, 11.57)],
    "table7": [(76.12, 60.39), (24.64, 22.39), (19.32, 18.34), (18.03, 17.67)],
}


@pytest.fixture(scope="module")
def tables() -> dict[str, PaperTable]:
    return read_paper_tables(TABLES)


def test_published_numbers_are_the_papers(tables: dict[str, PaperTable]) -> None:
    found = {
        name: [tuple(row.published[column] for column in table.values) for row in table.rows if row.published]
        for name, table in tables.items()
    }
    assert found == PAPER


def test_labels_name_each_row_once(tables: dict[str, PaperTable]) -> None:
    for table in tables.values():
        labels = [tuple(row.labels.values()) for row in table.rows]
        assert len(set(labels)) == len(labels)


def test_reconstructed_reward_sets_say_so(tables: dict[str, PaperTable]) -> None:
    notes = {row.labels["reward_set"]: row.note for row in tables["table2"].rows}
    assert [label for label, note in notes.items() if note is None] == ["ckpt-10000 (without RL)"]
    assert [label for label, note in notes.items() if note and "uncertain" in note] == [
        "error_type+error_detail",
        "accuracy+correction",
    ]


def test_a_preset_shows_the_rows_that_it_makes(tables: dict[str, PaperTable]) -> None:
    stages = ["baseline-1", "baseline-2", "ckpt-2000", "ckpt-4000", "ckpt-7000"]
    assert [row.measures.system for row in rows_for(tables["table6"], stages, ["greedy"])] == [
        "baseline-2/greedy",
        "ckpt-4000/greedy",
        "ckpt-7000/greedy",
    ]
    assert [row.labels["stage"] for row in rows_for(tables["table1"], stages, ["greedy"])] == [
        "ckpt-2000",
        "ckpt-4000",
        "ckpt-7000",
    ]
    assert rows_for(tables["table6"], stages, ["beam-10-150"]) == []
    assert rows_for(tables["table5"], stages, ["greedy"]) == []
    assert [
        row.measures.diarizer for row in rows_for(tables["table7"], stages, ["greedy"], ["resnet101-8", "baseline"])
    ] == [
        "baseline",
        "resnet101-8",
    ]


def test_own_transcripts_as_context_are_a_row_that_the_paper_does_not_have(tables: dict[str, PaperTable]) -> None:
    without, reference, own = (row for row in tables["table3"].rows if row.labels["stage"] != "control-10000")
    assert without.note is None and "upper bound" in (reference.note or "")
    assert own.published == {} and own.measures.checkpoint == reference.measures.checkpoint
    assert (reference.measures.decoding, own.measures.decoding) == (
        "greedy-reference-context",
        "greedy-hypothesis-context",
    )


def test_labels_of_table_4_are_its_decodings_settings(tables: dict[str, PaperTable]) -> None:
    for row in tables["table4"].rows:
        method, beams, tokens = row.labels.values()
        name = {"multinomial sampling": "multinomial", "beam search": "beam", "Beam+Sampling": "beam-sampling"}[method]
        parts = [name, tokens] if beams == "-" else [name, beams, tokens]
        assert row.measures.decoding == "-".join(parts)


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.stem)
def test_labels_say_what_a_preset_does(tables: dict[str, PaperTable], preset: Path) -> None:
    config = read_config(preset)
    methods = {"multinomial sampling": "multinomial", "beam search": "beam", "Beam+Sampling": "beam+sampling"}
    for row in rows_for(tables["table4"], config.stages, config.decodings):
        decoding = config.decodings[row.measures.decoding or ""]
        beams = "-" if decoding.beams == 1 else str(decoding.beams)
        said = (methods[row.labels["method"]], row.labels["beam_size"], row.labels["max_new_tokens"])
        assert said == (decoding.method, beams, str(decoding.max_new_tokens))
    contexts = [
        config.decodings[row.measures.decoding or ""].context
        for row in rows_for(tables["table3"], config.stages, config.decodings)
    ]
    assert contexts in ([], ["none"], ["none", "reference", "hypotheses"])
    for name in ("table5", "table7"):
        for row in rows_for(tables[name], config.stages, config.decodings, config.diarizers):
            diarizer = config.diarizers[row.measures.diarizer or ""]
            if row.labels["max_segment_s"] != "-":
                assert float(row.labels["max_segment_s"]) == diarizer.max_segment_s
                network = config.embeddings[diarizer.embedding].network
                label = row.labels.get("embedding", row.labels.get("system", ""))
                assert network == {"CAM++": "campplus"}.get(label, label.lower())


@pytest.mark.parametrize("name", ["demo", "small", "paper"])
def test_the_control_is_trained_as_reasoning_is_and_stands_in_two_tables(
    tables: dict[str, PaperTable], name: str
) -> None:
    preset = TABLES.parent / f"{name}.yaml"
    without, config = read_config(preset), read_config_files([preset, TABLES.parent / "controls" / f"{name}.yaml"])
    for control, reasoning in (("control-9000", "ckpt-9000"), ("control-10000", "ckpt-10000")):
        # Whatever a stage says but where it begins, what its answers are, and how the prompt is weighted in them.
        other = {"parent", "template", "prompt_loss_weight", "method"}
        assert config.stages[control].model_dump(exclude=other) == config.stages[reasoning].model_dump(exclude=other)
    for table, rows in (("table3", 3), ("table6", 6)):
        assert len(rows_for(tables[table], without.stages, without.decodings)) == rows
        assert len(rows_for(tables[table], config.stages, config.decodings)) == rows + 1


def test_a_row_of_our_own_needs_no_published_number(tmp_path: Path) -> None:
    row = {"labels": {"stage": "ours"}, "measures": {"checkpoint": "ours", "decoding": "greedy"}}
    path = write(tmp_path, {"table3": {"title": "t", "labels": ["stage"], "values": ["dev"], "rows": [row]}})
    assert read_paper_tables(path)["table3"].rows[0].published == {}


@pytest.mark.parametrize(
    ("place", "value", "expected"),
    [
        (("rows", 1, "published", "dev"), "many", "table6.rows.1.published.dev"),
        (("rows", 1, "published", "dev"), -1, "table6.rows.1.published.dev"),
        (("rows", 2, "published", "devv"), 1.0, "rows.2.published: found ['devv']"),
        (("rows", 0, "labels"), {"checkpoint": "baseline"}, "rows.0.labels: found ['checkpoint']"),
        (("rows", 0, "measures", "decoding"), None, "table6.rows.0.measures"),
        (("rows", 0, "measures", "diarizer"), "x", "table6.rows.0.measures"),
        (("rows", 0, "measured"), {}, "table6.rows.0.measured"),
        (("rows",), None, "table6.rows"),
        (("title",), None, "table6.title"),
    ],
)
def test_faults_name_the_key(tmp_path: Path, place: tuple[Any, ...], value: Any, expected: str) -> None:
    content = yaml.safe_load(TABLES.read_text(encoding="utf-8"))
    section = content["table6"]
    for part in place[:-1]:
        section = section[part]
    section[place[-1]] = value
    path = write(tmp_path, content)
    with pytest.raises(UserError) as raised:
        read_paper_tables(path)
    assert expected in str(raised.value) and str(path) in str(raised.value)


@pytest.mark.parametrize("table", ["table1", "table2", "table3", "table4", "table5"])
def test_only_tables_that_recognisers_add_rows_to_may_have_none(tmp_path: Path, table: str) -> None:
    content = yaml.safe_load(TABLES.read_text(encoding="utf-8"))
    for name in (table, "table6", "table7"):
        content[name]["rows"] = []
    path = write(tmp_path, content)
    with pytest.raises(UserError) as raised:
        read_paper_tables(path)
    title, *faults = str(raised.value).splitlines()
    assert title.startswith(f"{path}: 1 fault(s)")
    assert faults == [f"  {table}.rows: expected at least one row; found []"]
    content[table]["rows"] = yaml.safe_load(TABLES.read_text(encoding="utf-8"))[table]["rows"]
    tables = read_paper_tables(write(tmp_path, content))
    assert not tables["table6"].rows and not tables["table7"].rows


def test_faults_of_the_whole_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        read_paper_tables(tmp_path / "absent.yaml")
    with pytest.raises(UserError, match="table8"):
        read_paper_tables(write(tmp_path, {"table8": {}}))
    (tmp_path / "tables.yaml").write_text("table6: [", encoding="utf-8")
    with pytest.raises(UserError, match="YAML"):
        read_paper_tables(tmp_path / "tables.yaml")


def write(folder: Path, content: Any) -> Path:
    path = folder / "tables.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return path
