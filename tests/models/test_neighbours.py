"""The classifier by nearest neighbours against scikit-learn's, and the features it takes from networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor, nn

from mobilebench import models
from mobilebench.config.pretrained import FromPretrained, Neighbours, Pretrained
from mobilebench.config.recipe import Recipe
from mobilebench.models.neighbours import NeighbourClassifier
from mobilebench.models.spec import ModelError
from mobilebench.models.weights.start import find_head


def classifier(rule: Neighbours, classes: int, *, several: bool = False) -> NeighbourClassifier:
    """Return one whose features are the values of its 'images' [N, D] themselves."""
    return NeighbourClassifier(
        nn.Sequential(nn.Identity(), nn.Linear(4, classes)), ["1.weight"], rule, classes, several=several
    )


@pytest.mark.parametrize("k", [1, 3, 20])
@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_one_class_is_scikit_learns_vote(k: int, temperature: float) -> None:
    rng = np.random.default_rng(k)
    known, asked, labels = rng.normal(size=(40, 4)), rng.normal(size=(15, 4)), rng.integers(0, 3, 40)
    ours = classifier(Neighbours(k, temperature), 3)
    ours.know(ours.describe(torch.tensor(known)), torch.tensor(labels))
    oracle = KNeighborsClassifier(k, metric="cosine", weights=lambda d: np.exp((1 - d) / temperature))
    features = [ours.describe(torch.tensor(part)).double().numpy() for part in (known, asked)]
    want = oracle.fit(features[0], labels).predict_proba(features[1])
    found = ours(torch.tensor(asked)).exp().double().numpy()
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(found, want, atol=2e-3)  # of features in half precision


def test_several_classes_each_have_a_vote_of_their_own() -> None:
    ours = classifier(Neighbours(2), 3, several=True)
    known = torch.tensor([[1.0, 0, 0, 0], [1, 0.01, 0, 0], [0, 0, 1, 0]])
    ours.know(ours.describe(known), torch.tensor([[1, 1, 0], [1, 0, 0], [0, 0, 1]]))
    (found,) = torch.sigmoid(ours(torch.tensor([[1.0, 0.005, 0, 0]])))
    assert found.tolist() == pytest.approx([1, 0.5, 0], abs=1e-3)


def test_an_image_is_not_its_own_neighbour_where_that_is_asked() -> None:
    ours = classifier(Neighbours(1), 2)
    features = ours.describe(torch.tensor([[1.0, 0, 0, 0], [0.9, 0.1, 0, 0], [0, 1, 0, 0]]))
    ours.know(features, torch.tensor([0, 1, 1]))
    assert ours.answer(features).argmax(1).tolist() == [0, 1, 1]
    assert ours.answer(features, leave_out=torch.arange(3)).argmax(1).tolist() == [1, 0, 1]


def test_fewer_images_than_neighbours_all_vote() -> None:
    ours = classifier(Neighbours(20, 1.0), 2)
    ours.know(ours.describe(torch.eye(4)[:3]), torch.tensor([0, 0, 1]))
    assert ours(torch.ones(1, 4)).exp()[0].tolist() == pytest.approx([2 / 3, 1 / 3], abs=1e-3)


def test_a_state_brings_back_what_was_known() -> None:
    one, other = classifier(Neighbours(1), 2), classifier(Neighbours(1), 2)
    one.know(one.describe(torch.eye(4)), torch.tensor([0, 1, 1, 0]))
    other.load_state_dict(one.state_dict())
    asked = torch.rand(5, 4)
    assert torch.equal(one(asked), other(asked))
    assert len(classifier(Neighbours(1), 2)(asked)) == 5  # before anything is known


@pytest.mark.parametrize(
    ("model_id", "width"),
    [
        ("timm:tf_efficientnet_lite0", 1280),
        ("torchvision:squeezenet1_1", 512),
        ("timm:deit_tiny_distilled_patch16_224", 192),  # two heads
        ("torchvision:mobilenet_v3_small", 1024),
        ("shufflenet", 1024),
    ],
)
def test_features_are_what_the_head_would_get(model_id: str, width: int) -> None:
    network = models.create(model_id, 5).eval()
    head = find_head(model_id, 5, {})
    got: list[Tensor] = []
    layer = network.get_submodule(min(head.names).rpartition(".")[0])
    handle = layer.register_forward_pre_hook(lambda _, inputs: got.append(inputs[0]))
    images = torch.rand(2, 3, 224, 224) if "deit" in model_id else torch.rand(2, 3, 64, 64)
    network(images)
    handle.remove()
    ours = NeighbourClassifier(network, head.names, Neighbours(), 5, several=False).describe(images)
    assert ours.shape == (2, width)
    np.testing.assert_allclose(ours.float().norm(dim=1), 1, atol=1e-3)
    if len(head.names) <= 2:
        want = got[0].mean((2, 3)) if got[0].ndim == 4 else got[0]
        np.testing.assert_allclose(ours, nn.functional.normalize(want, dim=1).detach(), atol=2e-3)


def test_a_head_that_is_no_layer_is_refused() -> None:
    with pytest.raises(ModelError, match="no layer of its own"):
        NeighbourClassifier(nn.Linear(4, 2), ["weight"], Neighbours(), 2, several=False)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"epochs": 2}, "epochs is 2; allowed: 1 with init.pretrained.knn"),
        ({"init": {"freeze": "all_but_head"}}, "freeze, head_lr, layer_decay is .'all_but_head'"),
        ({"init": {"head_lr": 0.1}}, "none, null and 1.0 beside knn"),
        ({"rule": {"k": 0}}, "init.pretrained.knn.k is 0; allowed: 1 to 10000"),
        ({"rule": {"temperature": 0.0}}, "init.pretrained.knn.temperature is 0.0; allowed: 0.005 or more"),
    ],
)
def test_what_neighbours_cannot_be_is_refused_by_name(settings: dict[str, object], expected: str) -> None:
    def recipe(epochs: int = 1, init: dict[str, object] | None = None, rule: dict[str, object] | None = None) -> Recipe:
        start = Pretrained(knn=Neighbours(**rule or {}), **init or {})  # type: ignore[arg-type]
        return Recipe(epochs=epochs, warmup_epochs=0, init=FromPretrained(start))

    assert recipe().knn == Neighbours(20, 0.07)
    with pytest.raises(ValueError, match=expected):
        recipe(**settings)  # type: ignore[arg-type]
