from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from mlcslm.cli import score
from mlcslm.errors import UserError

LANGUAGES = Path(__file__).parents[2] / "config" / "languages.tsv"
REFERENCES = """\
French-0001_002-O1-000000-000100 Bonjour, ça va ?
French-0001_002-O2-000100-000200 Oui.

Thai-0001_002-O1-000000-000100 ไม่ OK
Thai-0001_002-O2-000100-000200
"""
HYPOTHESES = """\
Thai-0001_002-O1-000000-000100 ไม ok ok ok
French-0001_002-O1-000000-000100 bonjour Ça va
Thai-0001_002-O2-000100-000200
"""
FRENCH = {"errors": 2, "length": 4, "insertions": 0, "deletions": 1, "substitutions": 1, "error_rate": 0.5}
THAI = {"errors": 2, "length": 4, "insertions": 1, "deletions": 0, "substitutions": 1, "error_rate": 0.5}


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    score.register(app)
    return app


@pytest.fixture
def texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    Path("ref").write_text(REFERENCES, encoding="utf-8")
    Path("hyp").write_text(HYPOTHESES, encoding="utf-8")
    return ["ref", "hyp"]


def run(app: typer.Typer, *arguments: str) -> dict:
    result = CliRunner().invoke(app, ["score", "wer", *arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return json.loads(result.stdout)


def test_prints_the_pooled_counts_and_each_group_s(app: typer.Typer, texts: list[str]):
    printed = run(app, "--protocol", "mlcslm-2025", "--languages", str(LANGUAGES), *texts)
    assert printed == {
        "protocol": "mlcslm-2025",
        "errors": 4,
        "length": 8,
        "insertions": 1,
        "deletions": 1,
        "substitutions": 2,
        "error_rate": 0.5,
        "with_normalised_hypotheses": {
            **{"protocol": "mlcslm-2025+normalised-hypothesis", "errors": 3, "error_rate": 3 / 8},
        },
        "notes": [
            "hyp: 1 of 4 errors are capitals or punctuation of the hypotheses, which mlcslm-2025 does not normalise: "
            "50.00 % as written, 37.50 % normalised (--normalise-hypothesis)"
        ],
        "utterances": 4,
        "missing_hypotheses": 1,
        "run_ons": {"utterances": 0, "insertions": 0, "share_of_insertions": 0.0},
        "groups": {"French": FRENCH, "Thai": THAI},
    }


def test_normalising_hypotheses_changes_the_counts_and_the_name(app: typer.Typer, texts: list[str]):
    printed = run(app, "--normalise-hypothesis", *texts)
    assert printed["protocol"] == "mlcslm-2025+normalised-hypothesis"
    assert printed["groups"]["French"]["substitutions"] == 0


def test_the_languages_table_is_the_working_folder_s_or_else_the_checkout_s(app: typer.Typer, texts: list[str]):
    assert run(app, *texts)["groups"].keys() == {"French", "Thai"}
    own = Path("config") / "languages.tsv"
    own.parent.mkdir()
    own.write_text(LANGUAGES.read_text(encoding="utf-8").replace("\nThai\t", "\nSiamese\t"), encoding="utf-8")
    with pytest.raises(UserError, match=r"ref: 2 ids begin with no group[\s\S]*Thai-0001_002-O2-000100-000200"):
        run(app, *texts)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--protocol", "mlcslm"], "expected one of: mlcslm-2025, whisper-norm"),
        (["--languages", "no.tsv"], "no.tsv: no such file"),
    ],
)
def test_wrong_options_are_named(app: typer.Typer, texts: list[str], arguments: list[str], message: str):
    with pytest.raises(UserError, match=message):
        run(app, *arguments, *texts)


def test_hypotheses_without_reference_and_empty_references_are_named(app: typer.Typer, texts: list[str]):
    with Path("hyp").open("a", encoding="utf-8") as file:
        file.write("Thai-0001_002-O2-000100-000300 ok\n")
    with pytest.raises(UserError, match=r"hyp: 1 of 4 .*no reference[\s\S]*Thai-0001_002-O2-000100-000300: not among"):
        run(app, *texts)
    Path("ref").write_text("\n")
    with pytest.raises(UserError, match="ref: found no utterances"):
        run(app, *texts)


def test_help_imports_nothing_heavy():
    code = (
        "import sys, typer; from mlcslm.cli import score; app = typer.Typer(); score.register(app)\n"
        "try: app(['score', 'wer', '--help'])\n"
        "except SystemExit: print([name for name in ('numpy', 'kaldialign', 'torch') if name in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip().endswith("[]")
    assert "--normalise-hypothesis" in printed
