"""Tiny copies of further distributions in their exact layout: those of the studies of transfer."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from PIL import Image
from tiny_archives import Files, jpeg, zipped

from mobilebench.datasets.catalog import plantvillage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import numpy.typing as npt


def table(header: str, lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\n" for line in (header, *lines)).encode()


def png(seed: int, size: tuple[int, int]) -> bytes:
    out = io.BytesIO()
    Image.linear_gradient("L").rotate(seed % 360).resize(size).convert("RGB").save(out, "PNG")
    return out.getvalue()


def dicom_bytes(values: npt.NDArray[Any], *, preamble: bool = True, **elements: Any) -> bytes:
    """A DICOM file of these pixels, [H, W] or [H, W, 3], with more elements, or without those that are None."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

    bits = 8 * values.dtype.itemsize
    file = Dataset()
    file.SOPClassUID, file.SOPInstanceUID = SecondaryCaptureImageStorage, "1.2.826.0.1.3680043.8.498.1"
    file.Rows, file.Columns = values.shape[:2]
    file.SamplesPerPixel = 3 if values.ndim == 3 else 1
    file.PhotometricInterpretation = "RGB" if values.ndim == 3 else "MONOCHROME2"
    if values.ndim == 3:
        file.PlanarConfiguration = 0
    file.BitsAllocated, file.BitsStored = bits, elements.pop("BitsStored", bits)
    file.HighBit, file.PixelRepresentation = file.BitsStored - 1, int(values.dtype.kind == "i")
    file.PixelData = values.tobytes()
    for name, value in elements.items():
        setattr(file, name, value)
        if value is None:
            delattr(file, name)
    out = io.BytesIO()
    if preamble:
        file.file_meta = FileMetaDataset()
        file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        file.save_as(out, enforce_file_format=True)
    else:
        file.save_as(out, implicit_vr=True, little_endian=True)
    return out.getvalue()


def _cassava() -> Files:
    """Ten photos of each of the five classes, in no order; test images have no labels."""
    lines = [f"{7919 * i % 10007:010d}.jpg,{i % 5}" for i in range(50)]
    files = {f"train_images/{line.partition(',')[0]}": jpeg(i, (60, 45)) for i, line in enumerate(lines)}
    files |= {"train.csv": table("image_id,label", lines), "label_num_to_disease_map.json": b'{"4": "Healthy"}'}
    files |= {"test_images/2216849948.jpg": jpeg(99), "sample_submission.csv": b"image_id,label\n2216849948.jpg,4\n"}
    return {"cassava-leaf-disease-classification.zip": zipped(files)}


def _aptos2019() -> Files:
    """Ten retinas of each of the five grades."""
    lines = [f"{7919 * i % 10007:012x},{i // 10}" for i in range(50)]
    files = {f"train_images/{line.partition(',')[0]}.png": png(7 * i, (50, 40)) for i, line in enumerate(lines)}
    files |= {"train.csv": table("id_code,diagnosis", lines), "test.csv": b"id_code\n0005cfc8afb6\n"}
    return {"aptos2019-blindness-detection.zip": zipped(files | {"test_images/0005cfc8afb6.png": png(1, (50, 40))})}


def _plantvillage() -> Files:
    """Five photos of each of the 39 classes; one is a PNG, as in the archive."""
    root = "Plant_leave_diseases_dataset_without_augmentation"
    files = {f"{root}/{c}/image ({i}).JPG": jpeg(i, (48, 48)) for c in plantvillage.CLASSES for i in range(1, 5)}
    files |= {f"{root}/{c}/image (5).{'png' if c.startswith('B') else 'JPG'}": jpeg(5) for c in plantvillage.CLASSES}
    return {"Plant_leaf_diseases_dataset_without_augmentation.zip": zipped(files)}


def _plantclef() -> Files:
    """Three species, six photos in train and two in val."""
    names = [f"{part}/{c}/{i}.jpg" for c in ("2", "10", "abies alba") for part in ("train", "val") for i in range(8)]
    kept = [name for name in names if (int(name[-5]) < 6) == name.startswith("train")]
    return {"PlantCLEF_Subset.zip": zipped({f"PlantCLEF_Subset/{n}": jpeg(i, (60, 44)) for i, n in enumerate(kept)})}


TRANSFER: dict[str, Callable[[], Files]] = {
    "cassava": _cassava,
    "aptos2019": _aptos2019,
    "plantvillage": _plantvillage,
    "plantclef": _plantclef,
}
"""What makes the files of a distribution, by raw name."""
