"""Training only the added tokens' rows of embedding and head.

The rest of both matrices is frozen and needs neither gradients nor optimiser states: 4.4 GB each at the paper's size.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import nn

from mlcslm.model.speech_llm import SpeechLLM


class NewRows(nn.Module):
    """The rows, (n, h) each, that replace those of the token `ids` whenever embedding and head are used.

    `head` is None if the language model ties it to the embedding.
    """

    ids: torch.Tensor

    def __init__(self, embedding: torch.Tensor, head: torch.Tensor | None, ids: list[int]) -> None:
        super().__init__()
        self.register_buffer("ids", torch.tensor(ids, device=embedding.device), persistent=False)
        self.embedding = nn.Parameter(embedding.detach()[ids].clone())
        self.head = None if head is None else nn.Parameter(head.detach()[ids].clone())

    def embed(self, module: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> torch.Tensor:
        """Forward hook of the embedding."""
        matches = inputs[0].unsqueeze(-1) == self.ids
        rows = nn.functional.embedding(matches.int().argmax(-1), self.embedding)
        return torch.where(matches.any(-1, keepdim=True), rows.to(output.dtype), output)

    def predict(self, module: nn.Linear, inputs: tuple[torch.Tensor], output: torch.Tensor) -> torch.Tensor:
        """Forward hook of the head; in place, for logits are large."""
        rows = self.embedding if self.head is None else self.head
        bias = None if module.bias is None else module.bias[self.ids]
        output[..., self.ids] = nn.functional.linear(inputs[0].to(rows.dtype), rows, bias).to(output.dtype)
        return output


def add_new_rows(model: SpeechLLM) -> None:
    """Let `model` use rows of its own for its added tokens. trl's fused head would not: it reads the weight itself."""
    embedding, head = cast("nn.Embedding", model.get_input_embeddings()), model.lm_head
    own_head = None if head.weight is embedding.weight else head.weight
    rows = NewRows(embedding.weight, own_head, sorted(model.config.added_tokens.values()))
    model.new_rows = rows
    embedding.register_forward_hook(rows.embed)
    head.register_forward_hook(rows.predict)


def new_rows_of(model: SpeechLLM) -> dict[str, nn.Parameter]:
    """The trained rows, `embedding` and `head`; empty if the model has none of its own."""
    rows = _rows(model)
    return {} if rows is None else dict(rows.named_parameters())


def store_new_rows(model: SpeechLLM) -> None:
    """Write the rows into embedding and head, from which checkpoints save them."""
    if (rows := _rows(model)) is None:
        return
    matrices = cast("nn.Embedding", model.get_input_embeddings()).weight, model.lm_head.weight
    with torch.no_grad():
        for matrix, values in zip(matrices, (rows.embedding, rows.head), strict=True):
            if values is not None:
                matrix[rows.ids] = values.to(matrix.dtype)


def _rows(model: SpeechLLM) -> NewRows | None:
    return cast("NewRows | None", getattr(model, "new_rows", None))
