"""vLLM as the engine of a decoding: run by a Python of its own, it continues prompts that are embedded here.

It gets a plain copy of the language model in a temporary folder, then prompts batch by batch, through pipes; what it
returns are token ids, so that hypotheses, their flags and their provenance are made as for our own search.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from transformers import PreTrainedConfig

from mlcslm.config.decoding import DecodingConfig
from mlcslm.decoding.engine_environment import EngineInfo
from mlcslm.decoding.loops import LOOP_STEPS, ends_in_loop
from mlcslm.errors import UserError
from mlcslm.io.files import temporary_folder
from mlcslm.model.exported import drop_adapters
from mlcslm.model.merged import plain_language_model
from mlcslm.model.speech_llm import SpeechLLM

_MOST_POSITIONS = 4096
"""Longest prompt and answer, if the model can do more: memory for one of them is reserved."""
_USUAL_PROMPT = 512
"""Positions of a prompt that memory is reserved for on a CPU, for each answer side by side: 30 s of speech take 300."""


class Engine:
    """A running vLLM with a language model.

    Answers follow the model's own probabilities: greedy ones in float32 are those of `search`. Samples have a stream
    per utterance as well, but not the same one.
    """

    def __init__(self, info: EngineInfo, process: subprocess.Popen[bytes], log: Any, positions: int) -> None:
        self.info = info
        self.positions = positions
        self._process = process
        self._log = log

    def answers(
        self, prompts: Sequence[torch.Tensor], utterance_ids: Sequence[str], decoding: DecodingConfig
    ) -> list[list[int]]:
        """Ids of the answer to each prompt (L, h), as `search` returns them.

        Raises UserError for a prompt that is too long, and if vLLM fails.
        """
        lengths = [len(prompt) for prompt in prompts]
        if (needed := max(lengths) + decoding.max_new_tokens) > self.positions:
            name = utterance_ids[lengths.index(max(lengths))]
            raise UserError(
                f"engine vllm: prompt and answer of {name} may take {needed} tokens; expected up to {self.positions}. "
                "Lower max_new_tokens, or decode with engine: own."
            )
        request = {
            "lengths": lengths,
            "width": prompts[0].shape[1],
            "limit": decoding.max_new_tokens,
            "temperature": decoding.temperature if decoding.method == "multinomial" else 0.0,
            "seeds": [_seed(decoding.seed, name) for name in utterance_ids],
        }
        content = torch.cat([prompt.cpu() for prompt in prompts]).contiguous().view(torch.uint8).numpy().tobytes()
        found = self.exchange(request, content)["answers"]
        return [_until_loop(ids) for ids in found] if decoding.stop_loops else found

    def exchange(self, request: Mapping[str, Any], content: bytes = b"") -> dict[str, Any]:
        """The worker's reply to a request. Raises UserError if it fails."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        line = b""
        with contextlib.suppress(BrokenPipeError):
            stdin.write(json.dumps(request).encode() + b"\n" + content)
            stdin.flush()
            line = stdout.readline()
        if not line:
            status = self._process.wait()
            raise UserError(f"engine vllm: {self.info.python} ended with status {status}{self._last_words()}.")
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise UserError(f"engine vllm: {self.info.version} failed: {reply['error']}")
        return reply

    def close(self) -> None:
        """End the process."""
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                if stream is not None:
                    stream.close()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _last_words(self) -> str:
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return f" ({lines[-1]})" if lines else ""


@contextlib.contextmanager
def running_engine(info: EngineInfo, model: SpeechLLM, decoding: DecodingConfig, beside: Path) -> Iterator[Engine]:
    """vLLM with the language model of `model`, whose adapters are merged and then dropped; it ends with the block.

    decoding: what it is started for; beside: the file that is decoded for, next to which a copy of the language model
    lies meanwhile. Raises UserError if vLLM cannot run the model.
    """
    sequences = decoding.batch_size
    drop_adapters(model)
    plain, _ = plain_language_model(model)
    text = cast("PreTrainedConfig", model.config.text_config)
    positions = min(_MOST_POSITIONS, getattr(text, "max_position_embeddings", None) or _MOST_POSITIONS)
    ends = model.generation_config.eos_token_id
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    with temporary_folder(beside, "engine") as folder, tempfile.TemporaryFile() as log:
        plain.save_pretrained(folder)
        settings = {
            "model": str(folder),
            "dtype": str(model.dtype).removeprefix("torch."),
            "threads": torch.get_num_threads(),
            "sequences": sequences,
            "positions": positions,
            "cached_positions": max(positions, sequences * (_USUAL_PROMPT + decoding.max_new_tokens)),
            "position_bytes": 2 * text.num_hidden_layers * heads * width * model.dtype.itemsize,
            "ends": [ends] if isinstance(ends, int) else ends,
            "suppressed": model.generation_config.suppress_tokens or [],
        }
        try:
            process = subprocess.Popen(info.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
        except OSError as error:
            raise UserError(f"engine vllm: cannot run {info.python!r} ({error.strerror}).") from None
        engine = Engine(info, process, log, positions)
        try:
            engine.exchange(settings)
            yield engine
        finally:
            engine.close()


def _until_loop(ids: list[int]) -> list[int]:
    """An answer up to where a search that checks for loops would have stopped it."""
    stops = (length for length in range(LOOP_STEPS, len(ids), LOOP_STEPS) if ends_in_loop(ids[:length]))
    return ids[: next(stops, len(ids))]


def _seed(seed: int, utterance_id: str) -> int:
    """Of an utterance's own stream."""
    return zlib.crc32(f"{seed}/{utterance_id}".encode())
