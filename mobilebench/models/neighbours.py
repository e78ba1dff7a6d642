"""A classifier by nearest neighbours on the features of a frozen network: nothing learns, images are remembered.

The rule is that of Wu et al., "Unsupervised Feature Learning via Non-Parametric Instance Discrimination" (CVPR 2018),
section 3.4, with which self-supervised networks are usually read: the k nearest by cosine similarity s vote for their
labels with weights exp(s / temperature).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mobilebench.models.spec import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mobilebench.config.pretrained import Neighbours

# What is mixed into each answer: where no neighbour is of a class, its probability is small and not 0.
_UNIFORM = 1e-4


class NeighbourClassifier(nn.Module):
    """A network without its head, and the features and labels of the images it knows: [N, 3, H, W] -> [N, classes].

    It answers with log-probabilities of one class each, or with the log-odds of every class where an image may be of
    several.
    """

    def __init__(
        self, network: nn.Module, head: Iterable[str], rule: Neighbours, classes: int, *, several: bool
    ) -> None:
        """head: names of its head's tensors; their layers are taken out in place. Raises ModelError for no layer."""
        super().__init__()
        for owner in sorted({name.rpartition(".")[0] for name in head}):
            if not owner:
                raise ModelError("the head of this network is no layer of its own, so its features cannot be read")
            network.set_submodule(owner, nn.Identity())
        self.network = network.requires_grad_(requires_grad=False)
        self._rule, self._several = rule, several
        self.register_buffer("features", torch.zeros(0, 0, dtype=torch.float16))
        self.register_buffer("labels", torch.zeros(0, classes, dtype=torch.uint8))

    def describe(self, images: Tensor) -> Tensor:
        """Return the features of images, of length 1 each: half precision [N, D]."""
        found = self.network(images).float().flatten(1)
        return functional.normalize(found, dim=1).half()

    def know(self, features: Tensor, labels: Tensor) -> None:
        """Remember images: features [N, D] as of `describe`; labels, numbers [N] or 0 and 1 [N, classes]."""
        classes = self.get_buffer("labels").shape[1]
        self.features = features
        self.labels = (labels if self._several else functional.one_hot(labels, classes)).to(torch.uint8)

    def forward(self, images: Tensor) -> Tensor:
        """Return the answers for a batch of images."""
        return self.answer(self.describe(images))

    def answer(self, features: Tensor, *, leave_out: Tensor | None = None) -> Tensor:
        """Return the answers for features [B, D].

        leave_out: [B], the known image that must not be a neighbour of each.
        """
        known = self.get_buffer("features")
        if not len(known):
            return features.new_zeros(len(features), self.get_buffer("labels").shape[1], dtype=torch.float32)
        similar = features.float() @ known.float().T
        if leave_out is not None:
            similar = similar.scatter(1, leave_out[:, None], -torch.inf)
        count = min(self._rule.k, len(known) - (leave_out is not None))
        nearest, at = similar.topk(count, dim=1)
        weights = torch.softmax(nearest / self._rule.temperature, dim=1)
        votes = (weights[:, :, None] * self.get_buffer("labels")[at].float()).sum(dim=1)
        if self._several:
            return torch.logit(votes * (1 - _UNIFORM) + _UNIFORM / 2)
        return torch.log(votes * (1 - _UNIFORM) + _UNIFORM / votes.shape[1])

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        for name in ("features", "labels"):  # as many images as the state knows
            if f"{prefix}{name}" in state_dict:
                own = self.get_buffer(name)
                setattr(self, name, own.new_zeros(state_dict[f"{prefix}{name}"].shape))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
