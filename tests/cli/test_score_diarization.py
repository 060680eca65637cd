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
from mlcslm.formats.seglst import write_seglst
from mlcslm.formats.stm import read_stm

LANGUAGES = Path(__file__).parents[2] / "config" / "languages.tsv"
RTTM = """\
SPEAKER American_1 1 0 4 <NA> <NA> O1 <NA> <NA>
SPEAKER American_1 1 4 2 <NA> <NA> O2 <NA> <NA>
SPEAKER Thai_1 1 1 1 <NA> <NA> O1 <NA> <NA>
"""
STM = """\
American_1 1 O1 0 4 A b, c d.
American_1 1 O2 4 6 E f!
Thai_1 1 O1 1 2 กข
"""


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> typer.Typer:
    monkeypatch.chdir(tmp_path)
    for name, text in (("ref.rttm", RTTM), ("ref.stm", STM)):
        Path(name).write_text(text, encoding="utf-8")
    app = typer.Typer()
    score.register(app)
    return app


def run(app: typer.Typer, *arguments: str) -> dict:
    result = CliRunner().invoke(app, ["score", *arguments, "--languages", str(LANGUAGES)], catch_exceptions=False)
    assert result.exit_code == 0
    return json.loads(result.stdout)


def der(scored: float, missed: float, false_alarm: float, confusion: float, rate: float) -> dict[str, float]:
    seconds = {"scored_speech": scored, "missed": missed, "false_alarm": false_alarm, "confusion": confusion}
    return seconds | {"error_rate": pytest.approx(rate)}


def test_der_is_printed_pooled_by_group_and_by_session(app: typer.Typer):
    Path("hyp.rttm").write_text("SPEAKER American_1 1 1 5 <NA> <NA> x <NA> <NA>\n")
    american, thai = der(6, 1, 0, 2, 3 / 6), der(1, 1, 0, 0, 1)
    assert run(app, "der", "ref.rttm", "hyp.rttm", "--jobs", "1") == {
        "collar": 0,
        "skip_overlap": False,
        **der(7, 2, 0, 2, 4 / 7),
        "recordings": 2,
        "missing_hypotheses": 1,
        "groups": {"English-American": american, "Thai": thai},
        "sessions": {"American_1": american, "Thai_1": thai},
    }


def test_tcpwer_is_printed_pooled_by_group_and_by_session(app: typer.Typer):
    Path("hyp.stm").write_text("American_1 1 x 0 6 a b c D e f\n")
    american = {
        **{"errors": 5, "length": 6, "insertions": 2, "deletions": 2, "substitutions": 1, "error_rate": 5 / 6},
        "cpwer": {"errors": 5, "error_rate": 5 / 6},
        "tcorcwer": {"errors": 1, "error_rate": 1 / 6, "exact": True},
    }
    thai = {
        **{"errors": 2, "length": 2, "insertions": 0, "deletions": 2, "substitutions": 0, "error_rate": 1.0},
        "cpwer": {"errors": 2, "error_rate": 1.0},
        "tcorcwer": {"errors": 2, "error_rate": 1.0, "exact": True},
    }
    expected = {
        **{"protocol": "mlcslm-2025", "collar": 5},
        **{"errors": 7, "length": 8, "insertions": 2, "deletions": 4, "substitutions": 1, "error_rate": 7 / 8},
        "cpwer": {"errors": 7, "error_rate": 7 / 8},
        "tcorcwer": {"errors": 3, "error_rate": 3 / 8, "exact": True},
        "with_normalised_hypotheses": {
            **{"protocol": "mlcslm-2025+normalised-hypothesis", "errors": 6, "error_rate": 6 / 8},
        },
        "notes": [
            "hyp.stm: 1 of 7 errors are capitals or punctuation of the hypotheses, which mlcslm-2025 does not "
            "normalise: 87.50 % as written, 75.00 % normalised (--normalise-hypothesis)"
        ],
        "group_mean_error_rate": (5 / 6 + 1) / 2,
        "recordings": 2,
        "missing_hypotheses": 1,
        "groups": {"English-American": american, "Thai": thai},
        "sessions": {"American_1": american, "Thai_1": thai},
    }
    assert run(app, "tcpwer", "ref.stm", "hyp.stm", "--protocol", "mlcslm-2025") == expected
    write_seglst("hyp.json", read_stm("hyp.stm"))
    assert run(app, "tcpwer", "ref.stm", "hyp.json") == expected | {
        "notes": [expected["notes"][0].replace(".stm", ".json")]
    }
    Path("hyp.words").write_text(Path("hyp.stm").read_text())
    assert run(app, "tcpwer", "ref.stm", "hyp.words", "--format", "stm")["error_rate"] == expected["error_rate"]
    broken_down = run(app, "tcpwer", "ref.stm", "hyp.stm", "--breakdown")
    assert broken_down["breakdown"] == {"timing": 0, "confusion": 4, "missed": 2, "false_alarm": 0, "recognition": 1}
    assert broken_down["sessions"]["Thai_1"]["breakdown"]["missed"] == 2
    normalised = run(app, "tcpwer", "ref.stm", "hyp.stm", "--normalise-hypothesis")
    assert (normalised["protocol"], normalised["errors"]) == ("mlcslm-2025+normalised-hypothesis", 6)


