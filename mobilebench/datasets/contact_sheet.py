"""A contact sheet: the worst pairs of an audit side by side, each with where it comes from and all its labels."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw

from mobilebench.datasets.audit import NO_CLASS
from mobilebench.datasets.packing.pictures import pictures
from mobilebench.datasets.spec import DataError
from mobilebench.system.files import write_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from mobilebench.datasets.audit import Pair
    from mobilebench.datasets.packing.packed import Packed

SIDE, GAP, LINE = 128, 8, 13
TEXT = 5 * LINE + 5  # what they are; of each where it is and its labels
WIDE = 46  # characters that a line has room for
COLUMNS, MOST = 4, 40


def worst(pairs: Sequence[Pair]) -> list[Pair]:
    """Return at most MOST pairs: label conflicts first, then leaks between splits, then the rest; exact before near."""
    return sorted(pairs, key=lambda pair: (not pair.conflict, not pair.leak, pair.bits))[:MOST]


def write_sheet(path: Path, pairs: Sequence[Pair], datasets: Mapping[str, Packed]) -> bool:
    """Write a PNG of the worst pairs and return True; without pairs remove an older one. Raises DataError."""
    shown = worst(pairs)
    try:
        if not shown:
            path.unlink(missing_ok=True)
            return False
        picture = io.BytesIO()
        _draw(shown, datasets).save(picture, "PNG")
        write_bytes(path, picture.getvalue())
    except OSError as error:
        raise DataError(f"{path} cannot be written ({error}).") from error
    return True


def _draw(pairs: Sequence[Pair], datasets: Mapping[str, Packed]) -> Image.Image:
    columns, rows = min(COLUMNS, len(pairs)), -(-len(pairs) // COLUMNS)
    width, height = 2 * SIDE + GAP, SIDE + TEXT
    sheet = Image.new("RGB", (columns * (width + GAP) + GAP, rows * (height + GAP) + GAP), "white")
    for number, pair in enumerate(pairs):
        row, column = divmod(number, COLUMNS)
        _tile(sheet, pair, datasets, (GAP + column * (width + GAP), GAP + row * (height + GAP)))
    return sheet


def _tile(sheet: Image.Image, pair: Pair, datasets: Mapping[str, Packed], place: tuple[int, int]) -> None:
    left, top = place
    sheet.paste(_picture(datasets[pair.dataset_a], pair.row_a), (left, top))
    sheet.paste(_picture(datasets[pair.dataset_b], pair.row_b), (left + SIDE, top))
    what = f"{pair.kind} {pair.bits} bits" if pair.kind == "near" else "exact"
    lines = (
        what + (", LABELS DIFFER" if pair.conflict else ""),
        f"{pair.dataset_a} {pair.split_a}: {pair.path_a[-24:]}",
        f"  {pair.label_a or NO_CLASS}",
        f"{pair.dataset_b} {pair.split_b}: {pair.path_b[-24:]}",
        f"  {pair.label_b or NO_CLASS}",
    )
    draw = ImageDraw.Draw(sheet)
    for i, line in enumerate(lines):
        fits = line if len(line) <= WIDE else f"{line[: WIDE - 3]}..."
        draw.text((left, top + SIDE + 2 + LINE * i), fits, fill="black")


def _picture(data: Packed, row: int) -> Image.Image:
    picture = Image.fromarray(pictures(data.images[row : row + 1], data.meta)[0])
    return picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
