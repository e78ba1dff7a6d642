"""PlantVillage: 55,448 photos of single leaves, 38 kinds of crop and disease, and of backgrounds. Drawn 80/20.

It is the edition of Mendeley Data "without augmentation", the one with a class for backgrounds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mobilebench.datasets.acquire.listing import class_folders, locate
from mobilebench.datasets.spec import DatasetSpec, Entry, Reading, Source
from mobilebench.datasets.splits import drawn

if TYPE_CHECKING:
    from pathlib import Path

    from mobilebench.config.recipe import DataPolicy

CLASSES = (
    "Apple___Apple_scab",
    "Apple___Black_rot",
    "Apple___Cedar_apple_rust",
    "Apple___healthy",
    "Background_without_leaves",
    "Blueberry___healthy",
    "Cherry___Powdery_mildew",
    "Cherry___healthy",
    "Corn___Cercospora_leaf_spot Gray_leaf_spot",
    "Corn___Common_rust",
    "Corn___Northern_Leaf_Blight",
    "Corn___healthy",
    "Grape___Black_rot",
    "Grape___Esca_(Black_Measles)",
    "Grape___Leaf_blight_(Isariopsis_Leaf_Spot)",
    "Grape___healthy",
    "Orange___Haunglongbing_(Citrus_greening)",
    "Peach___Bacterial_spot",
    "Peach___healthy",
    "Pepper,_bell___Bacterial_spot",
    "Pepper,_bell___healthy",
    "Potato___Early_blight",
    "Potato___Late_blight",
    "Potato___healthy",
    "Raspberry___healthy",
    "Soybean___healthy",
    "Squash___Powdery_mildew",
    "Strawberry___Leaf_scorch",
    "Strawberry___healthy",
    "Tomato___Bacterial_spot",
    "Tomato___Early_blight",
    "Tomato___Late_blight",
    "Tomato___Leaf_Mold",
    "Tomato___Septoria_leaf_spot",
    "Tomato___Spider_mites Two-spotted_spider_mite",
    "Tomato___Target_Spot",
    "Tomato___Tomato_Yellow_Leaf_Curl_Virus",
    "Tomato___Tomato_mosaic_virus",
    "Tomato___healthy",
)
"""The archive's folders, sorted."""


def read(raw: Path, policy: DataPolicy) -> Reading:
    """List <class>/*.jpg (or .jpeg, .png) and hold out 20 % of each class, drawn by the policy's split_seed."""
    root = locate(
        raw,
        CLASSES[0],
        "Plant_leaf_diseases_dataset_without_augmentation.zip unpacked"
        " (Plant_leave_diseases_dataset_without_augmentation/<class>/<image>.JPG)",
    )
    entries = [Entry(path, label, "") for path, label in class_folders(root, CLASSES, ".jpg", ".jpeg", ".png")]
    return Reading(CLASSES, drawn(entries, 0.2, policy.split_seed), root)


SPEC = DatasetSpec(
    id="plantvillage",
    title="PlantVillage, 80/20",
    domain="plant",
    classes=39,
    counts={"train": 44358, "test": 11090},
    licence="CC0 1.0",
    citation="D. Hughes and M. Salathé, An open access repository of images on plant health, arXiv:1511.08060, 2015",
    homepage="https://data.mendeley.com/datasets/tywbtsjrjv/1",
    hflip=True,
    read=read,
    # Address, size and SHA-256 as TensorFlow Datasets publishes them.
    sources=(
        Source(
            "https://data.mendeley.com/public-files/datasets/tywbtsjrjv/files/d5652a28-c1d8-4b76-97f3-72fb80f94efc/file_downloaded",
            "Plant_leaf_diseases_dataset_without_augmentation.zip",
            sha256="ac3432453984d02a86197987e775a5429d0d59e7cc7c35bcf5a8f50349b90ff0",
            size=868032562,
        ),
    ),
    by_hand=(
        "Open https://data.mendeley.com/datasets/tywbtsjrjv/1 in a browser, download"
        " Plant_leaf_diseases_dataset_without_augmentation.zip, and pass it with --from."
    ),
    note=(
        "no official split: drawn by data.split_seed; several photos show one leaf, which is not recorded, so that"
        " photos of a leaf lie on both sides"
    ),
)
