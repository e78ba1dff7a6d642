"""Cells on images that are no squares of 8-bit RGB, from files to a trained network that others use."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import grids
import numpy as np
import pytest
import torch

from mobilebench import load_model, load_predictions, models
from mobilebench.analysis.identities import packed_otherwise
from mobilebench.config.data import OwnData
from mobilebench.config.pretrained import FromPretrained, Pretrained
from mobilebench.config.protocol import Override
from mobilebench.config.recipe import DataPolicy
from mobilebench.datasets.packing.packed import open_packed
from mobilebench.datasets.packing.prepare import prepare
from mobilebench.errors import UserError
from mobilebench.execution.cell_run import CellRun
from mobilebench.execution.context import open_context
from mobilebench.execution.exported import read_safetensors
from mobilebench.runs.status import grid_states
from mobilebench.system.layout import PACKED
from mobilebench.tracking import OfflineTracker
from mobilebench.training.augment.crop import resize_centre

if TYPE_CHECKING:
    from mobilebench.config.suite import Suite

CHANNELS = 5


@pytest.fixture
def suite(project: Path) -> Suite:
    """Two classes of 16-bit rectangles, which differ in the fourth channel alone; what is for colours is off."""
    suite = grids.write(project)
    rng = np.random.default_rng(0)
    for number in range(32):
        kind = project / "deep" / ("a" if number % 2 else "b")
        kind.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 9000, (20, 30, CHANNELS)).astype(np.uint16)
        pixels[..., 3] += np.uint16(9000 * (number % 2))
        np.save(kind / f"{number:02d}.npy", pixels)
    own = OwnData(folder="deep", channels=CHANNELS, dtype="uint16")
    augment = replace(suite.protocol.augment, color_jitter=(0.0,) * 4)
    protocol = replace(
        suite.protocol, data=DataPolicy(aspect=(2, 3)), resolution=(32, 48), normalize="dataset", augment=augment
    )
    return replace(suite, models=("shufflenet",), datasets=("deep",), data_sources={"deep": own}, protocol=protocol)


def packed(suite: Suite) -> Path:
    policy = suite.protocol.recipe_for("", "deep").data
    return prepare("deep", policy=policy, raw_dir=Path("raw"), out_dir=PACKED, own=suite.data_sources)


def test_a_cell_on_rectangles_of_five_channels_gives_a_network_that_says_what_its_run_said(suite: Suite) -> None:
    assert open_packed(packed(suite)).meta.shape == (32, 20, 30, CHANNELS)
    context = open_context(suite, "deep", OfflineTracker())
    (cell,) = suite.cells()
    CellRun(context, cell).complete()
    journal = context.journal(cell)
    rgb = sum(p.numel() for p in models.create("shufflenet", 2).parameters())
    finish = journal.events()[-1]
    assert finish.metrics["params"] == rgb + 2 * 64 * 9  # two more channels in the first layer's 64 filters
    assert finish.metrics["macs"] > 0

    model = load_model(str(journal.artifacts))
    said = load_predictions(str(journal.artifacts))
    assert model.resolution == (32, 48)
    data = context.packed
    views = resize_centre(torch.from_numpy(np.asarray(data.images[data.rows("test")])), 32, (32, 48))
    with torch.no_grad():
        kept = torch.from_numpy(said.logits).float()  # as halves
        torch.testing.assert_close(model(views), kept, rtol=2e-3, atol=2e-3)
    with pytest.raises(UserError, match=r"expected floats \[N, 5, 32, 48\].*uint16.*float\(\) / 65535"):
        model(torch.zeros(1, 3, 32, 48))


def test_pretrained_weights_of_rgb_start_a_network_of_five_channels(suite: Suite) -> None:
    torch.manual_seed(5)
    weights = models.create("shufflenet", 7).state_dict()
    torch.save(weights, "w.pth")
    init = FromPretrained(Pretrained("all_but_head"))
    suite = replace(suite, models=("shufflenet@file:w.pth",), protocol=replace(suite.protocol, init=init))
    packed(suite)
    context = open_context(suite, "deep", OfflineTracker())
    (cell,) = suite.cells()
    CellRun(context, cell).complete()
    kept = read_safetensors(context.journal(cell).artifacts / "model.safetensors")
    assert kept is not None
    changed = {name for name, value in kept.items() if value.shape != weights[name].shape}
    (first,) = changed - {"fc.weight", "fc.bias"}
    assert kept[first].shape[1] == CHANNELS
    torch.testing.assert_close(kept[first][:, 3], weights[first][:, 0] * 3 / CHANNELS)  # red, green, blue, red, green
    load_model(str(context.journal(cell).artifacts))


def test_settings_for_colours_are_refused_by_name_and_the_advice_can_be_followed(suite: Suite) -> None:
    packed(suite)
    colours = replace(suite.protocol.augment, color_jitter=(0.2,) * 4, randaugment=(2, 9))
    protocol = replace(suite.protocol, augment=colours, normalize="imagenet")
    with pytest.raises(
        UserError, match=r"normalize, augment\.color_jitter, augment\.randaugment: .*5 channels"
    ) as told:
        open_context(replace(suite, protocol=protocol), "deep", OfflineTracker())
    from ruamel.yaml import YAML

    (advice,) = YAML(typ="safe").load(str(told.value).partition("`")[2].partition("`")[0])
    mended = replace(protocol, overrides=(Override(advice["set"], datasets=tuple(advice["datasets"])),))
    open_context(replace(suite, protocol=mended), "deep", OfflineTracker())


def test_data_that_is_packed_by_other_settings_is_said_by_status_and_score(suite: Suite) -> None:
    packed(suite)
    before = OwnData(folder="deep", channels=4, dtype="uint16")
    changed = replace(suite, data_sources={"deep": before})
    assert packed_otherwise(suite) == ()
    assert {state.name for state in grid_states(suite).values()} == {"waiting"}
    (said,) = packed_otherwise(changed)
    assert said.startswith("deep: packed by other settings")
    (state,) = grid_states(changed).values()
    assert (state.name, state.label) == ("unprepared", "other data")
    assert "`mobilebench data prepare deep`" in state.detail
