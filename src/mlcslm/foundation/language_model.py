"""Pretrain the demo's Qwen2-shaped language model: byte-level BPE, and the task of writing a noisy sentence clean.

A chat model of full size does as its prompt says; so small a one can learn one such thing, and learns this one:
`USER: <noisy sentence> Transcribe the speech above ASSISTANT: <sentence>`, at times with the two turns before, so that
a frozen language model can be driven through its input embeddings, as the paper's first stage needs.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import nn
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from mlcslm.corpus.demo.grammar import load_grammar, split_of
from mlcslm.files import atomic_path
from mlcslm.languages import Group
from mlcslm.text.protocols import normalise_reference
from mlcslm.text.templates import ENGLISH_PROMPT

END, PAD, START = "<|im_end|>", "<|endoftext|>", "<|im_start|>"
Example = tuple[list[int], tuple[int, int], int]
"""Ids; first and last position of the noisy copy; position at which the answer begins."""

_CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] | upper }}: {{ message['content'] }} {% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
# Words of the answers of later stages, so that they do not fall apart into bytes.
_FURTHER_TEXT = (
    "The speech sounds like: , but it might have some substitution insertion deletion errors, let me correct it.",
    "USER: ASSISTANT:",
)


@dataclass(frozen=True)
class LanguageModelRecipe:
    """Size of the language model and how it is trained."""

    vocabulary: int = 1024
    width: int = 192
    layers: int = 4
    heads: int = 6
    key_value_heads: int = 2
    feed_forward: int = 512
    steps: int = 2000
    batch: int = 32
    learning_rate: float = 2e-3
    warmup_steps: int = 200
    context_share: float = 0.3
    seed: int = 17


def train_tokenizer(groups: dict[str, Group], recipe: LanguageModelRecipe) -> PreTrainedTokenizerFast:
    """Byte-level BPE over the grammars' training sentences (as references are normalised) and the prompts."""
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


class Writer:
    """Draws training examples: ids and which of them are the noisy copy, the context and the answer."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerFast, groups: dict[str, Group], recipe: LanguageModelRecipe
    ) -> None:
        self.recipe = recipe
        self.groups = list(groups.values())
        self.tokenizer = tokenizer
        backend = json.loads(tokenizer.backend_tokenizer.to_str())
        self._split = []
        for dropout in (None, 0.25, 0.6):  # BPE-dropout: the same words in other pieces, as sounds would come
            backend["model"]["dropout"] = dropout
            self._split.append(Tokenizer.from_str(json.dumps(backend)))
        self._blank = self._ids("\n")[0]

    def batches(self, rng: np.random.Generator, count: int = 16) -> list[list[Example]]:
        """`count` batches, each of examples of similar length, in random order."""
        size = self.recipe.batch
        examples = sorted((self.example(rng) for _ in range(count * size)), key=lambda example: len(example[0]))
        return [examples[start * size : (start + 1) * size] for start in rng.permutation(count)]

    def _ids(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def example(self, rng: np.random.Generator) -> Example:
        """Ids; first and last position of the noisy copy; position at which the answer begins."""
        group = self.groups[rng.integers(len(self.groups))]
        grammar = load_grammar(group.language)
        turns = [t.text for t in grammar.exchange(rng, lambda text: split_of(text) == "train")]
        if rng.random() < self.recipe.context_share:
            turns = [t.text for t in grammar.exchange(rng, lambda text: split_of(text) == "train")] + turns
        chosen = int(rng.integers(len(turns)))
        texts = [normalise_reference(text) for text in turns]
        context = texts[max(0, chosen - 2) : chosen] if rng.random() < self.recipe.context_share else []
        prompt = group.prompt if rng.random() < 0.5 else ENGLISH_PROMPT
        before = self._ids("USER:")
        noisy = self._noisy(texts[chosen], rng)
        after = self._ids("\n".join([f" {prompt}", *context]) + " ASSISTANT:")
        answer = [*self._ids(f" {texts[chosen]}"), self.tokenizer.eos_token_id]
        ids = [*before, *noisy, *after, *answer]
        return ids, (len(before), len(before) + len(noisy)), len(ids) - len(answer)

    def _noisy(self, text: str, rng: np.random.Generator) -> list[int]:
        pieces = self._split[rng.integers(len(self._split))].encode(f" {text}").ids
        drop, replace, blank = rng.uniform(0, 0.15), rng.uniform(0, 0.2), rng.uniform(0, 0.6)
        noisy: list[int] = []
        for piece in pieces:
            if rng.random() < drop:
                continue
            if rng.random() < replace:
                piece = int(rng.integers(3, len(self.tokenizer)))
            noisy += [piece] * int(rng.integers(1, 3))
            if rng.random() < blank:
                noisy += [self._blank] * int(rng.integers(1, 3))
        return noisy or [self._blank]


def collate(examples: Sequence[Example], pad: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Ids (B, L), attention mask, labels (-100 before the answer), and which positions are the noisy copy."""
    length = max(len(ids) for ids, _, _ in examples)
    ids_BL = torch.full((len(examples), length), pad)
    mask_BL = torch.zeros(len(examples), length, dtype=torch.long)
    noisy_BL = torch.zeros(len(examples), length, dtype=torch.bool)
    labels_BL = torch.full_like(ids_BL, -100)
    for row, (ids, (first, last), answer) in enumerate(examples):
        ids_BL[row, : len(ids)] = torch.tensor(ids)
        mask_BL[row, : len(ids)] = 1
        noisy_BL[row, first:last] = True
        labels_BL[row, answer : len(ids)] = ids_BL[row, answer : len(ids)]
    return ids_BL, mask_BL, labels_BL, noisy_BL


