"""Tiny copies of official distributions in their exact layout, beside those that tests/datasets/conftest.py makes."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from mobilebench.datasets.catalog import eurosat, ucmerced

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Files = dict[str, bytes]


def jpeg(seed: int, size: tuple[int, int] = (48, 40)) -> bytes:
    """A smooth coloured picture: small numbers survive JPEG."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (10, 10, 3), np.uint8))
    out = io.BytesIO()
    coarse.resize(size, Image.Resampling.BICUBIC).save(out, "JPEG", quality=90)
    return out.getvalue()


def tar(files: Mapping[str, bytes], mode: str = "w") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


def zipped(files: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def saved_mat(**content: Any) -> bytes:
    """A file of MATLAB's, as scipy writes it."""
    from scipy.io import savemat

    out = io.BytesIO()
    savemat(out, content)
    return out.getvalue()


def _flowers102() -> Files:
    """Three species of eight images: two each in train and val, four in test; the ids are in no order."""
    ids = np.random.default_rng(102).permutation(24) + 1
    labels = np.zeros((1, 24), np.uint8)
    labels[0, ids - 1] = np.arange(24) % 3 + 1
    return {
        "102flowers.tgz": tar({f"jpg/image_{i:05d}.jpg": jpeg(i, (64, 60 + i % 5)) for i in range(1, 25)}, "w:gz"),
        "imagelabels.mat": saved_mat(labels=labels),
        "setid.mat": saved_mat(trnid=ids[None, :6], valid=ids[None, 6:12], tstid=ids[None, 12:]),
    }


def _dtd() -> Files:
    """Three textures of six images; split 2 shares them out otherwise, and is not to be read."""
    names = [[f"{c}/{c}_{i:04d}.jpg" for i in range(6)] for c in ("woven", "banded", "zigzagged")]
    parts = {"train": slice(0, 2), "val": slice(2, 4), "test": slice(4, 6)}
    files = {f"dtd/images/{name}": jpeg(i, (60, 60 + i)) for i, name in enumerate(chain.from_iterable(names))}
    for number, order in ((1, 1), (2, -1)):
        for split, part in parts.items():
            listed = [name for some in names for name in some[::order][part]]
            files[f"dtd/labels/{split}{number}.txt"] = "".join(f"{name}\n" for name in listed).encode()
    files["dtd/labels/labels_joint_anno.txt"] = b"banded/banded_0000.jpg banded\n"
    return {"dtd-r1.0.1.tar.gz": tar(files, "w:gz")}


def _food101() -> Files:
    """Three dishes of six photos, in lists of both forms that the archive has."""
    dishes = ("apple_pie", "waffles", "baby_back_ribs")
    parts = {"train": range(4), "test": range(4, 6)}
    files = {f"food-101/images/{d}/{100 + i}.jpg": jpeg(i, (60, 60)) for d in dishes for i in range(6)}
    for split, part in parts.items():
        listed = {d: [f"{d}/{100 + i}" for i in part] for d in dishes}
        files[f"food-101/meta/{split}.txt"] = "\n".join(chain.from_iterable(listed.values())).encode()
        files[f"food-101/meta/{split}.json"] = json.dumps(listed).encode()
    files["food-101/meta/classes.txt"] = "\n".join(sorted(dishes)).encode()
    return {"food-101.tar.gz": tar(files, "w:gz")}


def _eurosat() -> Files:
    """Ten images of each of the ten classes, at their real size."""
    names = [f"2750/{c}/{c}_{i}.jpg" for c in eurosat.CLASSES for i in range(1, 11)]
    return {"EuroSAT.zip": zipped({name: jpeg(i, (64, 64)) for i, name in enumerate(names)})}


def _tiny_imagenet() -> Files:
    """Three classes, two of which share a name; wnids.txt is in no order, and an image is grey."""
    wnids = ("n03710721", "n01443537", "n03710637")
    root = "tiny-imagenet-200"
    files = {
        f"{root}/wnids.txt": "\n".join(wnids).encode() + b"\n",
        f"{root}/words.txt": (
            b"n00001740\tentity\nn01443537\tgoldfish, Carassius auratus\nn03710637\tmaillot\n"
            b"n03710721\tmaillot, tank suit\n"
        ),
        f"{root}/test/images/test_0.JPEG": jpeg(99, (64, 64)),
    }
    for c, wnid in enumerate(wnids):
        files[f"{root}/train/{wnid}/{wnid}_boxes.txt"] = f"{wnid}_0.JPEG\t0\t10\t63\t58\n".encode()
        for i in range(4):
            files[f"{root}/train/{wnid}/images/{wnid}_{i}.JPEG"] = jpeg(10 * c + i, (64, 64))
    grey = io.BytesIO()
    Image.linear_gradient("L").resize((64, 64)).save(grey, "JPEG")
    files[f"{root}/train/{wnids[0]}/images/{wnids[0]}_0.JPEG"] = grey.getvalue()
    lines = [f"val_{i}.JPEG\t{wnids[i % 3]}\t0\t32\t44\t62\n" for i in range(6)]
    files[f"{root}/val/val_annotations.txt"] = "".join(lines).encode()
    files |= {f"{root}/val/images/val_{i}.JPEG": jpeg(50 + i, (64, 64)) for i in range(6)}
    return {"tiny-imagenet-200.zip": zipped(files)}


def _cub200() -> Files:
    """Three species of five photos; the parts are mixed."""
    species = ("001.Black_footed_Albatross", "002.Laysan_Albatross", "003.Sooty_Albatross")
    paths = [f"{s}/{s[4:]}_{i:04d}_{700 + i}.jpg" for s in species for i in range(5)]
    root = "CUB_200_2011"
    lists = {
        "images.txt": paths,
        "classes.txt": species,
        "image_class_labels.txt": [1 + i // 5 for i in range(15)],
        "train_test_split.txt": [int(i % 5 not in {1, 3}) for i in range(15)],
    }
    files = {f"{root}/images/{path}": jpeg(i, (60 + i, 60)) for i, path in enumerate(paths)}
    for name, items in lists.items():
        files[f"{root}/{name}"] = "".join(f"{i} {item}\n" for i, item in enumerate(items, start=1)).encode()
    return {"CUB_200_2011.tgz": tar(files | {"attributes.txt": b"1 has_bill_shape::curved\n"}, "w:gz")}


def _ucmerced() -> Files:
    """Five TIFFs of each of the 21 classes; a few are not quite 256 pixels wide, as in the archive."""
    files: Files = {"UCMerced_LandUse/readme.txt": b"UC Merced Land Use Dataset\n"}
    for c, name in enumerate(ucmerced.CLASSES):
        for i in range(5):
            rng = np.random.default_rng(100 * c + i)
            small = Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8))
            out = io.BytesIO()
            small.resize((48 if i else 47, 48)).save(out, "TIFF")
            files[f"UCMerced_LandUse/Images/{name}/{name}{i:02d}.tif"] = out.getvalue()
    return {"UCMerced_LandUse.zip": zipped(files)}


