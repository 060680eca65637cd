"""Muon against the definition of its steps, and against torch's AdamW for all else."""

from __future__ import annotations

import copy

import pytest
import torch

from mlcslm.training.muon import Muon, orthogonalised


@pytest.mark.parametrize("shape", [(6, 6), (4, 30), (30, 4)])
def test_an_orthogonalised_matrix_has_the_same_singular_vectors_and_values_near_one(shape):
    torch.manual_seed(1)
    matrix = torch.randn(shape)
    u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    found = u.T @ orthogonalised(matrix) @ vh.T
    assert torch.allclose(found, torch.diag(found.diagonal()), atol=1e-4)
    assert found.diagonal().min() > 0.6 and found.diagonal().max() < 1.3
    assert s.max() / s.min() > 1.5  # as they were not before


def test_a_first_step_of_a_matrix_has_the_learning_rate_as_its_size():
    torch.manual_seed(2)
    weight = torch.nn.Parameter(torch.zeros(40, 200))
    weight.grad = torch.randn(40, 200)
    Muon([{"params": [weight], "matrices": True, "lr": 0.01}]).step()
    assert float(weight.detach().square().mean().sqrt()) == pytest.approx(0.2 * 0.01, rel=0.2)
    assert float((weight.detach() * weight.grad).sum()) < 0


def test_a_matrix_is_stepped_as_torch_does_up_to_its_rounding():
    torch.manual_seed(3)
    ours = torch.nn.Parameter(torch.randn(16, 24))
    theirs = torch.nn.Parameter(ours.detach().clone())
    both = [
        Muon([{"params": [ours], "matrices": True, "lr": 0.02}], weight_decay=0.1),
        torch.optim.Muon([theirs], lr=0.02, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw"),
    ]
    before = ours.detach().clone()
    for _ in range(4):
        gradient = torch.randn(16, 24)
        for parameter, optimiser in zip((ours, theirs), both, strict=True):
            parameter.grad = gradient.clone()
            optimiser.step()
    moved = (theirs - before).norm().item()
    assert (ours - theirs).norm().item() < 0.02 * moved  # torch orthogonalises in bfloat16


def test_a_kernel_is_a_matrix_of_its_output_channels():
    torch.manual_seed(4)
    kernel, matrix = torch.nn.Parameter(torch.ones(6, 5, 3)), torch.nn.Parameter(torch.ones(6, 15))
    kernel.grad = torch.randn(6, 5, 3)
    matrix.grad = kernel.grad.reshape(6, 15).clone()
    Muon([{"params": [kernel, matrix], "matrices": True}]).step()
    assert torch.equal(kernel.detach().reshape(6, 15), matrix.detach())


def test_other_weights_are_stepped_as_by_adamw():
    torch.manual_seed(5)
    ours = [torch.nn.Parameter(torch.randn(7)), torch.nn.Parameter(torch.randn(5, 4))]
    theirs = copy.deepcopy(ours)
    options = {"betas": (0.9, 0.98), "weight_decay": 0.1}
    both = [
        Muon([{"params": ours, "lr": 0.01, "eps": 1e-3}], **options),
        torch.optim.AdamW(theirs, lr=0.01, eps=1e-3, fused=True, **options),
    ]
    for _ in range(3):
        for mine, other in zip(ours, theirs, strict=True):
            mine.grad = torch.randn_like(mine)
            other.grad = mine.grad.clone()
        for optimiser in both:
            optimiser.step()
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.equal(mine, other)


def test_steps_go_on_from_a_saved_state_as_if_they_had_not_stopped():
    def steps(weights, optimiser, first, last):
        for step in range(first, last):
            for number, weight in enumerate(weights):
                weight.grad = torch.sin(torch.arange(weight.numel()) * (step + 1.0) + number).reshape(weight.shape)
            optimiser.step()

    def fresh():
        weights = [torch.nn.Parameter(torch.ones(4, 6)), torch.nn.Parameter(torch.ones(3))]
        return weights, Muon([{"params": weights[:1], "matrices": True}, {"params": weights[1:]}])

    whole, optimiser = fresh()
    steps(whole, optimiser, 0, 6)
    begun, optimiser = fresh()
    steps(begun, optimiser, 0, 3)
    resumed, continued = fresh()
    with torch.no_grad():
        for old, new in zip(begun, resumed, strict=True):
            new.copy_(old)
    continued.load_state_dict(copy.deepcopy(optimiser.state_dict()))
    steps(resumed, continued, 3, 6)
    assert all(torch.equal(one, other) for one, other in zip(whole, resumed, strict=True))
