"""Counts against hand-worked modules."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional

from mobilebench import models
from mobilebench.models import ModelError, checks
from mobilebench.models.cost import counts as cost

Built = Callable[[str], nn.Module]


class Net(nn.Module):
    """A classifier of 3 x S x S images made of any parts."""

    def __init__(self, *parts: nn.Module) -> None:
        super().__init__()
        self.parts = nn.Sequential(*parts)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.parts(x)


class Tokens(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(2).transpose(1, 2)


class Mean(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(1)


class FusedAttention(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q = x.unflatten(-1, (2, 4)).transpose(1, 2)
        return functional.scaled_dot_product_attention(q, q, q).transpose(1, 2).flatten(2)


def test_a_hand_worked_convolution_and_head() -> None:
    net = Net(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
    found = cost.static_cost(net, 16)
    conv, head = 8 * 3 * 9, 8 * 5
    assert found == cost.Cost(conv + 8 + 16 + head + 5, conv + 8 + 16 + head + 5, conv + 8 + 16, conv * 8 * 8 + head)


def test_a_depthwise_convolution_counts_its_own_channel_only() -> None:
    net = Net(
        nn.Conv2d(3, 3, 3, padding=1, groups=3, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2)
    )
    assert cost.static_cost(net, 10).macs == 9 * 3 * 100 + 6


@pytest.mark.parametrize("training", [True, False])
def test_attention_counts_its_two_matrix_products_however_it_is_computed(training: bool) -> None:
    """An encoder layer of width 8: 4 projections, scores and mixing, two feed-forward layers; L = 16 tokens."""
    layer = nn.TransformerEncoderLayer(8, 2, 24, batch_first=True)
    net = Net(nn.Conv2d(3, 8, 1), Tokens(), layer, Mean(), nn.Linear(8, 5)).train(training)
    tokens = 16
    by_hand = 3 * 8 * 16 + 4 * tokens * 8 * 8 + 2 * tokens * tokens * 8 + 2 * tokens * 8 * 24 + 8 * 5
    assert cost.static_cost(net, 4).macs == by_hand
    assert net.training == training
    assert torch.backends.mha.get_fastpath_enabled()


def test_fused_attention_is_counted() -> None:
    net = Net(nn.Conv2d(3, 8, 1), Tokens(), FusedAttention(), Mean(), nn.Linear(8, 5))
    assert cost.static_cost(net, 4).macs == 3 * 8 * 16 + 2 * 16 * 16 * 8 + 40


def test_a_frozen_layer_is_not_trainable() -> None:
    net = Net(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
    net.parts[0].requires_grad_(False)
    found = cost.static_cost(net, 8)
    assert found.params - found.params_trainable == 8 * 27 + 8


def test_a_convolution_can_be_the_head() -> None:
    net = Net(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 5, 1), nn.Flatten())
    assert cost.static_cost(net, 8).params_without_head == 8 * 27 + 8


def test_counting_leaves_modes_statistics_and_the_random_state_alone(built: Built) -> None:
    model = copy.deepcopy(built("mobilenet")).train()
    model.features[0].eval()  # a part frozen in eval stays so
    before, random_state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    cost.static_cost(model, 32)
    cost.activation_bytes(model, 32)
    assert model.training
    assert not model.features[0].training
    assert model.features[1].training
    assert torch.equal(random_state, torch.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_activation_bytes_by_hand() -> None:
    """A linear layer saves its input, a ReLU its output; the last layer its input, which is that output: once."""
    net = Net(nn.Flatten(), nn.Linear(3 * 4 * 4, 10), nn.ReLU(), nn.Linear(10, 2))
    assert cost.activation_bytes(net, 4) == 4 * (48 + 10)


def test_activation_bytes_grow_with_the_area_of_the_image(built: Built) -> None:
    model = built("mobilenet")
    small, large = cost.activation_bytes(model, 64), cost.activation_bytes(model, 128)
    assert 3.9 * small < large < 4 * small  # the statistics of normalisation layers do not grow


def test_training_bytes_are_four_copies_and_the_activations() -> None:
    net = Net(nn.Flatten(), nn.Linear(48, 2, bias=False))
    assert cost.training_bytes(net, 100, 8) == 4 * 4 * 96 + 800


@pytest.mark.parametrize("model_id", ["mobilenet", "convnext"])
def test_training_bytes_agree_with_pytorchs_tracker_of_a_training_step(built: Built, model_id: str) -> None:
    from torch.distributed._tools.mem_tracker import MemTracker

    model, batch, resolution = copy.deepcopy(built(model_id)), 8, 64
    estimate = cost.training_bytes(model, cost.activation_bytes(model, resolution), batch)
    optimizer, tracker = torch.optim.Adam(model.parameters(), foreach=False), MemTracker()
    tracker.track_external(model, optimizer)
    with tracker:
        for _ in range(2):  # Adam's moments exist from the second step on
            tracker.reset_mod_stats()
            functional.cross_entropy(
                model(torch.zeros(batch, 3, resolution, resolution)), torch.arange(batch)
            ).backward()
            optimizer.step()
            optimizer.zero_grad()
    (peak,) = (sizes["Total"] for sizes in tracker.get_tracker_snapshot("peak").values())
    assert estimate == pytest.approx(peak, rel=0.1)


def test_weight_bytes_count_running_statistics() -> None:
    net = Net(nn.Conv2d(3, 8, 1, bias=False), nn.BatchNorm2d(8))
    assert cost.weight_bytes(net) == 4 * (24 + 4 * 8)


# the deployed sizes of the released code's own re-parameterisation; its MACs include normalisation and pooling
DEPLOYED = {"mobileone": (1_063_754, 274.1), "ghostnet": (1_837_166, 141.5)}


@pytest.mark.parametrize("model_id", DEPLOYED)
def test_deployed_size(built: Built, model_id: str) -> None:
    found = cost.deployed_cost(built(model_id), 224)
    params, macs = DEPLOYED[model_id]
    assert found.params == params
    assert 0.96 * macs < found.macs / 1e6 <= macs + 0.05


@pytest.mark.parametrize("model_id", ["mobileone", "ghostnet", "mobileone_canonical", "ghostnet_canonical"])
def test_the_deployed_network_is_the_same_function(built: Built, model_id: str, random_images: torch.Tensor) -> None:
    model = copy.deepcopy(built(model_id)).eval()
    generator = torch.Generator().manual_seed(0)
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.running_mean.normal_(0, 0.1, generator=generator)
        norm.running_var.uniform_(0.5, 2, generator=generator)
    folded = cost.deployed(model)
    with torch.no_grad():
        torch.testing.assert_close(folded(random_images), model(random_images), rtol=1e-3, atol=1e-4)
    assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in built(model_id).parameters())


def test_a_network_without_branches_is_deployed_as_it_is(built: Built) -> None:
    assert cost.deployed(built("mobilenet")) is None
    assert cost.deployed_cost(built("shufflenet"), 32) is None


def head(inputs: int = 3, classes: int = 10) -> tuple[nn.Module, ...]:
    return nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, classes)


def test_a_network_at_the_budget_has_no_warning(built: Built) -> None:
    assert checks.budget_warnings(built("mobilenet")) == ()


@pytest.mark.parametrize(
    ("params", "warned"), [(1_990_000, True), (2_010_000, False), (2_990_000, False), (3_010_000, True)]
)
def test_the_budget_warning_starts_a_fifth_off(params: int, warned: bool) -> None:
    with torch.device("meta"):
        assert bool(checks.budget_warnings(nn.Linear(params, 1, bias=False))) == warned


class Unused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.used, self.forgotten = nn.Sequential(*head()), nn.Linear(2, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.used(x)


class Pair(Unused):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.used(x), self.forgotten(x[:, 0, :2, :2])


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (Unused(), r"2 parameters of Unused get no gradient \(forgotten.weight, forgotten.bias\)"),
        (Pair(), r"returns tuple for 1 images; expected logits of the shape \(1, classes\)"),
        (nn.Sequential(*head(classes=9)), "has 9 outputs; the dataset has 10 classes"),
        (nn.Sequential(nn.Conv2d(3, 3, 9), *head()), "cannot take images of 8 px"),
        (nn.Sequential(nn.Conv2d(3, 10, 1)), r"returns \(1, 10, 8, 8\) for 1 images"),
        (nn.Sequential(*head()).requires_grad_(False), "no trainable parameters"),
        (nn.Identity(), "no trainable parameters"),
    ],
)
def test_networks_that_cannot_be_trained(net: nn.Module, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        checks.check(net, 10, 8)


def test_a_network_that_returns_no_numbers_is_refused() -> None:
    net = nn.Sequential(*head())
    with torch.no_grad():
        net[2].bias[0] = float("nan")
    with pytest.raises(ModelError, match="not finite"):
        checks.check(net, 10, 8)


def test_a_frozen_parameter_needs_no_gradient() -> None:
    net = Unused()
    net.forgotten.requires_grad_(False)
    checks.check(net, 10, 8)


def test_timm_networks_pass_the_same_checks() -> None:
    checks.check(models.create("timm:resnet10t", 10), 10, 32)
