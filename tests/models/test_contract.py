"""What every model of the registry keeps to, whoever wrote it."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from mobilebench import models
from mobilebench.models import ModelError, checks
from mobilebench.models.cost.counts import forward, static_cost

Built = Callable[..., nn.Module]

EVERY = tuple(models.MODELS)


@pytest.mark.parametrize("model_id", EVERY)
class TestContract:
    def test_the_checks_pass_at_the_smallest_input(self, built: Built, model_id: str) -> None:
        model = built(model_id)
        before = copy.deepcopy(model.state_dict())
        random_state = torch.get_rng_state()
        checks.check(model, 10, models.get(model_id).minimum)  # shape, finite, a gradient for every parameter
        after = model.state_dict()
        assert all(torch.equal(value, after[name]) for name, value in before.items())
        assert torch.equal(random_state, torch.get_rng_state())
        assert model.training

    def test_no_smaller_input_than_the_registry_says_or_a_clear_error(self, built: Built, model_id: str) -> None:
        model = built(model_id)
        if models.get(model_id).minimum > 32:
            with pytest.raises(ModelError, match="cannot take images of 32 px"):
                static_cost(model, 32)
        else:
            assert static_cost(model, 32).macs > 0

    def test_one_image_and_eval_is_deterministic(
        self, built: Built, model_id: str, random_images: torch.Tensor
    ) -> None:
        model = copy.deepcopy(built(model_id)).eval()
        with torch.no_grad():
            first, again, alone = model(random_images), model(random_images), model(random_images[:1])
        assert first.shape == (2, 10)
        assert torch.equal(first, again)
        torch.testing.assert_close(alone, first[:1], rtol=1e-4, atol=1e-5)

    def test_larger_images(self, built: Built, model_id: str) -> None:
        model = copy.deepcopy(built(model_id)).eval()
        with torch.no_grad():
            logits = forward(model, 1, 256)
        assert logits.shape == (1, 10)
        assert logits.isfinite().all()

    def test_the_same_seed_gives_the_same_network_and_another_seed_another(self, built: Built, model_id: str) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # as `built` does
            again = models.create(model_id, 10).state_dict()
        state, other = built(model_id).state_dict(), built(model_id, seed=1).state_dict()
        assert all(torch.equal(value, again[name]) for name, value in state.items())
        assert not all(torch.equal(value, other[name]) for name, value in state.items())

    def test_state_dict_round_trip(
        self, built: Built, model_id: str, random_images: torch.Tensor, tmp_path: Path
    ) -> None:
        model, restored = copy.deepcopy(built(model_id)).eval(), copy.deepcopy(built(model_id, seed=1)).eval()
        torch.save(model.state_dict(), tmp_path / "state.pt")
        restored.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
        with torch.no_grad():
            assert torch.equal(model(random_images), restored(random_images))

    def test_training_and_eval_are_one_function_once_the_statistics_agree(
        self, built: Built, model_id: str, random_images: torch.Tensor
    ) -> None:
        """With dropout off and normalisation by the running statistics, both modes give the same logits."""
        model = copy.deepcopy(built(model_id)).eval()
        with torch.no_grad():
            evaluated = model(random_images)
            model.train()
            for module in model.modules():
                name = type(module).__name__.lower()
                if "batchnorm" in name or "drop" in name or "stochastic" in name or name == "selfattention":
                    module.eval()
            if hasattr(model, "drop_rate"):
                model.drop_rate = 0.0
            trained = model(random_images)
        torch.testing.assert_close(trained, evaluated, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("model_id", models.CANONICAL_MODELS)
def test_canonical_siblings_hold_the_budget(built: Built, model_id: str) -> None:
    assert abs(sum(p.numel() for p in built(model_id).parameters()) / 2.5e6 - 1) <= 0.05
    assert models.MODELS[models.get(model_id).sibling].sibling == model_id
    assert models.get(model_id).design


def test_each_of_the_five_renamed_networks_has_a_sibling() -> None:
    siblings = {models.get(m).sibling.removesuffix("_canonical") for m in models.PAPER_MODELS if models.get(m).sibling}
    assert siblings >= {"mobilevit", "shufflenet", "ghostnet", "mobileone", "convnext", "tinynet", "efficientnet"}


def test_canonical_networks_are_the_published_trees() -> None:
    """Same modules in the same order as the published network, only widths differ."""
    import timm

    def tree(network: nn.Module) -> list[tuple[str, int]]:
        return [(name, value.ndim) for name, value in network.state_dict().items()]

    published = {
        "convnext_canonical": "convnext_atto",
        "ghostnet_canonical": "ghostnetv3_100",
        "mobileone_canonical": "mobileone_s0",
        "mobilevit_canonical": "mobilevit_xs",
        "tinynet_canonical": "tinynet_b",
    }
    with torch.device("meta"):
        for ours, theirs in published.items():
            assert tree(models.create(ours, 10)) == tree(timm.create_model(theirs, num_classes=10)), ours