def hdf5(**columns: npt.NDArray[Any]) -> bytes:
    """An HDF5 file with these columns, compressed."""
    import h5py

    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        for name, values in columns.items():
            file.create_dataset(name, data=values, compression="gzip")
    return out.getvalue()


def _galaxy10() -> Files:
    """Twenty images of each of the ten classes."""
    images = np.random.default_rng(10).integers(0, 256, (200, 32, 32, 3), np.uint8)
    labels = (np.arange(200) % 10).astype(np.uint8)
    return {"Galaxy10_DECals.h5": hdf5(images=images, ans=labels, ra=np.linspace(0.0, 359.0, 200))}


def neu_images(names: str, ending: str) -> Files:
    """Ten grey images of each kind: `Cr In ...` or `crazing inclusion ...`, numbered from 1."""
    files = {}
    for c, name in enumerate(names.split()):
        for i in range(1, 11):
            out = io.BytesIO()
            Image.linear_gradient("L").rotate(31 * c + 7 * i).resize((50, 50)).save(out, ending.upper())
            files[f"{name}_{i}.{ending}"] = out.getvalue()
    return files


def _neu() -> Files:
    """NEU-CLS: all images in one folder."""
    return {"NEU-CLS.zip": zipped({f"NEU-CLS/{n}": c for n, c in neu_images("Cr In Pa PS RS Sc", "bmp").items()})}


