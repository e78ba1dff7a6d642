"""Equal identity, equal result: each thing that training is given changes it, and nothing else does."""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass, field, fields, is_dataclass, replace
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING, Any

import grids
import numpy as np
import pytest

from mobilebench.config.parsing import ConfigError, canonical, digest, flatten
from mobilebench.config.protocol import Override, Protocol, recipe_hash
from mobilebench.config.recipe import DataPolicy, Recipe
from mobilebench.config.suite import Cell, parse_suite, preset_text, presets
from mobilebench.config.tuning import Tuning
from mobilebench.datasets.packing.packed import META, content_digest, index_text, open_packed, pixel_sha1
from mobilebench.evaluation import metrics
from mobilebench.models import fingerprint
from mobilebench.runs.identity import Identity, digest_of_tags, from_tags, wanted

if TYPE_CHECKING:
    from pathlib import Path

    from mobilebench.config.suite import Suite
    from mobilebench.datasets.packing.packed import Packed

CHOSEN = Cell("shufflenet", "blobs", 0)
# Another allowed value of every setting; a new setting has to be added here.
OTHER: dict[str, Any] = {
    "epochs": 99, "warmup_epochs": 4, "batch_size": 33, "drop_last": True, "resolution": 225, "eval_resize": 256,
    "optimizer": "sgd", "lr": 2e-3, "min_lr": 2e-5, "weight_decay": 0.1, "label_smoothing": 0.1,
    "augment.crop_scale": None, "augment.crop_ratio": (0.5, 1.0), "augment.hflip": 0.4,
    "augment.color_jitter": (0.0, 0.0, 0.0, 0.0), "augment.randaugment": (2, 9), "augment.trivialaugment": True,
    "augment.random_erasing": 0.1, "augment.cutmix_alpha": 0.0, "augment.cutmix_prob": 0.5,
    "augment.cutmix_box": "batch", "augment.cutmix_weight": "drawn", "normalize": "half", "precision": "bf16",
    "model_options": {"patch_size": 7}, "data.short_side": 64, "data.split_seed": 1, "data.val_fraction": 0.1,
    "data.fit": "pad", "network": "timm:resnet18", "tuning": Tuning({"lr": (1e-3, 1e-4)}),
    "decay_norms": False, "data.aspect": (2, 3),
}  # fmt: skip
FIXED = {"init", "selection", "phases"}  # settings of one allowed value, or tested by themselves


def changed(recipe: Any, name: str, value: object) -> Any:
    outer, _, inner = name.partition(".")
    return replace(recipe, **{outer: changed(getattr(recipe, outer), inner, value) if inner else value})


def leaves(kind: Any, prefix: str = "") -> list[str]:
    found = []
    for setting in fields(kind):
        value = getattr(kind, setting.name)
        found += leaves(value, f"{prefix}{setting.name}.") if is_dataclass(value) else [f"{prefix}{setting.name}"]
    return found


def test_every_setting_of_the_recipe_is_in_its_hash() -> None:
    recipe = Recipe()
    names = set(leaves(recipe)) - FIXED
    assert names <= set(OTHER), f"give another value of {names - set(OTHER)} in OTHER"
    hashes = {recipe_hash(changed(recipe, name, OTHER[name])) for name in names}
    assert len(hashes | {recipe_hash(recipe)}) == len(names) + 1


@pytest.mark.parametrize("part", [f.name for f in fields(Identity)] + ["model", "dataset", "seed"])
def test_every_part_is_in_the_digest(part: str) -> None:
    cell = Cell("m", "d", 0)
    identity = Identity(cell, "r", "d", "n", 1)
    other = {
        "cell": Cell("m2", "d", 0), "recipe": "x", "data": "x", "network": "x", "numerics": 2, "selection_metric": "x",
        "weights": "x",
        "model": replace(cell, model="x"), "dataset": replace(cell, dataset="x"), "seed": replace(cell, seed=1),
    }[part]  # fmt: skip
    second = replace(identity, **{part if hasattr(identity, part) else "cell": other})
    assert second.digest != identity.digest


