"""Tiny copies of further distributions in their exact layout: those of the studies of transfer."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile
from PIL import Image
from tiny_archives import Files, jpeg, tar, zipped

from mobilebench.datasets.catalog import eurosat, plantvillage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import numpy.typing as npt


def table(header: str, lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\n" for line in (header, *lines)).encode()


def png(seed: int, size: tuple[int, int]) -> bytes:
    out = io.BytesIO()
    Image.linear_gradient("L").rotate(seed % 360).resize(size).convert("RGB").save(out, "PNG")
    return out.getvalue()


def grey_png(seed: int, size: tuple[int, int]) -> bytes:
    out = io.BytesIO()
    Image.linear_gradient("L").rotate(seed % 360).resize(size).save(out, "PNG")
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


def _rsna_pneumonia() -> Files:
    """Thirty patients, ten of them ill, five of these with two boxes."""
    lines, files = [], Files()
    for i in range(30):
        patient = f"{7919 * i % 10007:08x}-fd14-4e49"
        x, y = np.meshgrid(np.arange(48), np.arange(40))
        values = ((5 + i) * x + 3 * i * y) % 256
        files[f"stage_2_train_images/{patient}.dcm"] = dicom_bytes(values.astype(np.uint8), PatientID=patient)
        boxes = ["264.0,152.0,213.0,379.0,1", "562.0,152.0,256.0,453.0,1"][: 1 + i % 2] if i < 10 else [",,,,0"]
        lines += [f"{patient},{box}" for box in boxes]
    files["stage_2_train_labels.csv"] = table("patientId,x,y,width,height,Target", lines)
    files["stage_2_detailed_class_info.csv"] = b"patientId,class\n"
    return {"rsna-pneumonia-detection-challenge.zip": zipped(files)}


CCT = {
    1: "opossum", 3: "raccoon", 5: "squirrel", 6: "bobcat", 7: "skunk", 8: "dog", 9: "coyote", 10: "rabbit",
    11: "bird", 16: "cat", 21: "badger", 30: "empty", 33: "car", 34: "deer", 51: "fox", 99: "rodent",
}  # fmt: skip


def _cct20() -> Files:
    """Two photos of each of the 15 kinds in train, one in the others; in each list one is empty, one of two kinds."""
    kinds = [number for number in CCT if number != 30]
    places = {"train": "38", "cis_val": "38", "cis_test": "38", "trans_val": "100", "trans_test": "7"}
    lists: Files = {}
    images: Files = {}
    for part, place in places.items():
        shown = [[kind] for kind in kinds * (1 + (part == "train"))] + [[30], [1, 11], [8, 8], [30, 9]]
        ids = [f"5858{part.replace('_', '')}-{i:02d}" for i in range(len(shown))]
        pairs = [(name, kind) for name, some in zip(ids, shown, strict=True) for kind in some]
        content = {
            "info": {"version": "eccv_18"},
            "categories": [{"id": number, "name": name} for number, name in CCT.items()],
            "images": [{"id": name, "file_name": f"{name}.jpg", "location": place, "seq_id": "s"} for name in ids],
            "annotations": [{"id": str(i), "image_id": name, "category_id": k} for i, (name, k) in enumerate(pairs)],
        }
        lists[f"eccv_18_annotation_files/{part}_annotations.json"] = json.dumps(content).encode()
        images |= {f"eccv_18_all_images_sm/{name}.jpg": jpeg(i, (64, 48)) for i, name in enumerate(ids)}
    return {
        "eccv_18_annotations.tar.gz": tar(lists, "w:gz"),
        "eccv_18_all_images_sm.tar.gz": tar(images, "w:gz"),
    }


def _melanoma() -> Files:
    """2020: twenty patients of three images each, in 15 folds, and two duplicates. 2019: 30 folds, no patients."""
    header = "image_name,patient_id,sex,age_approx,diagnosis,target,tfrecord,width,height"
    rest = "male,45.0,unknown"
    lines = {
        2020: [f"ISIC_{i:07d},IP_{i % 20:07d},{rest},{int(i % 20 < 6)},{i % 15},6000,4000" for i in range(60)]
        + [f"ISIC_{i:07d},IP_0000000,{rest},1,-1,6000,4000" for i in (90, 91)],
        2019: [f"ISIC_{1000 + i:07d},-1,{rest},{int(i % 3 == 0)},{i % 30},1024,1024" for i in range(60)],
    }
    files: Files = {}
    for year, some in lines.items():
        files[f"melanoma-{year}/train.csv"] = table(header, some)
        files |= {f"melanoma-{year}/train/{line[:12]}.jpg": jpeg(i + year, (50, 50)) for i, line in enumerate(some)}
    return {"melanoma.zip": zipped(files)}


def _hpa() -> Files:
    """112 images, four files each: every place in one or more, some images in several; in no order."""
    shown = [{i % 28} | ({25} if i % 3 else set()) | ({0, 2} if i % 7 == 0 else set()) for i in range(112)]
    ids = [f"{7919 * i % 10007:08x}-bbad-11e8" for i in range(112)]
    lines = [f"{name},{' '.join(map(str, sorted(some, reverse=True)))}" for name, some in zip(ids, shown, strict=True)]
    files: Files = {"train.csv": table("Id,Target", lines), "sample_submission.csv": b"Id,Predicted\n00008af0,0\n"}
    for i, name in enumerate(ids):
        for j, colour in enumerate(("red", "green", "blue", "yellow")):
            files[f"train/{name}_{colour}.png"] = grey_png(37 * i + 90 * j, (32, 32))
    return {"human-protein-atlas-image-classification.zip": zipped(files)}


def _eurosat_ms() -> Files:
    """Ten images of each of the ten classes, 13 bands of 16 bits, where the archive has them; compressed as there."""
    root = "ds/images/remote_sensing/otherDatasets/sentinel_2/tif"
    rng = np.random.default_rng(13)
    files: Files = {}
    for name in (f"{c}/{c}_{i}.tif" for c in eurosat.CLASSES for i in range(1, 11)):
        out = io.BytesIO()
        bands = rng.integers(0, 12_000, (16, 16, 13)).astype(np.uint16)
        tifffile.imwrite(out, bands, photometric="minisblack", planarconfig="contig", compression="lzw")
        files[f"{root}/{name}"] = out.getvalue()
    return {"EuroSATallBands.zip": zipped(files)}


TRANSFER: dict[str, Callable[[], Files]] = {
    "cassava": _cassava,
    "aptos2019": _aptos2019,
    "plantvillage": _plantvillage,
    "plantclef": _plantclef,
    "rsna_pneumonia": _rsna_pneumonia,
    "cct20": _cct20,
    "melanoma": _melanoma,
    "hpa": _hpa,
    "eurosat_ms": _eurosat_ms,
}
"""What makes the files of a distribution, by raw name."""
