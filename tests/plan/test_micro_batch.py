"""Costs of micro-batches run without memory, against the same run with memory and against hand-worked numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode
from transformers import DynamicCache

from mlcslm.config.schema import ModelsConfig
from mlcslm.model.parts import PARTS
from mlcslm.model.speech_llm import IGNORED_LABEL
from mlcslm.plan.fake_model import stage_model
from mlcslm.plan.micro_batch import Lengths, Meter, Run
from mlcslm.plan.micro_batch import _run as run_micro_batch
from mlcslm.plan.shapes import read_shapes
from mlcslm.plan.tally import Tally

LANGUAGES = Path(__file__).parents[2] / "config" / "languages.tsv"
BATCH = Lengths(rows=3, seconds=2.0, prompt=7, answer=5)  # 100 encoder frames, 20 audio tokens: 32 positions


@pytest.fixture(scope="module")
def models(encoder_folder: str, language_model_folder: str) -> ModelsConfig:
    return ModelsConfig(encoder=encoder_folder, language_model=language_model_folder, projector_hidden=16)


@pytest.fixture(scope="module")
def meter(models: ModelsConfig) -> Meter:
    shapes = read_shapes(models.encoder, models.language_model, str(LANGUAGES))
    shapes.encoder.encoder_layers, shapes.language_model.num_hidden_layers = 3, 4
    shapes.language_model.layer_types = ["full_attention"] * 4
    shapes.language_model.vocab_size = 8192  # as in models of use, what the head makes is more than a layer's
    return Meter(shapes, models)


@pytest.fixture(scope="module")
def shallow(models: ModelsConfig) -> Meter:
    """Of models of one layer, which are run once instead of three times."""
    shapes = read_shapes(models.encoder, models.language_model, str(LANGUAGES))
    shapes.encoder.encoder_layers, shapes.language_model.num_hidden_layers = 1, 1
    shapes.language_model.layer_types = ["full_attention"]
    return Meter(shapes, models)


def test_positions_are_audio_prompt_and_answer() -> None:
    assert (BATCH.encoder_frames, BATCH.audio, BATCH.tokens) == (100, 20, 3 * 32)
    assert (Lengths(1, 3.87, 0, 0).audio, Lengths(1, 30.0, 0, 0).audio) == (39, 300)


@pytest.mark.parametrize(("trains", "cached"), [(("projector",), True), (PARTS, False)])
@pytest.mark.slow
def test_operations_are_those_of_the_models_own_forward_and_backward(meter: Meter, trains: tuple, cached: bool) -> None:
    run = Run(BATCH, trains=trains, cached=cached)
    model = stage_model(meter.shapes, meter.models, trains=trains, device="cpu", dtype=torch.float32)
    audio = [model.config.audio_token_id] * BATCH.audio
    ids = torch.tensor([[1] * BATCH.prompt + audio + [2] * BATCH.answer] * BATCH.rows)
    labels = torch.where(torch.arange(ids.shape[1]) < BATCH.prompt + BATCH.audio, IGNORED_LABEL, ids)
    if cached:
        heard = {"encoder_frames": torch.randn(BATCH.rows, BATCH.encoder_frames, 32)}
    else:
        heard = {"input_features": torch.randn(BATCH.rows, 80, 2 * BATCH.encoder_frames)}
    model.model.language_model.set_attn_implementation("sdpa")
    with FlopCounterMode(display=False, custom_mapping=ATTENTION) as counter:
        model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=labels, **heard).loss.backward()
    assert meter(run).flops == counter.get_total_flops()


def attention_flops(products: int) -> Callable[..., int]:
    """Of so many products of queries, keys and values (B, H, L, D), as the CPU's attention makes them."""

    def count(first: torch.Tensor, *_: Any, out_shape: Any = None, **__: Any) -> int:
        rows, heads, length, width = first
        return products * 2 * rows * heads * length * length * width

    return count


# Forward: scores and sums; backward: the scores again and four gradients.
ATTENTION = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attention_flops(2),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: attention_flops(5),
}


@pytest.mark.slow
def test_a_straight_line_through_one_and_two_layers_meets_the_whole_model(meter: Meter) -> None:
    for run in (Run(BATCH, trains=PARTS), Run(BATCH, learns=False), Run(BATCH, trains=("projector",), cached=True)):
        whole, reckoned = meter.measure(run, None), meter(run)
        assert reckoned.flops == whole.flops
        assert reckoned.cache == whole.cache
        assert reckoned.peak == pytest.approx(whole.peak, rel=0.03)