def _stanford_cars() -> Files:
    """Three models of cars, six photos in train and three in test; test is annotated in a file of its own."""
    names = ["AM General Hummer SUV 2000", "Acura RL Sedan 2012", "smart fortwo Convertible 2012"]
    cells = np.empty((1, 3), object)
    cells[0] = names

    def annotations(labels: list[int]) -> bytes:
        kinds = [(name, object) for name in ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname")]
        lines = np.empty((1, len(labels)), kinds)
        for i, label in enumerate(labels):
            lines[0, i] = (1, 2, 30, 40, label, f"{i + 1:05d}.jpg")
        return saved_mat(annotations=lines)

    devkit = {
        "devkit/cars_meta.mat": saved_mat(class_names=cells),
        "devkit/cars_train_annos.mat": annotations([2, 1, 3, 3, 2, 1]),
        "devkit/README.txt": b"cars\n",
    }
    return {
        "cars_train.tgz": tar({f"cars_train/{i:05d}.jpg": jpeg(i, (60, 40 + i)) for i in range(1, 7)}, "w:gz"),
        "cars_test.tgz": tar({f"cars_test/{i:05d}.jpg": jpeg(60 + i, (60, 42)) for i in range(1, 4)}, "w:gz"),
        "car_devkit.tgz": tar(devkit, "w:gz"),
        "cars_test_annos_withlabels.mat": annotations([3, 1, 2]),
    }


def _breakhis() -> Files:
    """Twelve slides, of nine patients a kind at most, three images each at each magnification."""
    slides = {
        "benign/SOB/adenosis": ["B_A-14-22549AB", "B_A-14-22549CD", "B_A-14-29960CD", "B_A-14-3411F"],
        "benign/SOB/tubular_adenoma": ["B_TA-14-13200", "B_TA-14-16184"],
        "malignant/SOB/ductal_carcinoma": ["M_DC-14-13412", "M_DC-14-2523", "M_DC-14-17614"],
        "malignant/SOB/lobular_carcinoma": ["M_LC-14-13412", "M_LC-14-12204", "M_LC-14-15570C"],
    }
    files: Files = {"BreaKHis_v1/README.txt": b"BreaKHis\n", "BreaKHis_v1/histology_slides/breast/._count.png": b""}
    for place, names in slides.items():
        for name in names:
            folder = f"BreaKHis_v1/histology_slides/breast/{place}/SOB_{name.replace('-', '_', 1)}"
            for magnification in (40, 100, 200, 400):
                for i in range(1, 4):
                    rng = np.random.default_rng([magnification, i, *name.encode()])
                    out = io.BytesIO()
                    Image.fromarray(rng.integers(0, 256, (46, 70, 3), np.uint8)).save(out, "PNG")
                    path = f"{folder}/{magnification}X/SOB_{name}-{magnification}-{i:03d}.png"
                    files[path] = out.getvalue()
    return {"BreaKHis_v1.tar.gz": tar(files, "w:gz")}


MORE: dict[str, Callable[[], Files]] = {
    "flowers102": _flowers102,
    "dtd": _dtd,
    "food101": _food101,
    "eurosat": _eurosat,
    "tiny_imagenet": _tiny_imagenet,
    "cub200": _cub200,
    "ucmerced": _ucmerced,
    "galaxy10": _galaxy10,
    "neu": _neu,
    "stanford_cars": _stanford_cars,
    "breakhis": _breakhis,
}
"""What makes the files of a distribution, by raw name."""