def blur(embedded_BLh: torch.Tensor, noisy_BL: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    """Mix the noisy copy's embeddings with random tokens' and with noise: what a projector gives is no table row."""
    count = int(noisy_BL.sum())
    others = table[torch.randint(len(table), (count,))]
    share = 0.4 * torch.rand(count, 1)
    scale = table.detach().pow(2).mean().sqrt() * 0.6 * torch.rand(count, 1)
    mixed = (1 - share) * embedded_BLh[noisy_BL] + share * others + scale * torch.randn_like(others)
    return embedded_BLh.masked_scatter(noisy_BL.unsqueeze(-1), mixed.to(embedded_BLh.dtype))


def pretrain_language_model(
    out: str | os.PathLike[str], log: str | os.PathLike[str], groups: dict[str, Group], recipe: LanguageModelRecipe
) -> None:
    """Train and write the language model as a folder (config, float16 safetensors, tokenizer, chat template)."""
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
        attn_implementation="sdpa",
    )
    model = Qwen2ForCausalLM(config)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min((step + 1) / recipe.warmup_steps, max(0.02, 1 - step / recipe.steps)),
    )
    batches: list[list[Example]] = []
    started, running = time.monotonic(), 0.0
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    with open(log, "w", encoding="utf-8") as lines:
        for step in range(1, recipe.steps + 1):
            batches = batches or writer.batches(rng)
            ids, mask, labels, noisy = collate(batches.pop(), tokenizer.pad_token_id)
            with torch.autocast("cpu", torch.bfloat16):
                table = model.get_input_embeddings().weight
                embedded = blur(model.get_input_embeddings()(ids), noisy, table)
                hidden = model.model(inputs_embeds=embedded, attention_mask=mask).last_hidden_state
                targets = labels[:, 1:]
                logits = model.lm_head(hidden[:, :-1][targets != -100])
            loss = nn.functional.cross_entropy(logits.float(), targets[targets != -100])
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
            running += loss.item()
            if step % 50 == 0:
                lines.write(
                    json.dumps({"step": step, "loss": running / 50, "seconds": time.monotonic() - started}) + "\n"
                )
                lines.flush()
                running = 0.0
            if step % 500 == 0 or step == recipe.steps:
                with atomic_path(out) as folder:
                    _save(model, tokenizer, folder)


def _save(model: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    from safetensors.torch import save_file

    folder.mkdir()
    tensors = {name: tensor.to(torch.float16).contiguous() for name, tensor in model.state_dict().items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = model.config.to_dict() | {"architectures": ["Qwen2ForCausalLM"], "dtype": "float16"}
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    tokenizer.save_pretrained(folder)
