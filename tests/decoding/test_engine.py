"""vLLM as a decoding's engine: a stand-in of its interface in the quick tests, itself where a Python that has it is
named by MLCSLM_VLLM_PYTHON."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from mlcslm.config.decoding import DecodingConfig
from mlcslm.decoding.engine_environment import EngineInfo, find_engine
from mlcslm.decoding.generation import DecodingPaths, decode_split, decode_with_all
from mlcslm.decoding.grids import Grid
from mlcslm.errors import UserError
from mlcslm.model.build import build_speech_llm
from mlcslm.model.checkpoint import save_checkpoint
from mlcslm.runtime.interruption import Interrupted, raises_on_request
from mlcslm.workflow.layout import Layout

STAND_IN = """
import os

import torch
from transformers import AutoModelForCausalLM


class SamplingParams:
    def __init__(self, **options):
        self.__dict__.update(options)


class Answer:
    def __init__(self, ids):
        self.outputs, self.token_ids = [self], ids


class LLM:
    def __init__(self, model, dtype, max_num_seqs, logits_processors, enable_prompt_embeds, **options):
        assert enable_prompt_embeds and options["skip_tokenizer_init"]
        print("loading", model)  # libraries print: it must not get among the replies
        self.model = AutoModelForCausalLM.from_pretrained(model, dtype=dtype)
        self.processors = [kind(None, torch.device("cpu"), False) for kind in logits_processors]

    @torch.inference_mode()
    def generate(self, prompts, settings, use_tqdm):
        if os.environ.get("STAND_IN_FAILS") == "raise":
            raise RuntimeError("too little of everything\\nand more")
        if os.environ.get("STAND_IN_FAILS") == "die":
            os.write(2, b"out of patience\\n")
            os._exit(7)
        return [self.answer(one["prompt_embeds"], options) for one, options in zip(prompts, settings)]

    def answer(self, embedded, options):
        generator = torch.Generator().manual_seed(options.seed)
        ids, output = [], self.model(inputs_embeds=embedded[None], use_cache=True)
        while True:
            logits = output.logits[:, -1]
            for processor in self.processors:
                logits = processor.apply(logits)
            if options.temperature:
                shares = (logits / options.temperature).softmax(-1)
                ids.append(int(torch.multinomial(shares, 1, generator=generator)))
            else:
                ids.append(int(logits.argmax()))
            if ids[-1] in options.stop_token_ids or len(ids) == options.max_tokens:
                return Answer(ids)
            output = self.model(torch.tensor([ids[-1:]]), past_key_values=output.past_key_values, use_cache=True)
"""


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A program that runs Python with a module in vLLM's place."""
    folder = tmp_path_factory.mktemp("engine")
    modules = {
        "vllm/__init__.py": STAND_IN,
        "vllm/v1/__init__.py": "",
        "vllm/v1/sample/__init__.py": "",
        "vllm/v1/sample/logits_processor.py": "class LogitsProcessor: pass",
        "vllm-9.8.7.dist-info/METADATA": "Metadata-Version: 2.1\nName: vllm\nVersion: 9.8.7\n",
    }
    for name, content in modules.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{folder}" exec "{sys.executable}" "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    return str(python)


class ForkedWorker:
    """What the engine asks of `subprocess.Popen`, for its program in a process forked from this one."""

    def __init__(self, command: list[str], stderr: Any, **_: Any) -> None:
        python, *_, program = command
        requests, replies = os.pipe(), os.pipe()
        streams = [requests[0], replies[1], stderr.fileno()]
        theirs = [requests[1], replies[0]]
        self._process = multiprocessing.get_context("fork").Process(
            target=run_worker, args=(str(Path(python).parent), program, streams, theirs)
        )
        self._process.start()
        for handle in streams[:2]:
            os.close(handle)
        self.stdin, self.stdout = os.fdopen(requests[1], "wb"), os.fdopen(replies[0], "rb")

    def wait(self, timeout: float | None = None) -> int | None:
        self._process.join(timeout)
        return self._process.exitcode

    def kill(self) -> None:
        self._process.kill()


def run_worker(packages: str, program: str, streams: list[int], theirs: list[int]) -> None:
    for handle in theirs:
        os.close(handle)
    for number, handle in enumerate(streams):
        os.dup2(handle, number)
    sys.stdin = os.fdopen(0)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1) for number in (1, 2))
    sys.path.insert(0, packages)
    sys.argv = [program]
    runpy.run_path(program, run_name="__main__")


