"""The fused LoRA layer computes what peft's own computes: outputs, gradients, and every case that it leaves to peft."""

from __future__ import annotations

import copy

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora.layer import Linear
from torch import nn

from mlcslm.model.lora_linear import LoraLinear, fuse


def pair(dropout: float = 0.0, bias: bool = True, rank: int = 3) -> tuple[nn.Module, nn.Module]:
    """Two equal small networks with adapters that do something: peft's, and the fused one."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(7, 11, bias=bias), nn.GELU(), nn.Linear(11, 5, bias=bias))
    config = LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=dropout, target_modules="all-linear")
    peft = inject_adapter_in_model(config, network)
    for name, parameter in peft.named_parameters():
        parameter.requires_grad = "lora_" in name
        if "lora_" in name:
            nn.init.normal_(parameter, std=0.5)
    fused = copy.deepcopy(peft)
    fuse(fused)
    assert [type(layer) for layer in fused if not isinstance(layer, nn.GELU)] == [LoraLinear] * 2
    assert type(peft[0]) is Linear
    return peft, fused


def results(network: nn.Module, x: torch.Tensor) -> dict[str, torch.Tensor]:
    x = x.clone().requires_grad_()
    out = network(x)
    out.float().pow(2).sum().backward()
    found = {name: parameter.grad for name, parameter in network.named_parameters() if parameter.requires_grad}
    return found | {"out": out.detach(), "x": x.grad}


def assert_same(network: nn.Module, fused: nn.Module, x: torch.Tensor, tolerance: float = 1e-10) -> None:
    expected, found = results(network, x), results(fused, x)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        assert found[name].dtype == value.dtype, name
        torch.testing.assert_close(found[name], value, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("shape", [(4, 7), (2, 3, 7), (1, 1, 7)])
@pytest.mark.parametrize("bias", [True, False])
def test_outputs_and_gradients_are_pefts(shape: tuple[int, ...], bias: bool) -> None:
    peft, fused = pair(bias=bias)
    assert_same(peft.double(), fused.double(), torch.randn(shape, dtype=torch.float64))


def test_gradients_are_the_numerical_ones() -> None:
    _, fused = pair()
    fused.double()
    x = torch.randn(2, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(fused, (x,))


def test_frozen_adapters_pass_the_gradient_on() -> None:
    peft, fused = pair()
    for network in (peft, fused):
        network.double()
        network[2].requires_grad_(False)
    assert_same(peft, fused, torch.randn(2, 7, dtype=torch.float64))


def test_autocast_multiplies_in_bfloat16_and_gives_float32_gradients() -> None:
    peft, fused = pair()
    with torch.autocast("cpu", torch.bfloat16):
        assert fused(torch.randn(2, 7)).dtype == torch.bfloat16
        x = torch.randn(64, 7)
        expected, found = results(peft, x), results(fused, x)
    for name, value in expected.items():
        assert found[name].dtype == (torch.bfloat16 if name == "out" else torch.float32)
        assert (found[name] - value).norm() < 0.03 * value.norm(), name


def test_adapters_in_float32_on_weights_in_bfloat16_are_left_to_peft() -> None:
    peft, fused = pair()
    for network in (peft, fused):
        for layer in (network[0], network[2]):
            layer.base_layer.to(torch.bfloat16)
    x = torch.randn(3, 7, dtype=torch.bfloat16)
    assert torch.equal(fused(x), peft(x))


def test_dropout_merging_and_disabling_are_left_to_peft() -> None:
    x = torch.randn(3, 7)
    peft, fused = pair(dropout=0.5)
    torch.manual_seed(1)
    expected = peft(x)
    torch.manual_seed(1)
    assert torch.equal(fused(x), expected)
    peft, fused = pair()
    for network in (peft, fused):
        network[0].merge()
        network[2].enable_adapters(False)
    assert torch.equal(fused(x), peft(x))
    fused[0].unmerge()
    fused[2].enable_adapters(True)
    torch.testing.assert_close(fused(x), pair()[0](x))
