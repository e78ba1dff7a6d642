"""Human Protein Atlas (Kaggle, 2018): 31,072 microscopic images of cells in four channels, of 28 kinds of place each.

The labels of Kaggle's test images are not public: 9 % of the train images are held out as test and 18 % as val, the
shares of the study that this set is taken from, stratified by the rarest class of an image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mobilebench.datasets.acquire.listing import locate
from mobilebench.datasets.acquire.tables import Row, check_present, rows
from mobilebench.datasets.readers import ChannelFiles
from mobilebench.datasets.spec import DataError, DatasetSpec, Entry, Reading
from mobilebench.datasets.splits import drawn, holdout

if TYPE_CHECKING:
    from pathlib import Path

    from mobilebench.config.recipe import DataPolicy

CLASSES = (
    "Nucleoplasm",
    "Nuclear membrane",
    "Nucleoli",
    "Nucleoli fibrillar center",
    "Nuclear speckles",
    "Nuclear bodies",
    "Endoplasmic reticulum",
    "Golgi apparatus",
    "Peroxisomes",
    "Endosomes",
    "Lysosomes",
    "Intermediate filaments",
    "Actin filaments",
    "Focal adhesion sites",
    "Microtubules",
    "Microtubule ends",
    "Cytokinetic bridge",
    "Mitotic spindle",
    "Microtubule organizing center",
    "Centrosome",
    "Lipid droplets",
    "Plasma membrane",
    "Cell junctions",
    "Mitochondria",
    "Aggresome",
    "Cytosol",
    "Cytoplasmic bodies",
    "Rods & rings",
)
CHANNELS = ("red", "green", "blue", "yellow")
"""What each channel shows: microtubules, the protein, the nucleus, the endoplasmic reticulum."""
TEST, VAL = 0.09, 0.18


def read(raw: Path, policy: DataPolicy) -> Reading:
    """List the images of train.csv, four files each, and draw test and val by the policy's split_seed."""
    root = locate(raw, "train.csv", "human-protein-atlas-image-classification.zip unpacked (train.csv, train)")
    table, folder = root / "train.csv", root / "train"
    lines = rows(table, ("Id", "Target"), key="Id")
    check_present(table, folder, (f"{line.cells['Id']}_{channel}.png" for line in lines for channel in CHANNELS))
    entries = drawn(
        sorted(Entry(line.cells["Id"], _places(table, line), "") for line in lines), TEST, policy.split_seed
    )
    train = [i for i, entry in enumerate(entries) if entry.split == "train"]
    val = holdout([entries[i].label for i in train], fraction=VAL / (1 - TEST), seed=policy.split_seed)
    for position in val:
        entries[train[position]] = entries[train[position]]._replace(split="val")
    return Reading(CLASSES, entries, files=[folder / entry.path for entry in entries])


def _places(table: Path, line: Row) -> tuple[int, ...]:
    numbers = line.cells["Target"].split()
    if not numbers or not all(n.isascii() and n.isdecimal() and int(n) < len(CLASSES) for n in numbers):
        raise DataError(
            f"{table}, line {line.number}: Target is {line.cells['Target'][:80]!r}, expected numbers from 0 to"
            f" {len(CLASSES) - 1} with blanks between them; fetch it again."
        )
    return tuple(sorted({int(number) for number in numbers}))


SPEC = DatasetSpec(
    id="hpa",
    title="Human Protein Atlas 2018, 73/18/9 of its train part, four channels",
    domain="medical",
    classes=28,
    counts={"all": 31072},
    licence="CC BY-SA 3.0",
    citation=(
        "W. Ouyang et al., Analysis of the Human Protein Atlas Image Classification competition, Nat. Methods 16, 2019"
    ),
    homepage="https://www.kaggle.com/competitions/human-protein-atlas-image-classification",
    hflip=True,
    read=read,
    by_hand=(
        "Log in to Kaggle, accept the rules of the competition human-protein-atlas-image-classification, download"
        " train.csv and train.zip (the PNGs of 512 px) from its page, unpack both into one folder (train.csv,"
        " train/<Id>_red.png ...), and pass that folder with --from."
    ),
    note=(
        "the labels of the official test part are not public: test and val are drawn by data.split_seed, and"
        " data.val_fraction does not apply; channels are red, green, blue and yellow"
    ),
    target="multi_label",
    metric="macro_f1",
    channels=4,
    reader=ChannelFiles(tuple(f"_{channel}.png" for channel in CHANNELS)),
)
