from collections.abc import Callable, Iterator
from functools import cache

import pytest
import torch
from torch import nn

from mobilebench import models

Built = Callable[..., nn.Module]


@cache
def _built(model_id: str, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return models.create(model_id, 10)


@pytest.fixture(scope="session")
def built() -> Built:
    """Return a model with 10 classes by id (and seed), built once: tests read it and leave it as it was."""
    return _built


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    # the networks are small and test processes share the cores: more threads only wait for each other
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def random_images() -> torch.Tensor:
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
