"""The network that is compiled: all but its last layer, the same for any number of classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor, nn

from mobilebench import models
from mobilebench.training.accel.compiled import compile_network, last_linear, without

if TYPE_CHECKING:
    from collections.abc import Callable

IMAGES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


class Scaled(nn.Module):
    """Its logits are twice what its linear layer says."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 2)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.linear(images.flatten(1)[:, :4])
        return logits * 2


@pytest.mark.parametrize("model_id", ["mobilevit", "fbnet", "convmixer", "timm:tf_efficientnet_lite0"])
def test_every_network_is_its_trunk_and_its_last_layer(model_id: str, built: Callable[..., nn.Module]) -> None:
    model = built(model_id)
    name = last_linear(model, IMAGES)
    assert name is not None
    assert model.get_submodule(name).out_features == 10
    modes = [module.training for module in model.modules()]
    trunk, before = without(model, name), dict(model.named_modules())
    assert [module.training for module in model.modules()] == modes
    with torch.no_grad():
        trunk.eval()
        assert torch.equal(model.get_submodule(name)(trunk(IMAGES)), model.eval()(IMAGES))
    model.train()
    assert dict(model.named_modules()) == before
    left = set(model.state_dict()) - {f"{name}.weight", f"{name}.bias"}
    assert {key: value.data_ptr() for key, value in trunk.state_dict().items()} == {
        key: value.data_ptr() for key, value in model.state_dict().items() if key in left
    }


@pytest.mark.parametrize(
    "model", [Scaled(), nn.Sequential(nn.Conv2d(3, 2, 64), nn.Flatten()), nn.Sequential(nn.Linear(64, 2), nn.ReLU())]
)
def test_a_network_that_ends_otherwise_has_no_such_layer(model: nn.Module) -> None:
    assert last_linear(model, IMAGES) is None


def loss_of(forward: Callable[[Tensor], Tensor]) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        return forward(IMAGES).float().logsumexp(dim=1).sum()


def compiled_for(classes: int) -> tuple[list[str], float]:
    """Train one step of a network, compiled; return the code that the compiler was given, and the loss."""
    graphs: list[str] = []
    compile_ = torch.compile

    def by_the_tracer(module: nn.Module, **_: object) -> object:
        def backend(graph: torch.fx.GraphModule, _given: list[object]) -> object:
            graphs.append(graph.code)
            return graph.forward

        return compile_(module, backend=backend)

    torch.manual_seed(0)
    model = models.create("convnext", classes).train()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "compile", by_the_tracer)
        loss = loss_of(compile_network(model))
    torch.autograd.backward(loss)
    assert all(parameter.grad is not None for parameter in model.parameters())
    torch.compiler.reset()
    return graphs, float(loss.detach())


def test_what_is_compiled_is_the_same_for_any_number_of_classes() -> None:
    ten, loss = compiled_for(10)
    assert compiled_for(67)[0] == ten
    assert len(ten) == 1
    torch.manual_seed(0)
    eager = models.create("convnext", 10).train()
    assert loss == pytest.approx(float(loss_of(eager).detach()), rel=1e-3)