def test_a_cell_that_a_packaged_metric_chooses_has_the_identity_it_had() -> None:
    """As computed before the code of other metrics was a part of it."""
    assert Identity(Cell("m", "d", 0), "r", "d", "n", 1).digest == "41baa78ecc17"


OWN_METRIC = """
from mobilebench.evaluation.metrics import Metric
from chosen_by_help import wrong

def missed(p):
    # a comment
    return float(wrong(p).mean())

MISSED = Metric("missed", "Missed", (0, 1), missed, higher_is_better=False)
OTHER = 1
"""
HELP = """
def wrong(p):
    return p.predicted != p.targets

def unused():
    return 1
"""


def test_the_code_of_an_own_metric_that_chooses_the_epoch_is_in_it(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And in that of no other cell."""
    monkeypatch.syspath_prepend(project)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # edits of one second and size are one to Python's cache
    monkeypatch.setattr(
        metrics, "_installed", lambda: {"missed": EntryPoint("missed", "chosen_by:MISSED", metrics.GROUP)}
    )

    def identity(selection: str, code: str = OWN_METRIC, helped: str = HELP) -> Identity:
        for name, text in (("chosen_by", code), ("chosen_by_help", helped)):
            (project / f"{name}.py").write_text(text)
            monkeypatch.delitem(sys.modules, name, raising=False)
        importlib.invalidate_caches()
        fingerprint.metric_fingerprint.cache_clear()
        suite = grids.write(project, val=0.25, selection=selection)
        return wanted(suite, CHOSEN, open_packed(project / "data/packed/blobs").meta, project)

    own = "{best_val: {metric: missed}}"
    before = identity(own)
    assert identity(own, OWN_METRIC.replace("# a comment", "# another")) == before
    assert identity(own, OWN_METRIC.replace("OTHER = 1", "OTHER = 2")) == before
    assert identity(own, helped=HELP.replace("return 1", "return 2")) == before
    for changed_code in (
        identity(own, OWN_METRIC.replace("wrong(p).mean()", "wrong(p).max()")),
        identity(own, OWN_METRIC.replace("higher_is_better=False", "higher_is_better=True")),
        identity(own, helped=HELP.replace("!=", "==")),
    ):
        assert changed_code.differences(before) == ["code of the metric that chooses the epoch"]
        assert changed_code.digest != before.digest
    packaged = identity("{best_val: {metric: top1}}")
    assert packaged.selection_metric == ""
    assert identity("{best_val: {metric: top1}}", OWN_METRIC.replace("mean", "max")).digest == packaged.digest


@pytest.fixture
def suite(project: Path) -> Suite:
    return grids.write(project)


def rewrite(folder: Path, **changes: Any) -> Packed:
    """Write a packed set with other content, its own digests made to fit, and open it."""
    packed = open_packed(folder)
    images, labels, index = np.array(packed.images), np.array(packed.labels), list(packed.index)
    if "images" in changes:
        changes.pop("images")(images)
    if "labels" in changes:
        changes.pop("labels")(labels)
    if "index" in changes:
        index = changes.pop("index")(index)
    rows = [
        row._replace(label=int(label), sha1=pixel_sha1(image))
        for row, label, image in zip(index, labels, images, strict=True)
    ]
    classes = changes.get("classes", packed.meta.classes)
    text = index_text(rows).encode()
    meta = replace(packed.meta, digest=content_digest(images.shape, classes, labels, text), **changes)
    np.save(folder / "images.npy", images)
    np.save(folder / "labels.npy", labels)
    (folder / "index.csv").write_bytes(text)
    (folder / META).write_text(meta.to_json())
    return open_packed(folder)


def one_pixel(images: Any) -> None:
    images[3, 2, 1, 0] ^= 1


def one_label(labels: Any) -> None:
    labels[3] = 1 - labels[3]


@pytest.mark.parametrize(
    "change",
    [
        {"images": one_pixel},
        {"labels": one_label},
        {"index": lambda rows: [rows[0]._replace(split="test"), *rows[1:]]},
        {"index": lambda rows: [rows[0]._replace(split="val"), *rows[1:]]},
        {"mean": (0.1, 0.2, 0.3)},
        {"std": (0.1, 0.2, 0.3)},
        {"hflip": False},
        {"classes": ("dark", "bright")},
    ],
    ids=["pixel", "label", "test row", "val row", "mean", "std", "hflip", "class names"],
)
def test_everything_that_training_gets_of_the_data_is_in_it(
    suite: Suite, project: Path, change: dict[str, Any]
) -> None:
    folder, cell = project / "data/packed/blobs", Cell("shufflenet", "blobs", 0)
    before = wanted(suite, cell, open_packed(folder).meta, project)
    after = wanted(suite, cell, rewrite(folder, **change).meta, project)
    assert after.differences(before) == ["data"]
    assert after.digest != before.digest


def test_a_moved_folder_changes_nothing(suite: Suite, project: Path) -> None:
    from mobilebench.config.data import OwnData
    from mobilebench.datasets.packing.prepare import prepare

    cell = Cell("shufflenet", "blobs", 0)
    before = wanted(suite, cell, open_packed(project / "data/packed/blobs").meta, project)
    (project / "source").rename(project / "elsewhere")
    own = {"blobs": OwnData(folder="elsewhere")}
    prepare("blobs", policy=suite.protocol.data, raw_dir=project / "raw", out_dir=project / "again", workers=1, own=own)
    assert wanted(suite, cell, open_packed(project / "again/blobs").meta, project) == before


def test_an_override_for_others_changes_nothing_and_one_for_the_cell_does(suite: Suite, project: Path) -> None:
    meta = open_packed(project / "data/packed/blobs").meta
    cells = list(suite.cells())
    before = {cell.model: wanted(suite, cell, meta, project) for cell in cells}
    override = Override({"lr": 1e-4}, models=("starnet",))
    after_suite = replace(suite, protocol=replace(suite.protocol, overrides=(override,)))
    after = {cell.model: wanted(after_suite, cell, meta, project) for cell in cells}
    assert after["shufflenet"] == before["shufflenet"]
    assert after["starnet"].differences(before["starnet"]) == ["recipe"]


def test_the_suites_names_and_what_changes_no_result_are_not_in_it(suite: Suite, project: Path) -> None:
    meta, cell = open_packed(project / "data/packed/blobs").meta, Cell("starnet", "blobs", 0)
    other = replace(
        suite, suite="another", experiment="another", models=("starnet",), seeds=(0, 1),
        runtime=replace(suite.runtime, threads=2),
    )  # fmt: skip
    assert wanted(other, cell, meta, project) == wanted(suite, cell, meta, project)


def test_a_setting_that_came_later_changes_no_hash_at_its_default() -> None:
    @dataclass(frozen=True)
    class LaterPolicy(DataPolicy):
        ordering: str = field(default="as before", metadata={"since": 2})

    @dataclass(frozen=True)
    class LaterRecipe(Recipe):
        layers: tuple[int, ...] = field(default_factory=tuple, metadata={"since": 3})

    now = Recipe()
    later = LaterRecipe(data=LaterPolicy())
    assert digest(canonical(later)) == recipe_hash(now)
    assert digest(canonical(replace(later, layers=(1,)))) != recipe_hash(now)
    assert digest(canonical(replace(later, data=LaterPolicy(ordering="new")))) != recipe_hash(now)


def test_the_hash_does_not_depend_on_how_the_recipe_was_written() -> None:
    assert recipe_hash(Recipe()) == recipe_hash(Protocol().recipe_for("m", "d"))
    assert flatten(canonical(Recipe()))["augment.crop_scale"] == [0.9, 1.0]


def test_data_settings_for_one_model_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"overrides\[0\]\.set\.data is for the models m; .* name `datasets`"):
        parse_suite(
            preset_text("demo").replace("overrides:", "overrides:\n    - {models: [m], set: {data: {short_side: 64}}}"),
            "params.yaml",
        )


def test_tags_tell_the_identity(suite: Suite, project: Path) -> None:
    from mobilebench.execution.context import open_context
    from mobilebench.execution.describe import start_event
    from mobilebench.tracking import OfflineTracker

    context = open_context(suite, "blobs", OfflineTracker())
    identity = context.identity(Cell("starnet", "blobs", 0))
    tags = start_event(context, identity).tags
    assert from_tags(tags) == identity
    assert digest_of_tags(tags) == tags["identity"] == identity.digest
    assert digest_of_tags(tags | {"network": "0"}) != tags["identity"]
    assert "selection_metric" not in tags
    own = replace(identity, selection_metric="s")
    tags = start_event(context, own).tags
    assert from_tags(tags) == own
    assert digest_of_tags(tags) == tags["identity"] == own.digest != identity.digest


PINNED = {
    "canonical_v1": ("83c302bd6eed", "09a5000b6cb4"),
    "demo": ("58d476e1142e", "fb8b21d00436"),
    "demo_transfer": ("0f78727c67be", "ae900ef790d4"),
    "paper_v1": ("c521ef2e9db4", "b06ba31d7730"),
    "paper_v1_bf16": ("054996ae08dd", "dd9a6b6e3988"),
    "pocket_v1": ("b3351404f4fe", "2fa6b8ded64e"),
    "proxy_4": ("c521ef2e9db4", "ffda3a007750"),
    "real_world_augmentation": ("55077458f72b", "a9a2ecad0be7"),
    "real_world_clip": ("9c4ae0ecac55", "1f65a310e834"),
    "real_world_v1": ("ba9ef0ce218b", "3fd7cc821aa5"),
    "released_code": ("b6b66a65cbcd", "5c1d4118538e"),
    "which_backbone_low_data": ("c0487687b095", "5b336c894154"),
    "which_backbone_released": ("af96f7128a7f", "d6af27faf148"),
    "which_backbone_v1": ("60372bb05531", "f449557a9652"),
}


def recipes(name: str) -> str:
    """Return a digest of the recipe of every cell of a packaged suite."""
    suite = parse_suite(preset_text(name), name)
    pairs = sorted({(c.model, c.dataset) for c in suite.cells()})
    return digest([[*pair, suite.protocol.recipe_hash_for(*pair)] for pair in pairs])


@pytest.mark.parametrize("name", presets())
def test_every_packaged_suite_has_the_hashes_it_had(name: str) -> None:
    """The protocol's, which people read, and those of the recipes, by which cells are trained again or not."""
    assert (parse_suite(preset_text(name), name).protocol.hash, recipes(name)) == PINNED[name]


def test_a_datasets_metric_is_of_the_identity_where_it_alone_chooses_settings(project: Path) -> None:
    """It is no part of the recipe, and another one may choose another trial."""

    def read_by(metric: str, tuning: str, selection: str = "last_epoch") -> Identity:
        suite = grids.write(project, tuning=tuning, selection=selection, val=0.25)
        return wanted(suite, CHOSEN, replace(open_packed(project / "data/packed/blobs").meta, metric=metric))

    space = "{space: {lr: [1.0e-2, 1.0e-3]}}"
    assert read_by("", space) == read_by("top1", space) != read_by("macro_f1", space)
    assert read_by("", space, "{best_val: {}}") == read_by("macro_f1", space, "{best_val: {}}")
    assert read_by("", "null") == read_by("macro_f1", "null")
