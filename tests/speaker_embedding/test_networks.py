"""Names and shapes as in the public checkpoints: what 3D-Speaker's and WeSpeaker's code of the networks builds."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from torch import nn

from mlcslm.config.diarization import PUBLIC_SIZES
from mlcslm.errors import UserError
from mlcslm.speaker_embedding.base import StatisticsPooling
from mlcslm.speaker_embedding.campplus import ContextMask
from mlcslm.speaker_embedding.eres2net import ERes2Net, Fusion, Res2Block
from mlcslm.speaker_embedding.networks import NETWORKS, build_network

SMALL: dict[str, dict[str, Any]] = {
    "campplus": {"channels": 16, "growth": 8, "bottleneck": 2, "blocks": (2, 1, 2), "head_channels": 4},
    "eres2net": {"channels": 4, "blocks": (1, 2, 1, 1)},
    "resnet101": {"channels": 4, "blocks": (1, 2, 1, 1)},
}

# Tensors of the checkpoint, whose running statistics and counters are not parameters; then names and shapes.
PUBLIC: dict[str, tuple[int, int, dict[str, tuple[int, ...]]]] = {
    "campplus": (
        6_848_544,
        937,
        {
            "head.conv1.weight": (32, 1, 3, 3),
            "head.layer1.0.shortcut.1.running_var": (32,),
            "head.layer2.1.conv2.weight": (32, 32, 3, 3),
            "xvector.tdnn.linear.weight": (128, 320, 5),
            "xvector.tdnn.nonlinear.batchnorm.num_batches_tracked": (),
            "xvector.block1.tdnnd12.linear1.weight": (128, 480, 1),
            "xvector.block2.tdnnd24.cam_layer.linear_local.weight": (32, 128, 3),
            "xvector.block3.tdnnd1.cam_layer.linear1.bias": (64,),
            "xvector.block3.tdnnd16.cam_layer.linear2.weight": (32, 64, 1),
            "xvector.transit3.nonlinear.batchnorm.bias": (1024,),
            "xvector.transit3.linear.weight": (512, 1024, 1),
            "xvector.out_nonlinear.batchnorm.weight": (512,),
            "xvector.dense.linear.weight": (192, 1024, 1),
            "xvector.dense.nonlinear.batchnorm.running_mean": (192,),
        },
    ),
    "eres2net": (
        6_610_688,
        587,
        {
            "conv1.weight": (32, 1, 3, 3),
            "layer1.0.convs.1.weight": (16, 16, 3, 3),
            "layer2.0.shortcut.0.weight": (128, 64, 1, 1),
            "layer3.5.fuse_models.0.local_att.0.weight": (16, 128, 1, 1),
            "layer3.5.fuse_models.0.local_att.4.bias": (64,),
            "layer4.2.bns.1.running_mean": (128,),
            "layer4.2.conv3.weight": (512, 256, 1, 1),
            "layer3_downsample.weight": (512, 256, 3, 3),
            "fuse_mode1234.local_att.3.weight": (512, 128, 1, 1),
            "seg_1.weight": (192, 10240),
        },
    ),
    "resnet101": (
        15_892_448,
        626,
        {
            "conv1.weight": (32, 1, 3, 3),
            "layer1.0.shortcut.0.weight": (128, 32, 1, 1),
            "layer3.22.conv2.weight": (128, 128, 3, 3),
            "layer3.22.bn3.num_batches_tracked": (),
            "layer4.0.shortcut.1.weight": (1024,),
            "seg_1.weight": (256, 20480),
            "seg_1.bias": (256,),
        },
    ),
}


@pytest.mark.parametrize("network", list(NETWORKS))
def test_public_size_has_the_public_checkpoints_names_shapes_and_counts(network: str) -> None:
    parameters, tensors, shapes = PUBLIC[network]
    with torch.device("meta"):
        model = build_network(network)
    state = model.state_dict()
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    assert len(state) == tensors
    assert {name: tuple(state[name].shape) for name in shapes} == shapes


def test_sizes_match_the_published_ones() -> None:
    """CAM++'s 6.93 M include the statistics of its normalisations; the others are parameters only."""
    with torch.device("meta"):
        held = sum(tensor.numel() for tensor in build_network("campplus").state_dict().values())
    assert [round(count / 1e6, 2) for count in (held, PUBLIC["eres2net"][0], PUBLIC["resnet101"][0])] == [
        6.93,
        6.61,
        15.89,
    ]


def test_3d_speakers_larger_eres2net_is_a_size_of_the_same_network() -> None:
    with torch.device("meta"):
        state = ERes2Net(channels=64, base_width=24, scale=3, expansion=4).state_dict()
    assert state["layer3.0.fuse_models.1.local_att.0.weight"].shape == (24, 192, 1, 1)
    assert state["layer1_downsample.weight"].shape == (512, 256, 3, 3)
    assert state["seg_1.weight"].shape == (192, 40960)


