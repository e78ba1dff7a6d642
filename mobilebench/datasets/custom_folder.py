"""A folder of your own images: FOLDER/<class>/<image>, or FOLDER/<split>/<class>/<image>. Other layouts are refused."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mobilebench.datasets.acquire.listing import children, files_below, files_in, is_there, shown
from mobilebench.datasets.class_names import check_distinct, check_known, tidy
from mobilebench.datasets.custom_image import OwnImage, role
from mobilebench.datasets.spec import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from mobilebench.config.data import OwnData

IMAGE_SUFFIX = re.compile(
    r"\.(jpe?g?|jfif|png|gif|bmp|tiff?|webp|p[gbpn]m|jp2|avif|hei[cf]|tga|ico|dcm|dicom)", re.IGNORECASE
)
# Parts that such layouts have beside train and test, and that are no class.
_NO_CLASS = re.compile(
    r"(un)?label(l)?ed|extra|dev(el)?|eval(uation)?|hold[\W_]*out|train[\W_]*val|predict(ion)?|infer"
)
_EXPECTED = "expected FOLDER/<class>/<image>, or FOLDER/train/<class>/<image> and FOLDER/test/<class>/<image>"


def list_folder(folder: Path, own: OwnData) -> list[OwnImage]:
    """Return the images of a folder, splits "" where it has none, sorted by split and path.

    own.test: name of the part that is the test part; None for the one called so. Raises DataError for what is no image
    of a class, for parts that cannot be told from classes, for class names alike and for those not in own.classes.
    """
    if not is_there(folder) or not folder.is_dir():
        raise DataError(f"data_sources: {shown(folder)} is not a folder; {_EXPECTED}.")
    _check_no_loose_images(folder)
    parts = _parts(folder, own.test)
    found: list[OwnImage] = []
    classes: set[str] = set()
    for split, part in parts.items() if parts else [("", folder)]:
        for kind in children(part):
            classes.add(kind.name)
            label = tidy(shown(kind.name))
            found += [
                OwnImage(path, shown(path.relative_to(folder).as_posix()), (label,), split)
                for path in files_below(kind)
            ]
    if not found:
        raise DataError(f"{shown(folder)} holds no images; {_EXPECTED}.")
    check_distinct(shown(folder), map(shown, classes))
    check_known(own, ((shown(folder), tidy(shown(name))) for name in sorted(classes)))
    empty = sorted({tidy(shown(name)) for name in classes} - {name for image in found for name in image.labels})
    if empty:
        raise DataError(f"{shown(folder)} has class folders without an image: {', '.join(empty[:5])}; remove them.")
    return found


def _parts(folder: Path, test: str | None) -> Mapping[str, Path]:
    """Return the folders of the splits; none where the folders are classes."""
    top = children(folder)
    roles = {part: "test" if part.name == test else role(part.name) for part in top}
    named = [part for part in top if roles[part]]
    if not _is_split(named, roles, top, test):
        _check_no_splits_within(top)
        return {}
    _check_parts(folder, named, roles, top, test)
    parts = {roles[part]: part for part in named}
    return {split: parts[split] for split in ("train", "val", "test") if split in parts}


def _is_split(named: Sequence[Path], roles: Mapping[Path, str], top: Sequence[Path], test: str | None) -> bool:
    """Return whether the folders named like splits are splits: a class may be called train (of the railways)."""
    several = len({roles[part] for part in named}) > 1
    beside = any(_NO_CLASS.fullmatch(part.name.strip().casefold()) for part in top)
    of_classes = any(children(part) and not _images_in(part) for part in named)
    return test is not None or (bool(named) and (several or beside or of_classes))


def _check_parts(
    folder: Path, named: Sequence[Path], roles: Mapping[Path, str], top: Sequence[Path], test: str | None
) -> None:
    place, names = shown(folder), ", ".join(shown(part.name) for part in named) or "no part"
    if test is not None and not any(part.name == test for part in top):
        raise DataError(f"data_sources: test is {test!r}, but {place} has no folder of that name.")
    others = [shown(part.name) for part in top if part not in named]
    if others:
        raise DataError(
            f"{place} holds {names}, which are splits, beside {', '.join(others[:5])}. Only train, val and test are"
            " read: move the others out of it. If all of them are classes, list the images in a CSV."
        )
    for part in named:
        same = [shown(other.name) for other in named if roles[other] == roles[part]]
        if len(same) > 1:
            raise DataError(f"{place} holds {' and '.join(same)}, which are both {roles[part]}; keep one of them.")
        _check_no_loose_images(part)
    have = set(roles.values())
    if "train" not in have:
        raise DataError(f"{place} holds {names} and no train folder; {_EXPECTED}.")
    if "test" not in have:
        val = next((part.name for part in named if roles[part] == "val"), None)
        advice = (
            f"to be tested on {shown(val)}, as is done with ImageNet, write `test: {shown(val)}` beside `folder`"
            if val
            else "to hold out a fifth of the images, name the folder of the classes itself"
        )
        raise DataError(f"{place} holds {names} and no test folder: {advice}.")


def _check_no_loose_images(part: Path) -> None:
    loose = _images_in(part)
    if loose:
        raise DataError(
            f"{shown(part)} holds {len(loose)} images of no class, {shown(loose[0].name)} for example; {_EXPECTED}."
        )


def _check_no_splits_within(classes: Sequence[Path]) -> None:
    for kind in classes:
        inner = {role(child.name): child.name for child in children(kind)}
        inner.pop("", None)
        if len(inner) > 1:
            raise DataError(
                f"{shown(kind)} holds {' and '.join(sorted(map(shown, inner.values())))}: splits within a class are not"
                f" read; {_EXPECTED}, or a CSV with a split column."
            )


def _images_in(part: Path) -> list[Path]:
    return [path for path in files_in(part) if IMAGE_SUFFIX.fullmatch(path.suffix)]