def test_reading_costs_two_operations_a_weight_and_token(meter: Meter) -> None:
    cost = meter(Run(BATCH, learns=False))
    sizes = meter.sizes
    frames, positions = BATCH.rows * BATCH.encoder_frames, BATCH.tokens - BATCH.rows * BATCH.answer
    layers = sizes["language_model"] - sizes["embedding"] - sizes["head"]
    # Convolutions read twice as many frames as the layers; norms and biases multiply nothing.
    least = 2 * (layers * positions + sizes["head"] * BATCH.rows)
    most = least + 2 * 2 * sizes["encoder"] * frames + 2 * sizes["projector"] * frames
    assert 0.9 * least < cost.flops < 1.3 * most
    text = meter.shapes.language_model
    width = text.hidden_size // text.num_attention_heads * text.num_key_value_heads
    assert cost.cache == 2 * 4 * width * positions * 2  # keys and values, layers, width, positions, bytes of bfloat16


@pytest.mark.slow
def test_recomputing_activations_costs_operations_and_saves_memory(meter: Meter) -> None:
    long = Lengths(rows=4, seconds=10.0, prompt=100, answer=100)
    kept, recomputed = (meter(Run(long, trains=PARTS, checkpointing=checkpointing)) for checkpointing in (False, True))
    assert recomputed.flops > kept.flops
    assert recomputed.peak < 0.8 * kept.peak


@pytest.mark.slow
def test_more_rows_cost_in_proportion(shallow: Meter) -> None:
    one, four = (shallow(Run(Lengths(rows, 4.0, 10, 10), trains=PARTS)) for rows in (2, 8))
    assert four.flops == pytest.approx(4 * one.flops, rel=1e-3)
    assert 3 * one.peak < four.peak < 4 * one.peak


@pytest.mark.slow
def test_rollouts_share_the_encoding_of_their_utterance(shallow: Meter) -> None:
    alone = shallow(Run(Lengths(4, 4.0, 10, 0), learns=False))
    shared = shallow(Run(Lengths(4, 4.0, 10, 0, audio_rows=1), learns=False))
    assert shared.cache == alone.cache
    assert shared.flops < alone.flops


@pytest.mark.parametrize("learns", [True, False])
def test_shapes_cost_what_fake_tensors_of_pytorch_do(meter: Meter, learns: bool) -> None:
    layers, parts = (1, 1), PARTS if learns else ()
    model = stage_model(meter.shapes, meter.models, trains=parts, layers=layers)
    with FakeTensorMode(allow_non_fake_inputs=True), torch.autocast("cpu", torch.bfloat16):
        for module in model.modules():
            for tensors in (module._parameters, module._buffers):
                for name, tensor in tensors.items():
                    if tensor is not None:
                        fake = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")
                        learnt = isinstance(tensor, torch.nn.Parameter)
                        tensors[name] = torch.nn.Parameter(fake, tensor.requires_grad) if learnt else fake
        for parameter in model.parameters():
            parameter.grad = torch.empty_like(parameter) if parameter.requires_grad else None
        run = Run(BATCH, trains=parts, learns=learns)
        with torch.set_grad_enabled(learns), FakeTally() as expected:
            run_micro_batch(model, run, None if learns else DynamicCache())
    found = meter.measure(run, layers)
    assert (found.flops, found.peak) == (expected.flops, expected.peak)


class FakeTally(Tally):
    """Fake tensors ask every mode for their device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.prim.device.default:
            return args[0].fake_device
        return super().__torch_dispatch__(func, types, args, kwargs)


def test_memory_is_what_is_alive_and_no_view_of_it() -> None:
    before = torch.zeros(1000)
    with Tally() as memory:
        first = before + 1
        assert memory.live == 4000
        view = first.view(10, 100).t()
        assert memory.live == 4000
        first.add_(1)
        second = first.double()
        assert memory.live == memory.peak == 12_000
        del first, view
        assert memory.live == 8000
        del second
        third = torch.zeros(500)
        assert (memory.live, memory.peak) == (third.nbytes, 12_000)


def test_memory_knows_what_a_backward_pass_keeps() -> None:
    weights = torch.ones(100, 100, requires_grad=True)
    inputs = torch.ones(50, 100)
    with Tally() as memory:
        loss = torch.tanh(inputs @ weights).sum()
        # tanh keeps its output for the backward pass; its input is gone, and the sum is one number.
        assert memory.live == 4 * (50 * 100 + 1)
        loss.backward()
    assert memory.peak >= 4 * (50 * 100 + 100 * 100)
