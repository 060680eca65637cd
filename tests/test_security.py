"""What comes from outside is data: models, names, transcripts. None of it is run, and no secret gets into results."""

from __future__ import annotations

import ast
import json
import pickle
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from mlcslm.config.languages import read_languages
from mlcslm.config.reading import parse_config
from mlcslm.corpus.faults import Fault, FaultKind, write_faults
from mlcslm.corpus.identifiers import one_word, recording_id, utterance_id
from mlcslm.errors import UserError
from mlcslm.formats.rttm import read_rttm, write_rttm
from mlcslm.formats.segments import Segment, Utterance
from mlcslm.formats.stm import read_stm, write_stm
from mlcslm.io.csv import guard
from mlcslm.report.turn_pictures import draw_turns
from mlcslm.runtime.job_log import logged

REPOSITORY = Path(__file__).parents[1]
CODE = [path for folder in ("src", "workflow", "benchmarks") for path in sorted((REPOSITORY / folder).rglob("*.py"))]
HOSTILE = "; rm -rf x"
TOKEN = "hf_" + "a1B2" * 8


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """Every call in a module, with the name that is called as it is written."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def test_no_code_is_made_of_data() -> None:
    """No shell, no unpickling, no evaluation; models' own code is asked for nowhere by a constant."""
    faults = []
    for path in CODE:
        for name, call in calls(path):
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
            if (
                name in ("eval", "exec", "os.system", "os.popen", "pickle.load", "pickle.loads", "yaml.load")
                or given.get("shell", "False") != "False"
                or (name == "torch.load" and given.get("weights_only") != "True")
                or (name == "np.load" and given.get("allow_pickle", "False") != "False")
                or given.get("trust_remote_code") == "True"
            ):
                faults.append(f"{path.relative_to(REPOSITORY)}:{call.lineno}: {name}")
    assert not faults, "\n".join(faults)


@pytest.fixture
def model_with_code(language_model_folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A language model whose folder has Python code of its own, which leaves a file `ran`."""
    import transformers.dynamic_module_utils

    monkeypatch.setattr(transformers.dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    folder = tmp_path / "model"
    shutil.copytree(language_model_folder, folder)
    (folder / "own.py").write_text(
        f"from pathlib import Path\nPath({str(tmp_path / 'ran')!r}).touch()\n"
        "from transformers import Qwen2Config, Qwen2ForCausalLM\n"
        "class OwnConfig(Qwen2Config):\n    model_type = 'own'\n"
        "class OwnModel(Qwen2ForCausalLM):\n    config_class = OwnConfig\n"
    )
    config = json.loads((folder / "config.json").read_text())
    own = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"}
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "own", "auto_map": own}))
    return folder


def test_a_models_own_code_is_run_only_where_it_is_named(model_with_code: Path, tmp_path: Path) -> None:
    import torch

    from mlcslm.model.foundation import load_language_model

    with pytest.raises(UserError, match=r"comes with its own Python code, which is not run.*'remote-code:"):
        load_language_model(str(model_with_code), dtype=torch.float32)
    assert not (tmp_path / "ran").exists()
    model, _ = load_language_model(f"remote-code:{model_with_code}", dtype=torch.float32)
    assert type(model).__name__ == "OwnModel"
    assert (tmp_path / "ran").exists()


def test_a_checkpoint_cannot_ask_for_code_to_be_run(
    make_config: Any, train: Any, model_with_code: Path, tmp_path: Path, languages: Any
) -> None:
    from mlcslm.model.checkpoint import load_checkpoint

    folder = train(make_config({"a": {"steps": 1}}), "a", tmp_path)
    path = folder / "checkpoint.json"
    content = json.loads(path.read_text())
    content["foundation"]["language_model"]["source"] = f"remote-code:{model_with_code}"
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="A checkpoint cannot authorise running it"):
        load_checkpoint(folder, languages=languages)
    assert not (tmp_path / "ran").exists()


class Bomb:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_pickled_weights_are_not_read(language_model_folder: str, tmp_path: Path) -> None:
    import torch

    from mlcslm.model.foundation import load_language_model
    from mlcslm.speaker_embedding.checkpoint import load_network

    folder, ran = tmp_path / "model", tmp_path / "ran"
    shutil.copytree(language_model_folder, folder)
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(ran)))
    with pytest.raises(UserError, match=r"\*\.safetensors not found"):
        load_language_model(str(folder), dtype=torch.float32)
    embedding = tmp_path / "campplus.bin"
    torch.save({"weight": Bomb(ran)}, embedding)
    with pytest.raises(UserError, match="not readable as weights"):
        load_network(embedding, "campplus")
    assert not ran.exists()


def test_any_session_name_is_one_word_of_an_id(tmp_path: Path) -> None:
    french = read_languages(REPOSITORY / "config" / "languages.tsv")["French"]
    for name in (HOSTILE, "$(id)", "`id`", "a\nb", "\x1b[2J", "　", "<b>", "'; DROP TABLE utterances; --", "=1+1"):
        recording = recording_id(french, name)
        assert recording.isprintable() and recording.split() == [recording]
        assert utterance_id("French", name, "O1", 0, 1).split() == [utterance_id("French", name, "O1", 0, 1)]
        write_rttm(tmp_path / "a.rttm", {recording: [Segment(0, 1, "O1")]})
        assert list(read_rttm(tmp_path / "a.rttm")) == [recording]
        write_stm(tmp_path / "a.stm", [Utterance(recording, "O1", 0, 1, "oui")])
        assert [turn.recording for turn in read_stm(tmp_path / "a.stm")] == [recording]
    assert one_word("0517_007") == "0517_007"


def test_cells_are_no_formulas(tmp_path: Path) -> None:
    for text in ("=1+1", "+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "＝1+1", "＠x"):
        assert guard(text) == f"'{text}"
    fault = Fault("=cmd|' /C calc'!A0.txt", 1, FaultKind.TIME, "line", "=1")
    write_faults(tmp_path / "faults.tsv", [fault])
    _, row = (tmp_path / "faults.tsv").read_text().splitlines()
    assert [cell.startswith("'=") for cell in row.split("\t")] == [True, False, False, False, True]


def test_names_are_no_markup_in_pictures() -> None:
    picture = draw_turns("<script>alert(1)</script>", [Segment(0, 1, "<b>")], [Segment(0, 1, '"><script>')])
    tags = {element.tag.split("}")[-1] for element in ElementTree.fromstring(picture).iter()}
    assert "svg" in tags
    assert not tags & {"script", "b"}


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"models": {"encoder": f"https://user:{TOKEN}@example.org/a"}}, "models.encoder"),
        ({"models": {"language_model": TOKEN}}, "models.language_model"),
        ({"tracking": {"project": "sk-" + "x1" * 12}}, "tracking.project"),
    ],
)
def test_a_configuration_with_a_secret_is_refused_without_repeating_it(values: dict, key: str) -> None:
    with pytest.raises(UserError, match="contains an access token or password") as refused:
        parse_config(values)
    assert key in str(refused.value)
    assert TOKEN not in str(refused.value)


def test_logs_hold_no_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setenv("HF_TOKEN", "correct horse battery")
    with logged(tmp_path / "a.log") as log:
        print("401 for correct horse battery", file=sys.stderr)
        print(f"Traceback: {TOKEN} https://me:pass@example.org/x correct horse battery", file=log)
    text = (tmp_path / "a.log").read_text()
    assert text == "401 for ***\nTraceback: *** https***example.org/x ***\n"
    assert capsys.readouterr().err == "401 for ***\n"