@pytest.fixture
def forked_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing torch and transformers again would take most of the time."""
    names = {"PIPE": subprocess.PIPE, "TimeoutExpired": subprocess.TimeoutExpired}
    monkeypatch.setattr("mlcslm.decoding.engine.subprocess", SimpleNamespace(Popen=ForkedWorker, **names))


@pytest.fixture
def decode(trained: Path, tones: Path, tmp_path: Path, languages, stand_in: str) -> Callable[..., list[dict]]:
    """Rows of the hypotheses that a decoding with the given settings writes."""

    def run(**settings) -> list[dict]:
        paths = DecodingPaths(trained, tones, tmp_path / "hypotheses.parquet")
        decoding = DecodingConfig(**({"max_new_tokens": 40} | settings))
        decode_split(paths, decoding, languages, engine=find_engine(stand_in))
        return pq.read_table(paths.out).drop_columns("seconds").to_pylist()

    return run


@pytest.mark.parametrize("settings", [{}, {"stop_loops": True}, {"max_new_tokens": 5}], ids=str)
@pytest.mark.usefixtures("forked_worker")
def test_greedy_answers_are_those_of_our_search(decode, settings: dict) -> None:
    own = decode(**settings)
    assert len({row["raw_text"] for row in own}) > 1
    assert decode(**settings, engine="vllm", batch_size=5) == own


@pytest.mark.usefixtures("forked_worker")
def test_samples_are_by_seed_and_utterance(decode, tmp_path: Path) -> None:
    settings = {"engine": "vllm", "method": "multinomial", "temperature": 1.3}
    first, again, other = (decode(**settings, seed=seed) for seed in (1, 1, 2))
    assert first == again == decode(**settings, seed=1, batch_size=1)
    assert first != other
    assert len({row["raw_text"] for row in first}) > 3


def test_hypotheses_record_the_engine_and_nothing_else_is_left(decode, tmp_path: Path) -> None:
    decode()
    assert b"engine" not in pq.read_schema(tmp_path / "hypotheses.parquet").metadata
    decode(engine="vllm")
    metadata = pq.read_schema(tmp_path / "hypotheses.parquet").metadata
    assert metadata[b"engine"] == b"vllm 9.8.7"
    assert b'"engine": "vllm"' in metadata[b"decoding"]
    assert {path.name for path in tmp_path.iterdir()} == {"hypotheses.parquet", "hypotheses.lock"}


@pytest.mark.usefixtures("forked_worker")
def test_a_stopped_decoding_resumes_where_it_was(decode, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from mlcslm.decoding.engine import Engine

    whole = decode(engine="vllm", batch_size=2)
    (tmp_path / "hypotheses.parquet").unlink()
    answered: list[str] = []
    answers = Engine.answers

    def counting(self, prompts, utterance_ids, decoding):
        answered.extend(utterance_ids)
        if len(answered) == 8:  # the first four batches
            os.kill(os.getpid(), signal.SIGTERM)
        return answers(self, prompts, utterance_ids, decoding)

    monkeypatch.setattr(Engine, "answers", counting)
    with pytest.raises(Interrupted, match="8 of 24 hypotheses"), raises_on_request():
        decode(engine="vllm", batch_size=2)
    assert decode(engine="vllm", batch_size=2) == whole
    assert sorted(answered) == sorted(row["utterance_id"] for row in whole)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("raise", r"^engine vllm: vllm 9\.8\.7 failed: RuntimeError: too little of everything$"),
        ("die", r"^engine vllm: .*python ended with status 7 \(out of patience\)\.$"),
    ],
)
@pytest.mark.usefixtures("forked_worker")
def test_a_failing_engine_is_one_line(decode, how, message, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STAND_IN_FAILS", how)
    with pytest.raises(UserError, match=message):
        decode(engine="vllm")
    assert not list(tmp_path.glob("*.parquet")) and not list(tmp_path.glob(".*.engine"))


@pytest.mark.usefixtures("forked_worker")
def test_an_answer_longer_than_the_model_can_read_is_refused(decode) -> None:
    with pytest.raises(UserError, match=r"may take 10\d\d tokens; expected up to 1024\. Lower max_new_tokens"):
        decode(engine="vllm", max_new_tokens=1000)


def test_a_decoding_without_its_engine_says_what_is_missing(
    trained: Path, tones: Path, tmp_path: Path, languages
) -> None:
    with pytest.raises(UserError, match=r"no engine is given; name a Python that has vLLM as engines\.vllm\.python"):
        decode_split(DecodingPaths(trained, tones, tmp_path / "a.parquet"), DecodingConfig(engine="vllm"), languages)


def test_a_python_without_vllm_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot run '.*nowhere' \(No such file or directory\)\. Name a Python"):
        find_engine(str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match=r"^engine vllm: .* has no vLLM\. Name a Python that has vLLM as engines\.vllm"):
        find_engine(sys.executable)
    with pytest.raises(UserError, match=r"^engine vllm: /bin/false fails \(exit status 1\); expected Python 3\.11"):
        find_engine("/bin/false")


def test_the_environment_is_described_for_jobs(stand_in: str, tmp_path: Path, make_config) -> None:
    decodings = {"greedy": {}, "by-vllm": {"engine": "vllm"}}
    layout = Layout(make_config({"a": {"steps": 1}}, decodings=decodings, results=str(tmp_path)))
    assert layout.engine_file("greedy") == []
    (file,) = layout.engine_file("by-vllm")
    command = [sys.executable, "-m", "mlcslm.decoding.engine_environment"]
    done = subprocess.run([*command, sys.executable, file], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr.startswith("mlcslm: engine vllm: ") and done.stderr.count("\n") == 1
    subprocess.run([*command, stand_in, file], check=True)
    grid = Grid(layout, "a", "dev", "all", ["by-vllm"])
    assert grid.engine("by-vllm") == EngineInfo(stand_in, "vllm 9.8.7")
    assert grid.engine("greedy") is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "beam", "beams": 4}, "engine 'vllm' with method 'beam': it does greedy and multinomial"),
        ({"method": "consensus", "consensus": {}}, "engine 'vllm' with method 'consensus'"),
        ({"context": "hypotheses"}, "engine 'vllm' with context 'hypotheses'"),
    ],
    ids=str,
)
def test_what_the_engine_cannot_do_is_refused(settings: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DecodingConfig(engine="vllm", **settings)
    DecodingConfig(**settings)


def test_decodings_of_before_are_recorded_as_before() -> None:
    assert "engine" not in DecodingConfig().model_dump(mode="json")
    assert DecodingConfig(engine="vllm").model_dump(mode="json")["engine"] == "vllm"


@pytest.mark.slow
@pytest.mark.skipif(
    "MLCSLM_VLLM_PYTHON" not in os.environ, reason="MLCSLM_VLLM_PYTHON names no Python that has vLLM (docs/serving.md)"
)
def test_vllm_itself_answers_as_our_search(
    encoder_folder: str, make_language_model, tones: Path, languages, tmp_path: Path
) -> None:
    # Its attention on a CPU has heads of 32 and more.
    language_model = make_language_model(kind="llama", width=128, spare=5)
    model, _ = build_speech_llm(encoder=encoder_folder, language_model=language_model, languages=languages)
    checkpoint = tmp_path / "checkpoint"
    save_checkpoint(checkpoint, model, name="a", parent="foundation", recipe={"template": "tagged"}, fingerprints={})
    decodings = {
        "own": DecodingConfig(max_new_tokens=40),
        "vllm": DecodingConfig(max_new_tokens=40, engine="vllm"),
        "sampled": DecodingConfig(max_new_tokens=40, engine="vllm", method="multinomial"),
        "alone": DecodingConfig(max_new_tokens=40, engine="vllm", method="multinomial", batch_size=1),
    }
    info = find_engine(os.environ["MLCSLM_VLLM_PYTHON"])
    outs = [(tmp_path / f"{name}.parquet", decoding) for name, decoding in decodings.items()]
    decode_with_all(checkpoint, tones, outs, languages, engine=info)
    own, greedy, sampled, alone = (pq.read_table(out).drop_columns("seconds").to_pylist() for out, _ in outs)
    assert greedy == own
    assert len({row["raw_text"] for row in own}) > 3
    assert sampled == alone != own
