from functools import cache

import pytest
import torch

from mobilebench import models


@cache
def _built(model_id):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return models.create(model_id, 10)


@pytest.fixture(scope="session")
def built():
    """Return a model with 10 classes by id, built once: tests read it and leave it as it was."""
    return _built


@pytest.fixture(scope="session", autouse=True)
def _two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def random_images():
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
