"""WaveMix-192/16, against a transform worked by hand and the logits of its authors' package."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mobilebench import models
from mobilebench.models import ModelError
from mobilebench.models.cost.counts import static_cost
from mobilebench.models.weights.files import WeightsFile
from mobilebench.models.weights.start import find_head, load_body
from mobilebench.models.zoo.wavemix import Block, haar

Built = Callable[[str], nn.Module]

MODEL = "wavemix_192_16"
# Of the package wavemix 0.2.4 (the class WaveMix with three classes, evaluating), with the weights and the image below.
PUBLISHED_LOGITS = (-0.15169859, 0.99033296, -0.32345438)


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def filled(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return weights that are the same everywhere: waves, around 1 for the scales and variances of batch norm."""
    found = {}
    for place, (name, value) in enumerate(state.items()):
        wave = torch.sin(torch.arange(value.numel(), dtype=torch.float32) * 0.37 + place).view(value.shape)
        scale = value[0].numel() ** -0.5 if value.ndim > 1 else 0.1
        is_scale = "running_var" in name or (name.endswith("weight") and value.ndim == 1)
        found[name] = wave * scale + int(is_scale)
    return found


def test_the_transform_of_two_squares_by_hand() -> None:
    image = torch.tensor([[[[1.0, 2, 0, 4], [3, 7, 5, 1]]]])
    low, details = haar(image)
    assert low.tolist() == [[[[6.5, 5.0]]]]  # half of 1 + 2 + 3 + 7, of 0 + 4 + 5 + 1
    assert details.tolist() == [[[[-3.5, -1.0]], [[-2.5, 0.0]], [[1.5, -4.0]]]]  # rows, columns, diagonals


def test_the_details_of_a_channel_stand_together() -> None:
    image = torch.stack([torch.zeros(2, 2), torch.tensor([[1.0, 2], [3, 7]])])[None]
    _, details = haar(image)
    assert details[0, :, 0, 0].tolist() == [0, 0, 0, -3.5, -2.5, 1.5]


def test_the_transform_is_orthonormal() -> None:
    images = torch.randn(2, 3, 8, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    low, details = haar(images)
    torch.testing.assert_close(low.square().sum() + details.square().sum(), images.square().sum())
    basis = torch.eye(16, dtype=torch.float64).view(16, 1, 4, 4)
    rows = torch.cat(haar(basis), dim=1).flatten(1)
    torch.testing.assert_close(rows @ rows.T, torch.eye(16, dtype=torch.float64))


@pytest.mark.parametrize(("classes", "params"), [(1000, 27_857_608), (10, 27_666_538)])
def test_parameters_are_those_published_part_by_part(classes: int, params: int) -> None:
    with torch.device("meta"):
        network = models.create(MODEL, classes)
    assert count(network) == params
    assert count(network.conv) == 338_400
    assert [count(block) for block in network.layers] == [1_707_888] * 16
    assert count(network.pool) == 193 * classes


def test_the_state_dict_is_that_of_the_published_weights() -> None:
    with torch.device("meta"):
        state = models.create(MODEL, 1000).state_dict()
    assert len(state) == 573
    owners = {name.rpartition(".")[0] for name in state}
    parts = [f"feedforward{level}.{place}" for level in (1, 2, 3) for place in (0, 3, 4, 5)]
    blocks = {f"layers.{block}.{part}" for block in range(16) for part in (*parts, "reduction")}
    assert owners == blocks | {"conv.0", "conv.1", "conv.2", "conv.4", "pool.2"}
    shapes = {name: tuple(state[f"layers.0.{name}.weight"].shape) for name in (*parts, "reduction")}
    assert shapes == {
        "feedforward1.0": (384, 288, 1, 1), "feedforward1.3": (192, 384, 1, 1),
        "feedforward1.4": (192, 192, 4, 4), "feedforward1.5": (192,),
        "feedforward2.0": (384, 288, 1, 1), "feedforward2.3": (192, 384, 1, 1),
        "feedforward2.4": (192, 96, 4, 4), "feedforward2.5": (96,),
        "feedforward3.0": (384, 192, 1, 1), "feedforward3.3": (192, 384, 1, 1),
        "feedforward3.4": (192, 96, 4, 4), "feedforward3.5": (96,),
        "reduction": (48, 192, 1, 1),
    }  # fmt: skip


def test_its_logits_are_those_of_the_authors_package() -> None:
    network = models.create(MODEL, 3).eval()
    network.load_state_dict(filled(network.state_dict()))
    image = torch.cos(torch.arange(3 * 64 * 32, dtype=torch.float32) * 0.11).view(1, 3, 64, 32)
    with torch.no_grad():
        logits = network(image)
    torch.testing.assert_close(logits, torch.tensor([PUBLISHED_LOGITS]), rtol=1e-4, atol=1e-4)


def test_a_block_of_zeros_leaves_the_map_as_it_is_and_keeps_its_shape() -> None:
    block = Block().eval()
    x = torch.randn(1, 192, 8, 16)
    with torch.no_grad():
        assert block(x).shape == x.shape
        for parameter in block.parameters():
            parameter.zero_()
        assert not block(x).any()


def test_published_weights_load_into_another_number_of_classes(tmp_path: Path) -> None:
    state = filled(models.create(MODEL, 1000).state_dict())
    torch.save(state, tmp_path / "wavemix.pth")
    network, model = models.create(MODEL, 10), f"{MODEL}@file:wavemix.pth"
    head = find_head(model, 10, {})
    assert head.names == {"pool.2.weight", "pool.2.bias"}
    load_body(network, model, head, {}, WeightsFile(tmp_path / "wavemix.pth", ""))
    loaded = network.state_dict()
    assert all(torch.equal(loaded[name], state[name].to(loaded[name].dtype)) for name in state.keys() - head.names)


@pytest.mark.parametrize("size", [260, 33, 16])
def test_sizes_that_are_no_multiples_of_32_are_refused(built: Built, size: int) -> None:
    with pytest.raises(ModelError, match=f"WaveMix cannot take images of {size} px: .* must be multiples of 32 px"):
        static_cost(built(MODEL), size)
    assert not models.get(MODEL).takes(size)
    assert models.get(MODEL).takes(256)
