"""`mlcslm transcribe` with a ready recogniser, and its transcriber."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import soundfile
import typer
from click.testing import Result
from typer.testing import CliRunner

from mlcslm.cli import transcribe
from mlcslm.cli.transcribe import is_recognizer
from mlcslm.config.recognizers import RecognizerConfig
from mlcslm.errors import UserError
from mlcslm.recognition.transcription import RecognizerTranscriber


def run(*arguments: object) -> Result:
    """`mlcslm transcribe` with `arguments`."""
    app = typer.Typer()
    transcribe.register(app)
    return CliRunner().invoke(app, list(map(str, arguments)))


@pytest.fixture
def calls(noises, tmp_path: Path) -> list[Path]:
    files = [tmp_path / f"{number}.wav" for number in range(2)]
    for file, noise in zip(files, noises, strict=False):
        soundfile.write(file, noise, 16000)
    return files


def test_our_own_models_are_told_from_recognisers(tmp_path: Path, saved, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert is_recognizer("openai/whisper-base") and is_recognizer("remote-code:some/model")
    assert is_recognizer(str(saved("hubert")))
    for folder, file in (("export", "mlcslm.json"), ("results/checkpoint", "checkpoint.json"), ("results/empty", None)):
        Path(folder).mkdir(parents=True)
        for name in ["config.json", file] if file else []:
            Path(folder, name).touch()
        assert not is_recognizer(folder)
    assert not is_recognizer("results/no-such-checkpoint")  # the folder above it is here: a path, not a hub id
    assert not is_recognizer("model") and not is_recognizer("/models/whisper")


def test_a_recording_is_transcribed_in_the_language_that_is_told_or_found(saved, calls: list[Path]) -> None:
    model, call = saved("whisper"), calls[0]
    told = run(model, call, "--language", "fr", "--json")
    assert told.exit_code == 0, told.output
    line = json.loads(told.stdout.splitlines()[-1])
    assert line["language"] == "<LANG_FR>" and line["start"] == 0
    found = run(model, *calls, "--json")
    assert found.exit_code == 0, found.output
    assert len(found.stdout.splitlines()) == 2
    beams = run(model, call, "--group", "French", "--beams", "3")
    assert beams.exit_code == 0, beams.output


def test_a_language_may_be_named_by_code_language_or_group(saved, languages) -> None:
    one = RecognizerTranscriber(RecognizerConfig(model=str(saved("whisper"))), languages)
    assert one.find_group(None) is None
    assert one.find_group("fr") == one.find_group("French") == "French"
    assert one.find_group("english") == "English-American"
    with pytest.raises(UserError, match=r"cannot be told it\. Of the groups' languages it knows de, en, fr, ru"):
        one.find_group("Korean")
    silent = RecognizerTranscriber(RecognizerConfig(model=str(saved("hubert"))), languages)
    with pytest.raises(UserError, match="It cannot be told any; omit it"):
        silent.find_group("fr")


def test_options_of_the_other_kind_of_model_are_refused(saved, calls: list[Path], tmp_path: Path) -> None:
    refused = run(saved("hubert"), calls[0], "--encoder", "x")
    assert isinstance(refused.exception, UserError) and "for a checkpoint" in str(refused.exception)
    (tmp_path / "ours").mkdir()
    refused = run(tmp_path / "ours", calls[0], "--beams", "2")
    assert isinstance(refused.exception, UserError) and "for ready recognisers" in str(refused.exception)
