"""A subset of PlantCLEF: 20 species, in folders train and val. It comes from one study and is not given out as such.

So its classes are those that the folders name, and its val part is the test part, as in that study.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mobilebench.datasets.acquire.listing import children, class_folders, locate
from mobilebench.datasets.spec import DataError, DatasetSpec, Entry, Reading

if TYPE_CHECKING:
    from pathlib import Path

    from mobilebench.config.recipe import DataPolicy

_FOLDERS = {"train": "train", "val": "test"}


def read(raw: Path, _policy: DataPolicy) -> Reading:
    """List {train,val}/<species>/*.jpg (or .jpeg, .png), every species being in both."""
    root = locate(raw, "val", "PlantCLEF_Subset/{train,val}/<species>/<image>.jpg")
    species = {
        folder: {path.name for path in children(root / folder)} for folder in _FOLDERS if (root / folder).is_dir()
    }
    if len(species) < len(_FOLDERS) or species["train"] != species["val"]:
        odd = sorted(species.get("train", set()) ^ species["val"])
        raise DataError(
            f"{root}: not every species is in both train and val, for example {', '.join(odd[:3]) or 'none'}."
        )
    classes = tuple(sorted(species["train"]))
    entries = [
        Entry(f"{folder}/{path}", label, split)
        for folder, split in _FOLDERS.items()
        for path, label in class_folders(root / folder, classes, ".jpg", ".jpeg", ".png")
    ]
    return Reading(classes, entries, root)


SPEC = DatasetSpec(
    id="plantclef",
    title="PlantCLEF, a subset of 20 species",
    domain="plant",
    classes=20,
    counts={"train": 10455, "test": 1135},
    licence="research",
    citation="H. Goëau, P. Bonnet, A. Joly, Overview of PlantCLEF 2021: Cross-Domain Plant Identification, CLEF 2021",
    homepage="https://www.imageclef.org/PlantCLEF2021",
    hflip=True,
    read=read,
    by_hand=(
        "The subset is its study's own (arXiv:2406.05612): ask the authors for it, or lay out a subset of PlantCLEF as"
        " PlantCLEF_Subset/{train,val}/<species>/<image>.jpg (with --incomplete-ok where its counts are others), and"
        " pass that folder with --from."
    ),
    note="the val folder is the test part, as in its study; the species are those that the folders name",
)
