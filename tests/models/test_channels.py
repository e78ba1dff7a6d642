"""Networks for other than three channels, against timm's own way of making them."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from mobilebench import models
from mobilebench.models import PAPER_MODELS, ModelError
from mobilebench.models.channels import with_channels
from mobilebench.models.cost.counts import deployed

SIZE = (64, 64)


@pytest.mark.parametrize("channels", [1, 2, 4, 13])
def test_pretrained_filters_become_those_of_timm(channels: int) -> None:
    torch.manual_seed(0)
    rgb = timm.create_model("resnet18", num_classes=5)
    theirs = timm.create_model("resnet18", num_classes=5, in_chans=channels)
    adapted = timm.models.adapt_input_conv(channels, rgb.conv1.weight.detach())
    theirs.load_state_dict({**rgb.state_dict(), "conv1.weight": adapted})
    mine = with_channels(rgb, channels, SIZE, pretrained=True).eval()
    images = torch.randn(2, channels, *SIZE)
    with torch.no_grad():
        torch.testing.assert_close(mine(images), theirs.eval()(images))


@pytest.mark.parametrize("channels", [1, 3, 6])
def test_grey_in_every_channel_gives_what_grey_rgb_gave(channels: int) -> None:
    torch.manual_seed(0)
    network = models.create("mobilenet", 5).eval()
    grey = torch.randn(2, 1, *SIZE)
    with torch.no_grad():
        before = network(grey.expand(-1, 3, -1, -1))
        after = with_channels(network, channels, SIZE, pretrained=True)(grey.expand(-1, channels, -1, -1))
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("model_id", [*PAPER_MODELS, "timm:vit_tiny_patch16_224", "torchvision:squeezenet1_1"])
@pytest.mark.parametrize("channels", [1, 13])
def test_drawn_filters_keep_the_variance(model_id: str, channels: int) -> None:
    torch.manual_seed(0)
    options = {"img_size": 64} if "vit_tiny" in model_id else {}
    network = models.create(model_id, 5, **options)
    before = {
        name: float(m.weight.std())
        for name, m in network.named_modules()
        if isinstance(m, nn.Conv2d) and m.in_channels == 3
    }
    params = sum(p.numel() for p in network.parameters())
    read = sum(network.get_submodule(name).weight.numel() for name in before)  # type: ignore[union-attr, operator]
    with_channels(network, channels, SIZE, pretrained=False)
    assert before
    for name, std in before.items():
        layer = network.get_submodule(name)
        assert isinstance(layer, nn.Conv2d)
        assert layer.in_channels == layer.weight.shape[1] == channels
        if layer.weight.numel() > 500:
            assert float(layer.weight.std()) == pytest.approx(std * (3 / channels) ** 0.5, rel=0.1)
    assert sum(p.numel() for p in network.parameters()) == params - read + read * channels // 3
    with torch.no_grad():
        assert network.eval()(torch.randn(2, channels, *SIZE)).shape == (2, 5)


def test_the_same_seed_draws_the_same_filters_and_the_network_is_left_in_its_mode() -> None:
    def made(seed: int) -> nn.Module:
        torch.manual_seed(0)
        network = models.create("starnet", 5)
        torch.manual_seed(seed)
        return with_channels(network, 4, SIZE, pretrained=False)

    first, same, other = made(1), made(1), made(2)
    assert first.training
    pairs = zip(first.state_dict().values(), same.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    differ = [name for name, value in first.state_dict().items() if not torch.equal(value, other.state_dict()[name])]
    assert len(differ) == 1


def test_training_branches_still_fold_to_the_same_function() -> None:
    torch.manual_seed(0)
    network = with_channels(models.create("mobileone", 5), 4, SIZE, pretrained=False).eval()
    folded = deployed(network)
    assert folded is not None
    images = torch.randn(2, 4, *SIZE)
    with torch.no_grad():
        torch.testing.assert_close(folded(images), network(images), rtol=1e-3, atol=1e-4)


def test_a_network_that_reads_images_otherwise_is_refused() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 5))
    with pytest.raises(ModelError, match=r"cannot be made to take images of 4 channels.*no convolution of three"):
        with_channels(network, 4, SIZE, pretrained=False)


def test_three_channels_change_nothing() -> None:
    torch.manual_seed(0)
    network = models.create("starnet", 5)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = torch.get_rng_state()
    assert with_channels(network, 3, SIZE, pretrained=False) is network
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
