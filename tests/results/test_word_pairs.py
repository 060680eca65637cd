"""Words that go wrong: table token_pairs, views words and confusions, and their export, against the error counts."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import duckdb
import jiwer
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import toy_inputs as toy

sys.path.pop(0)

from mlcslm.cli.alignments import alignments
from mlcslm.errors import UserError
from mlcslm.results.alignments import export_alignments
from mlcslm.results.database import open_database
from mlcslm.scoring.wer_counts import score_hypotheses
from mlcslm.text.protocols import normalise_reference

pytestmark = pytest.mark.slow

SYSTEM = "ckpt-4000/greedy"
LANGUAGES = Path(__file__).parents[2] / "config" / "languages.tsv"


def mistaken(text: str, number: int) -> str | None:
    """Another answer for each utterance: none, one without its first word, with one more, or with another last one."""
    words = text.lower().replace(".", "").replace("?", "").split()
    changed = [[*words, "more"], words[1:], [*words[:-1], "other"], words]
    return None if number == 4 else " ".join(changed[number % 4])


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy corpus with one system that makes mistakes, scored as the workflow does."""
    inputs = toy.make_inputs(tmp_path_factory.mktemp("mistakes") / "results")
    for split in ("dev", "test"):
        rows = toy.hypothesis_rows(SYSTEM, split)
        texts = [row["text"] for row in toy.manifest_rows(split)]
        for number, (row, text) in enumerate(zip(rows, texts, strict=True)):
            row["transcript"] = mistaken(text, number)
        inputs.with_hypotheses(SYSTEM, split, [row for row in rows if row["transcript"] is not None])
        for row in inputs.systems:
            score_hypotheses(
                inputs.manifests[split],
                inputs.folder / f"hypotheses/{row.system}/{split}.parquet",
                inputs.folder / f"scores/{row.system}/{split}.parquet",
                system=row.system,
                split=split,
                protocol="mlcslm-2025",
                normalise_hypothesis=False,
                languages=LANGUAGES,
            )
    return inputs.build()


def ask(database: Path, query: str, *values: object) -> list[tuple]:
    with open_database(database) as connection:
        return connection.execute(query, list(values)).fetchall()


def test_confusions_add_up_to_the_error_counts(database: Path) -> None:
    kinds = "sum(count) FILTER (kind = 'insertion'), sum(count) FILTER (kind = 'deletion'), sum(count) FILTER "
    found = ask(
        database, f"SELECT system, split, grp, sum(count), {kinds}(kind = 'substitution') FROM confusions GROUP BY ALL"
    )
    counted = ask(
        database,
        "SELECT system, split, grp, sum(errors), sum(insertions), sum(deletions), sum(substitutions) "
        "FROM primary_counts GROUP BY ALL HAVING sum(errors) > 0",
    )
    assert counted
    assert {row[:3]: [int(n or 0) for n in row[3:]] for row in found} == {
        row[:3]: [int(n) for n in row[3:]] for row in counted
    }


def test_words_occur_as_often_as_the_references_have_them(database: Path) -> None:
    found = ask(
        database, "SELECT system, split, grp, sum(occurrences), sum(wrong) FROM words GROUP BY ALL ORDER BY ALL"
    )
    counted = ask(
        database,
        "SELECT system, split, grp, sum(length), sum(deletions) + sum(substitutions) FROM primary_counts "
        "GROUP BY ALL HAVING sum(length) > 0 ORDER BY ALL",
    )
    assert found == counted
    assert ask(database, "SELECT count(*) FROM words WHERE percent_wrong NOT BETWEEN 0 AND 100 OR deleted > wrong") == [
        (0,)
    ]


def test_what_is_heard_is_what_jiwer_aligns(database: Path) -> None:
    """jiwer's alignment is another where several are equally good; here each utterance has but one best."""
    rows = ask(
        database,
        "SELECT u.text, h.transcript FROM utterances AS u JOIN hypotheses AS h USING (split, utterance_id) "
        "JOIN groups AS g USING (grp) WHERE h.system = ? AND split = 'dev' AND g.unit = 'word' AND transcript <> ''",
        SYSTEM,
    )
    expected: Counter[tuple[str, str]] = Counter()
    for text, transcript in rows:
        aligned = jiwer.process_words(normalise_reference(text), transcript)
        meant, heard = aligned.references[0], aligned.hypotheses[0]
        for chunk in aligned.alignments[0]:
            if chunk.type == "substitute":
                sides = meant[chunk.ref_start_idx : chunk.ref_end_idx], heard[chunk.hyp_start_idx : chunk.hyp_end_idx]
                expected.update(zip(*sides, strict=True))
    found = ask(
        database,
        "SELECT reference, hypothesis, sum(count) FROM confusions WHERE kind = 'substitution' AND system = ? "
        "AND split = 'dev' AND grp IN (SELECT grp FROM groups WHERE unit = 'word') GROUP BY ALL",
        SYSTEM,
    )
    assert expected
    assert {(meant, heard): int(count) for meant, heard, count in found} == dict(expected)


def test_the_export_holds_what_the_views_count(database: Path, tmp_path: Path, capsys) -> None:
    alignments(SYSTEM, tmp_path / "out", database=database)
    ((errors, length, utterances),) = ask(
        database,
        "SELECT sum(errors), sum(length), count(*) FROM primary_counts WHERE system = ? AND split = 'dev'",
        SYSTEM,
    )
    assert f"{utterances} utterances, {errors} errors / {length}" in capsys.readouterr().out
    lines = (tmp_path / "out/hyp.prf").read_text(encoding="utf-8").splitlines()
    scores = [list(map(int, line.split()[-4:])) for line in lines if line.startswith("Scores:")]
    assert len(scores) == utterances
    assert sum(sum(row[1:]) for row in scores) == errors
    assert sum(sum(row[:3]) for row in scores) == length
    for file, words in (("ref.trn", length), ("hyp.trn", sum(row[0] + row[1] + row[3] for row in scores))):
        texts = (tmp_path / "out" / file).read_text(encoding="utf-8").splitlines()
        assert sum(len(line.split()) - 1 for line in texts) == words


def test_what_cannot_be_exported(database: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no scores of nobody on dev; expected one of: .*ckpt-4000/greedy"):
        export_alignments(database, "nobody", tmp_path / "out", split="dev")
    with pytest.raises(UserError, match=r"no scores of ckpt-4000/greedy on dev in Welsh"):
        export_alignments(database, SYSTEM, tmp_path / "out", split="dev", groups=["Welsh"])
    assert not (tmp_path / "out").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("mine")
    with pytest.raises(UserError):
        export_alignments(database, SYSTEM, tmp_path / "mine", split="dev")
    with duckdb.connect(str(database), read_only=True):  # nothing keeps it open
        pass
