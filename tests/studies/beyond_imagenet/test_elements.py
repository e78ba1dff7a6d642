"""Table 5, seen in the built networks."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from mobilebench import models
from mobilebench.studies.beyond_imagenet import elements
from mobilebench.studies.beyond_imagenet import published as reference
from mobilebench.studies.beyond_imagenet.built import built_elements

Built = Callable[[str], nn.Module]

# (published, derived); MobileOne-S0 has no squeeze-excite. The row "ReLU+" calls the plain ReLU of GhostNet and FBNet a
# variant and that of ShuffleNet and MobileOne none.
DISAGREEMENTS = {
    "mobileone": {"squeeze_excite": (True, False)},
    "ghostnet": {"relu_variant": (True, False)},
    "fbnet": {"relu_variant": (True, False)},
}


@pytest.mark.parametrize("model_id", models.PAPER_MODELS)
def test_every_disagreement_with_table_5_is_named(built: Built, model_id: str) -> None:
    assert elements.disagreements(model_id, built(model_id)) == DISAGREEMENTS.get(model_id, {})


@pytest.mark.parametrize("model_id", models.MODELS)
def test_the_kept_elements_of_a_packaged_network_are_those_seen_in_it(built: Built, model_id: str) -> None:
    """A changed network changes its column of built_elements.csv."""
    kept = built_elements([model_id]).flags
    assert {element: row[model_id] for element, row in kept.items()} == elements.derived(built(model_id))


def test_three_rows_of_table_5_cannot_be_seen_in_a_network() -> None:
    assert set(reference.elements()) - set(elements.QUESTIONS) == {"width_scaling", "chw_scaling", "nas"}


# what makes each canonical network its design, which the paper's network of that name may lack
PUBLISHED_DESIGN = {
    "convnext_canonical": {"patch_stem": True, "inverted_residual": False, "residual_skip": True},
    "efficientnet_canonical": {"squeeze_excite": True, "inverted_residual": True},
    "ghostnet_canonical": {"channel_concat": True, "squeeze_excite": True},
    "mobileone_canonical": {"squeeze_excite": False, "relu_variant": False},
    "mobilevit_canonical": {"layerwise_transformer": True, "channel_concat": True},
    "shufflenet_canonical": {"channel_concat": True, "residual_skip": False},
    "tinynet_canonical": {"squeeze_excite": True, "inverted_residual": True},
}


@pytest.mark.parametrize("model_id", models.CANONICAL_MODELS)
def test_canonical_networks_have_the_elements_of_their_designs(built: Built, model_id: str) -> None:
    derived = elements.derived(built(model_id))
    assert PUBLISHED_DESIGN[model_id].items() <= derived.items()


def test_each_answer_on_a_network_made_for_it() -> None:
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 8, 4, 4)
            self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 8, 1), nn.Sigmoid())
            self.head = nn.Linear(8, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.stem(x)
            return self.head((y * self.gate(y)).relu().amax((2, 3)))

    net = Gated().train()
    assert [element for element, has in elements.derived(net).items() if has] == [
        "patch_stem",
        "squeeze_excite",
        "fc_classifier",
    ]
    assert net.training