def test_options_reach_the_score(app: typer.Typer):
    Path("late.rttm").write_text(
        "SPEAKER American_1 1 0 4.2 <NA> <NA> x <NA> <NA>\nSPEAKER American_1 1 4.2 1.8 <NA> <NA> y <NA> <NA>\n"
    )
    Path("a.uem").write_text("American_1 1 0 5\n")
    found = run(app, "der", "ref.rttm", "late.rttm", "--collar", "0.25", "--skip-overlap", "--uem", "a.uem")
    assert (found["collar"], found["skip_overlap"], found["uem"], found["outside_uem"]) == (0.25, True, "a.uem", 1)
    assert (found["confusion"], found["scored_speech"]) == (0, pytest.approx(4.25))
    assert run(app, "der", "ref.rttm", "late.rttm", "--group", "French")["groups"].keys() == {"French"}
    assert run(app, "tcpwer", "ref.stm", "ref.stm", "--group", "Thai")["groups"].keys() == {"Thai"}


@pytest.mark.parametrize("kind", ["rttm", "stm"])
def test_mistakes_are_named(app: typer.Typer, kind: str):
    arguments = {"rttm": "der", "stm": "tcpwer"}[kind], f"ref.{kind}", f"hyp.{kind}"
    reference = Path(f"ref.{kind}").read_text(encoding="utf-8")
    Path(f"hyp.{kind}").write_text(reference.replace("Thai_1", "Thai_2"), encoding="utf-8")
    with pytest.raises(UserError, match=rf"hyp.{kind}: 1 of 2 recordings have no reference in ref.{kind}[\s\S]*Thai_2"):
        run(app, *arguments)
    Path(f"ref.{kind}").write_text(reference.replace("Thai_1", "Siamese_1"), encoding="utf-8")
    Path(f"hyp.{kind}").write_text("")
    with pytest.raises(UserError, match=rf"ref.{kind}: 1 recordings begin with no group[\s\S]*Siamese_1"):
        run(app, *arguments)
    Path(f"ref.{kind}").write_text("\n")
    with pytest.raises(UserError, match=rf"ref.{kind}: found no recordings"):
        run(app, *arguments)


@pytest.mark.slow
def test_help_imports_nothing_heavy():
    code = (
        "import sys, typer; from mlcslm.cli import score; app = typer.Typer(); score.register(app)\n"
        "try: app(['score', 'tcpwer', '--help'])\n"
        "except SystemExit: print([name for name in ('numpy', 'meeteval', 'pyannote') if name in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip().endswith("[]")
    assert "--protocol" in printed
