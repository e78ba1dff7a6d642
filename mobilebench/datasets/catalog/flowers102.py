"""Oxford Flowers-102: 102 species, split into train, val and test by setid.mat; and train and val together as train."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mobilebench.datasets.acquire.listing import locate
from mobilebench.datasets.spec import DataError, DatasetSpec, Entry, Reading, Source

if TYPE_CHECKING:
    from pathlib import Path

    from mobilebench.config.recipe import DataPolicy

_SPLITS = {"trnid": "train", "valid": "val", "tstid": "test"}

# In the order of their numbers, as the owners list them on the homepage's pages of categories.
CLASSES = (
    "pink primrose",
    "hard-leaved pocket orchid",
    "canterbury bells",
    "sweet pea",
    "english marigold",
    "tiger lily",
    "moon orchid",
    "bird of paradise",
    "monkshood",
    "globe thistle",
    "snapdragon",
    "colt's foot",
    "king protea",
    "spear thistle",
    "yellow iris",
    "globe-flower",
    "purple coneflower",
    "peruvian lily",
    "balloon flower",
    "giant white arum lily",
    "fire lily",
    "pincushion flower",
    "fritillary",
    "red ginger",
    "grape hyacinth",
    "corn poppy",
    "prince of wales feathers",
    "stemless gentian",
    "artichoke",
    "sweet william",
    "carnation",
    "garden phlox",
    "love in the mist",
    "mexican aster",
    "alpine sea holly",
    "ruby-lipped cattleya",
    "cape flower",
    "great masterwort",
    "siam tulip",
    "lenten rose",
    "barbeton daisy",
    "daffodil",
    "sword lily",
    "poinsettia",
    "bolero deep blue",
    "wallflower",
    "marigold",
    "buttercup",
    "oxeye daisy",
    "common dandelion",
    "petunia",
    "wild pansy",
    "primula",
    "sunflower",
    "pelargonium",
    "bishop of llandaff",
    "gaura",
    "geranium",
    "orange dahlia",
    "pink-yellow dahlia?",
    "cautleya spicata",
    "japanese anemone",
    "black-eyed susan",
    "silverbush",
    "californian poppy",
    "osteospermum",
    "spring crocus",
    "bearded iris",
    "windflower",
    "tree poppy",
    "gazania",
    "azalea",
    "water lily",
    "rose",
    "thorn apple",
    "morning glory",
    "passion flower",
    "lotus",
    "toad lily",
    "anthurium",
    "frangipani",
    "clematis",
    "hibiscus",
    "columbine",
    "desert-rose",
    "tree mallow",
    "magnolia",
    "cyclamen",
    "watercress",
    "canna lily",
    "hippeastrum",
    "bee balm",
    "ball moss",
    "foxglove",
    "bougainvillea",
    "camellia",
    "mallow",
    "mexican petunia",
    "bromelia",
    "blanket flower",
    "trumpet creeper",
    "blackberry lily",
)


def _numbers(path: Path, key: str) -> list[int]:
    """Return the whole numbers, 1 or more, that a file of MATLAB's holds under a name."""
    from scipy.io import loadmat

    try:
        content: Any = loadmat(path)
        numbers = [int(number) for number in content[key].ravel()]
    except Exception as error:  # loadmat raises nearly anything on a broken file
        raise DataError(
            f"{path} is not the official file ({type(error).__name__}: {error}): fetch it again."
        ) from error
    if not numbers or min(numbers) < 1:
        raise DataError(f"{path} holds no numbers from 1 under {key}; fetch it again.")
    return numbers


def read(raw: Path, _policy: DataPolicy) -> Reading:
    """List jpg/image_<number>.jpg as setid.mat says, with the classes of imagelabels.mat."""
    lists = locate(raw, "setid.mat", "102flowers.tgz unpacked (jpg/), imagelabels.mat and setid.mat")
    images = locate(raw, "jpg", "102flowers.tgz unpacked (jpg/image_00001.jpg ...)")
    labels = _numbers(lists / "imagelabels.mat", "labels")
    entries: list[Entry] = []
    for key, split in _SPLITS.items():
        for image in _numbers(lists / "setid.mat", key):
            if image > len(labels):
                raise DataError(f"{lists}: setid.mat names image {image}, imagelabels.mat has {len(labels)} labels.")
            entries.append(Entry(f"jpg/image_{image:05d}.jpg", labels[image - 1] - 1, split))
    if len({entry.path for entry in entries}) != len(entries):
        raise DataError(f"{lists / 'setid.mat'} names an image more than once; fetch it again.")
    classes = max(labels)
    if classes > len(CLASSES):
        raise DataError(f"{lists / 'imagelabels.mat'} numbers {classes} classes; expected {len(CLASSES)} at most.")
    return Reading(CLASSES[:classes], entries, images)


def read_trainval(raw: Path, policy: DataPolicy) -> Reading:
    """List the same images, those of the official val part as train images."""
    official = read(raw, policy)
    joined = [entry._replace(split="train") if entry.split == "val" else entry for entry in official.entries]
    return replace(official, entries=joined)


_HOME = "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/"

SPEC = DatasetSpec(
    id="flowers102",
    title="Oxford Flowers-102",
    domain="fine-grained",
    classes=102,
    counts={"train": 1020, "val": 1020, "test": 6149},
    licence="none stated",
    citation=(
        "M.-E. Nilsback and A. Zisserman, Automated Flower Classification over a Large Number of Classes, ICVGIP 2008"
    ),
    homepage=_HOME,
    hflip=True,
    read=read,
    # MD5s as torchvision publishes them, sizes and SHA-256s as TensorFlow Datasets does.
    sources=(
        Source(
            f"{_HOME}102flowers.tgz",
            "102flowers.tgz",
            md5="52808999861908f626f3c1f4e79d11fa",
            sha256="2d01ecc807db462958cfe3d92f57a8c252b4abd240eb955770201e45f783b246",
            size=344862509,
        ),
        Source(
            f"{_HOME}imagelabels.mat",
            "imagelabels.mat",
            md5="e0620be6f572b9609742df49c70aed4d",
            sha256="4903e94206bac23bf772aadf06451916df56b58fc483a62db32a97b82656651d",
            size=502,
            archive=False,
        ),
        Source(
            f"{_HOME}setid.mat",
            "setid.mat",
            md5="a5357ecc9cb78c4bef273ce3793fc85c",
            sha256="46b8678f91fd95d3c8f4feab80d271a6c834a1dd896fe29fd3e6ad9ce5c8dccd",
            size=14989,
            archive=False,
        ),
    ),
    note="the official val part is val: data.val_fraction does not apply; flowers102_trainval trains on it",
)

TRAINVAL = replace(
    SPEC,
    id="flowers102_trainval",
    title="Oxford Flowers-102, train and val together as train",
    counts={"train": 2040, "test": 6149},
    read=read_trainval,
    raw="flowers102",
    note="2,040 train images, as transfer studies count them; a val part is cut out by data.val_fraction",
)
