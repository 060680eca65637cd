"""What sampling costs, against operations counted by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlcslm.config.schema import ModelsConfig
from mlcslm.config.stages import ReinforcementConfig
from mlcslm.plan.generation import Generating, Sampling
from mlcslm.plan.micro_batch import Meter
from mlcslm.plan.shapes import read_shapes
from mlcslm.plan.throughput import Gpu

GPU = Gpu(name="toy", memory_gib=1, reserved_gib=0.5, bfloat16_tflops=1, bandwidth_gb_s=100)
STAGE = ReinforcementConfig(
    kind="reinforcement",
    parent="a",
    trains=["lm_lora"],
    rewards=["accuracy"],
    steps=1,
    rollouts=4,
    beam_rollouts=1,
    beams=2,
)


@pytest.fixture(scope="module")
def meter(encoder_folder: str, language_model_folder: str) -> Meter:
    """Of models of one layer."""
    languages = Path(__file__).parents[2] / "config" / "languages.tsv"
    shapes = read_shapes(encoder_folder, language_model_folder, str(languages))
    shapes.encoder.encoder_layers, shapes.language_model.num_hidden_layers = 1, 1
    shapes.language_model.layer_types = ["full_attention"]
    return Meter(shapes, ModelsConfig(encoder=encoder_folder, language_model=language_model_folder))


def test_adapters_beside_the_weights_take_more_launches(meter: Meter) -> None:
    """Models this small wait for kernels to be launched: 82 an adapted layer, 40 a merged one."""
    merged, unmerged = (Generating(meter, parts, 3, 2, prompt=5) for parts in ((), ("lm_lora",)))
    assert merged.growing(2.0, 10, GPU).seconds == pytest.approx(10 * 0.030)
    assert unmerged.growing(2.0, 10, GPU).seconds == pytest.approx(10 * 0.030 * 82 / 40)
    assert unmerged.growing(2.0, 10, GPU).flops > merged.growing(2.0, 10, GPU).flops
    work = merged.work(2.0, 10, GPU)
    assert work == merged.reading(2.0, GPU) + merged.growing(2.0, 10, GPU)


def test_a_step_is_sampled_in_one_batch_with_merged_adapters(meter: Meter) -> None:
    sampling = Sampling(meter, STAGE, ("lm_lora",), prompt=5, cached=False)
    work = sampling.work(6, 2.0, 10, GPU)
    sizes = meter.sizes
    weights = sizes["language_model"] - sizes["head"]  # layers, and a head as large as the embedding
    # Each prompt is read once; then three samples and two beams of six utterances are extended ten times.
    reading = Generating(meter, (), 6, 1, prompt=5, shared=True).reading(2.0, GPU)
    assert work.flops == pytest.approx(reading.flops + 10 * 2 * weights * 6 * (3 + 2))
    assert work.seconds == pytest.approx(reading.seconds + 2 * 10 * 0.030)  # one request after the other
    alone = Sampling(meter, STAGE.model_copy(update={"beam_rollouts": 0}), ("lm_lora",), prompt=5, cached=False)
    assert alone.work(6, 2.0, 10, GPU).seconds == pytest.approx(reading.seconds + 10 * 0.030)


def test_merging_copies_the_weights_that_have_adapters(meter: Meter) -> None:
    frozen, adapted = (Sampling(meter, STAGE, parts, 5, cached=False) for parts in ((), ("lm_lora",)))
    layers = meter.sizes["language_model"] - meter.sizes["head"] - meter.sizes["embedding"]
    assert adapted.memory(6, 2.0, 10) - frozen.memory(6, 2.0, 10) == 2 * layers