@pytest.mark.parametrize("network", list(NETWORKS))
def test_configurable_sizes_are_the_constructors_arguments_and_defaults(network: str) -> None:
    parameters = inspect.signature(NETWORKS[network].__init__).parameters
    defaults = {name: entry.default for name, entry in parameters.items() if name not in ("self", "features")}
    assert defaults == PUBLIC_SIZES[network]


@pytest.mark.parametrize("network", list(NETWORKS))
@pytest.mark.parametrize("frames", [10, 148, 333])
def test_a_window_is_embedded_by_itself(network: str, frames: int) -> None:
    torch.manual_seed(0)
    model = build_network(network, {**SMALL[network], "embedding_size": 12}).eval()
    features = torch.randn(3, frames, 80)
    with torch.inference_mode():
        together = model(features)
        alone = torch.cat([model(features[at : at + 1]) for at in range(3)])
    assert together.shape == (3, 12)
    assert torch.isfinite(together).all()
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
    assert (together[0] - together[1]).abs().max() > 1e-4


@pytest.mark.parametrize("network", list(NETWORKS))
def test_every_parameter_learns(network: str) -> None:
    torch.manual_seed(0)
    model = build_network(network, SMALL[network]).train()
    model(torch.randn(4, 40, 80)).square().sum().backward()
    assert not [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


def test_pooling_is_mean_and_deviation_over_time() -> None:
    pooled = StatisticsPooling(epsilon=1e-8)(torch.tensor([[[1.0, 2.0, 3.0], [5.0, 5.0, 5.0]]]))
    torch.testing.assert_close(pooled, torch.tensor([[2.0, 5.0, 1.0, 1e-4]]))


def test_a_mask_sees_the_window_and_its_segment_of_a_hundred_frames() -> None:
    torch.manual_seed(0)
    mask = ContextMask(4, 3, kernel=3, dilation=1)
    x = torch.randn(1, 4, 250)
    expected = []
    for first, last in ((0, 100), (100, 200), (200, 250)):
        context = (x.mean(dim=-1) + x[..., first:last].mean(dim=-1)).unsqueeze(-1)
        weight = torch.sigmoid(mask.linear2(torch.relu(mask.linear1(context))))
        expected.append(mask.linear_local(x)[..., first:last] * weight)
    torch.testing.assert_close(mask(x), torch.cat(expected, dim=-1))


def test_a_fusion_without_attention_is_a_sum() -> None:
    fusion = Fusion(8).eval()
    nn.init.zeros_(fusion.local_att[3].weight)
    nn.init.zeros_(fusion.local_att[3].bias)
    first, second = torch.randn(2, 2, 8, 5, 5)
    torch.testing.assert_close(fusion(first, second), first + second)


def test_blocks_of_eres2net_clip_at_twenty() -> None:
    block = Res2Block(4, 8, 2, 2, 1, fuses=False).eval()
    assert block(1e4 * torch.randn(2, 4, 6, 6)).detach().unique().tolist()[::1][-1] == 20


def test_an_unknown_network_or_size_is_refused() -> None:
    with pytest.raises(UserError, match="expected one of: campplus, eres2net, resnet101"):
        build_network("xvector")
    with pytest.raises(UserError, match="campplus: found size depth, expected some of: embedding_size, channels"):
        build_network("campplus", {"depth": 3})


@pytest.mark.parametrize("frames", [2, 75, 148, 430])
def test_campplus_as_run_on_a_cpu_is_the_same_function(frames: int) -> None:
    """With batch norms as training may leave them: of any sign, and of zero, which makes a channel constant."""
    torch.manual_seed(frames)
    size = {"channels": 16, "growth": 8, "bottleneck": 2, "blocks": (2, 1, 2), "head_channels": 4, "embedding_size": 16}
    network = build_network("campplus", size).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.5)
            module.running_var.uniform_(0.3, 2)
            if module.affine:
                module.weight.data.normal_()
                module.weight.data[::5] = 0
                module.bias.data.normal_()
    with torch.inference_mode():
        features = torch.randn(5, frames, 80)
        folded = network.on_cpu()
        expected, found = network.frames(features), folded.frames(features)
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
        if frames > 2:
            torch.testing.assert_close(folded.pooled(expected), network.pooled(expected), atol=1e-4, rtol=1e-4)
            parts = network.pooled_parts(expected, 30, 7)
            assert parts.shape[1] == (expected.shape[-1] - 30) // 7 + 1
            torch.testing.assert_close(folded.pooled_parts(expected, 30, 7), parts, atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(parts[:, 1], network.pooled(expected[..., 7:37]), atol=1e-5, rtol=1e-5)
