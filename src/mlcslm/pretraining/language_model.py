"""Pretrain the demo's Qwen2-shaped language model: byte-level BPE, and the task of cleaning up a noisy sentence.

A full-size chat model follows its prompt; one this small can learn a single task, and learns this one:
`USER: <noisy sentence> Transcribe the speech above ASSISTANT: <sentence>`, at times with the two previous turns, so
that the frozen language model can be driven through its input embeddings, as the paper's first stage requires.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import nn
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from mlcslm.config.languages import Group
from mlcslm.corpus.demo.grammar import load_grammar, split_of
from mlcslm.io.files import atomic_folder
from mlcslm.pretraining.noisy_text import END, PAD, START, Example, LanguageModelRecipe, Phase, Writer, collate, embed
from mlcslm.pretraining.phases import MODEL_FILES, train_phase
from mlcslm.text.protocols import normalise_reference
from mlcslm.text.reflection import FRAME

_CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] | upper }}: {{ message['content'] }} {% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
# Words in the answers of later stages, so that they are not split into bytes.
_FURTHER_TEXT = (
    "The speech sounds like: , but it might have some substitution insertion deletion errors, let me correct it.",
    "USER: ASSISTANT:",
)


def train_tokenizer(groups: dict[str, Group], recipe: LanguageModelRecipe) -> PreTrainedTokenizerFast:
    """Byte-level BPE over the grammars' training sentences (normalised like references) and the prompts.

    The frame of reflections has tokens of its own, beyond the `vocabulary`: in pieces it would be most of an answer.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=recipe.vocabulary,
        special_tokens=[PAD, START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_tokenizer_text(groups), trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END, pad_token=PAD, clean_up_tokenization_spaces=False
    )
    fast.chat_template = _CHAT_TEMPLATE
    fast.add_tokens([AddedToken(piece, normalized=False, special=False) for piece in FRAME])
    return fast


def _tokenizer_text(groups: dict[str, Group]) -> Iterator[str]:
    yield from _FURTHER_TEXT * 50
    for group in groups.values():
        yield from [group.prompt] * 20
    for language in dict.fromkeys(group.language for group in groups.values()):
        sentences = [normalise_reference(s) for s in load_grammar(language).sentences() if split_of(s) == "train"]
        rng = np.random.default_rng(0)
        for index in rng.choice(len(sentences), min(len(sentences), 2000), replace=False):
            yield f" {sentences[index]}"


def pretrain_language_model(
    out: str | os.PathLike[str], log: str | os.PathLike[str], groups: dict[str, Group], recipe: LanguageModelRecipe
) -> None:
    """Train the language model; write it as a folder (config, float16 safetensors, tokenizer, chat template)."""
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng(recipe.seed)
    tokenizer = train_tokenizer(groups, recipe)
    writer = Writer(tokenizer, groups, recipe)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=recipe.width,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.key_value_heads,
        intermediate_size=recipe.feed_forward,
        max_position_embeddings=1024,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        attn_implementation="sdpa",  # type: ignore[call-arg] # any configuration accepts it
    )
    model = Qwen2ForCausalLM(config)
    log = Path(log)
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "w", encoding="utf-8") as lines:
        for phase in recipe.phases:
            writer.phase = phase
            for row in _train(model, writer, recipe, phase, rng):
                lines.write(json.dumps(asdict(phase) | row) + "\n")
                lines.flush()
            with atomic_folder(out, "foundation model", own=MODEL_FILES) as folder:
                _save(model, tokenizer, folder)


def _train(
    model: Qwen2ForCausalLM, writer: Writer, recipe: LanguageModelRecipe, phase: Phase, rng: np.random.Generator
) -> Iterator[dict[str, float]]:
    """Train one phase with linear warm-up and decay of the learning rate; yield the mean loss every 50 steps."""
    batches: list[list[Example]] = []

    def loss_of_batch() -> torch.Tensor:
        batches[:] = batches or writer.batches(rng)
        batch = collate(batches.pop(), writer.tokenizer.pad_token_id)
        targets = batch.labels_BL[:, 1:]
        with torch.autocast("cpu", torch.bfloat16):
            embedded = embed(batch, model.model.embed_tokens.weight, phase.loudest, writer.reserved)
            hidden = model.model(inputs_embeds=embedded, attention_mask=batch.mask_BL).last_hidden_state
            logits = model.lm_head(hidden[:, :-1][targets != -100])
        return nn.functional.cross_entropy(logits.float(), targets[targets != -100])

    def factor(step: int) -> float:
        return min((step + 1) / recipe.warmup_steps, max(0.02, 1 - step / phase.steps))

    return train_phase(model, phase.steps, phase.learning_rate, factor, loss_of_batch)


def _save(model: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    from safetensors.torch import save_file

    tensors = {name: tensor.to(torch.float16).contiguous() for name, tensor in model.state_dict().items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = {key: value for key, value in model.config.to_dict().items() if key != "_name_or_path"} | {
        "architectures": ["Qwen2ForCausalLM"],
        "dtype": "float16",
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    tokenizer.save_pretrained(folder)
