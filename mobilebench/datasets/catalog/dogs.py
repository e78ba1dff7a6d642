"""Stanford Dogs: 120 breeds, split by the official .mat lists; and the split that the paper's released code draws."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mobilebench.datasets.acquire.listing import locate
from mobilebench.datasets.spec import DataError, DatasetSpec, Entry, Reading, Source

if TYPE_CHECKING:
    from pathlib import Path

    from mobilebench.config.recipe import DataPolicy

_LISTS = {"train_list.mat": "train", "test_list.mat": "test"}


def _listed(path: Path) -> list[tuple[str, int]]:
    """Return (image path below Images/, label from 0) of one official list."""
    from scipy.io import loadmat

    try:
        content = loadmat(path)
        names = [str(cell.item()) for cell in content["file_list"].ravel()]
        labels = [int(label) - 1 for label in content["labels"].ravel()]
        return list(zip(names, labels, strict=True))
    except Exception as error:  # loadmat raises nearly anything on a broken file
        raise DataError(f"{path} is not one of the official lists ({type(error).__name__}: {error}).") from error


def _classes(entries: list[Entry]) -> tuple[str, ...]:
    folders = {entry.label: entry.path.partition("/")[0] for entry in entries}
    if sorted(folders) != list(range(len(folders))) or len(set(folders.values())) != len(folders):
        raise DataError("Stanford Dogs: the lists do not number the breeds 1, 2, 3 ...; fetch lists.tar again.")
    if any(folders[entry.label] != entry.path.partition("/")[0] for entry in entries):
        raise DataError("Stanford Dogs: the lists give one breed's folder two numbers; fetch lists.tar again.")
    return tuple(folders[label].partition("-")[2] for label in sorted(folders))


def read(raw: Path, _policy: DataPolicy) -> Reading:
    """List Images/<wnid>-<breed>/*.jpg as train_list.mat and test_list.mat say."""
    lists = locate(raw, "train_list.mat", "lists.tar unpacked (train_list.mat, test_list.mat)")
    entries = [Entry(name, label, split) for file, split in _LISTS.items() for name, label in _listed(lists / file)]
    if not entries:
        raise DataError(f"{lists}: the lists are empty; fetch lists.tar again.")
    images = locate(raw, f"Images/{entries[0].path}", "images.tar unpacked (Images/<wnid>-<breed>/<image>.jpg)")
    return Reading(_classes(entries), entries, images / "Images")


def read_released(raw: Path, policy: DataPolicy) -> Reading:
    """Draw 80/20 of all images, not stratified, as the paper's code does, from a seed (theirs had none)."""
    from sklearn.model_selection import train_test_split

    official = read(raw, policy)
    entries = sorted(official.entries)
    if len(entries) < 5:
        raise DataError(f"{raw} has {len(entries)} images: too few to hold 20 % of them out.")
    _, held = train_test_split(range(len(entries)), test_size=0.2, random_state=policy.split_seed)
    test = set(held)
    drawn = [entry._replace(split="test" if i in test else "train") for i, entry in enumerate(entries)]
    return Reading(official.classes, drawn, official.root)


SPEC = DatasetSpec(
    id="dogs",
    title="Stanford Dogs",
    domain="fine-grained",
    classes=120,
    counts={"train": 12000, "test": 8580},
    licence="ImageNet, research",
    citation="A. Khosla et al., Novel Dataset for Fine-Grained Image Categorization, FGVC at CVPR 2011",
    homepage="http://vision.stanford.edu/aditya86/ImageNetDogs/",
    hflip=True,
    read=read,
    images_from="ImageNet",
    # Digests as TensorFlow Datasets publishes them (url_checksums/stanford_dogs.txt); the owners publish none.
    sources=(
        Source(
            "http://vision.stanford.edu/aditya86/ImageNetDogs/images.tar",
            "images.tar",
            sha256="a443fc2f9a851aa1a7b8e4fa4af94b8459fce2c9f5a2f4dd4669cf9673a4ec58",
        ),
        Source(
            "http://vision.stanford.edu/aditya86/ImageNetDogs/lists.tar",
            "lists.tar",
            sha256="34b47cacd9a98b5d150e084f24d29391c084c55272295ec65c85651bc35f4d6c",
        ),
    ),
)

RELEASED = replace(
    SPEC,
    id="dogs_released",
    title="Stanford Dogs, random 80/20 as in the paper's released code",
    counts={"train": 16464, "test": 4116},
    read=read_released,
    raw="dogs",
    note="their seed is not known: the sizes are theirs, the draw is ours (data.split_seed)",
)
