"""A contact sheet of images with what a network says of each."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont

from mobilebench.analysis.answers import stored_picture
from mobilebench.errors import UserError
from mobilebench.system.files import write_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mobilebench.analysis.answers import Answer
    from mobilebench.execution.model_file import ModelFile

SIDE, GAP, LINE = 160, 12, 16  # pixels: of a picture, between two, of a line of text
NEXT = 2  # classes below the first that are named
COLUMNS, MOST = 5, 40
FORMATS = (".png", ".jpg", ".jpeg", ".webp")
_INK, _MUTED, _FIRST = "#1b1c21", "#5f6270", "#0072b2"


def write_sheets(place: Path, answers: Sequence[Answer], made: ModelFile) -> tuple[tuple[Path, ...], int]:
    """Draw images with their answers and return the files, and how many images had no room.

    place: an image file, which takes the first MOST, or a folder, which takes all, MOST a sheet (answers_1.png ...).
    Each image is shown as the network's data store it. Raises UserError for a file of another kind and one that cannot
    be written.
    """
    if place.suffix and not place.is_dir():
        if place.suffix.lower() not in FORMATS:
            raise UserError(f"--picture {place}: expected a folder, or a file that ends in {', '.join(FORMATS)}")
        return (_write(place, answers[:MOST], made),), max(0, len(answers) - MOST)
    sheets = [answers[first : first + MOST] for first in range(0, len(answers), MOST)]
    return tuple(_write(place / f"answers_{n}.png", sheet, made) for n, sheet in enumerate(sheets, 1)), 0


def _write(path: Path, answers: Sequence[Answer], made: ModelFile) -> Path:
    drawn = io.BytesIO()
    _sheet(answers, made).save(drawn, Image.registered_extensions()[path.suffix.lower()])
    try:
        return write_bytes(path, drawn.getvalue())
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error}); name another place after --picture") from error


def _sheet(answers: Sequence[Answer], made: ModelFile) -> Image.Image:
    columns, rows = min(COLUMNS, len(answers)), -(-len(answers) // COLUMNS)
    width, height = SIDE + GAP, SIDE + (2 + NEXT) * LINE + GAP
    sheet = Image.new("RGB", (columns * width + GAP, rows * height + GAP), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for number, answer in enumerate(answers):
        row, column = divmod(number, COLUMNS)
        left, top = GAP + column * width, GAP + row * height
        picture = _picture(answer, made)
        sheet.paste(picture, (left + (SIDE - picture.width) // 2, top + (SIDE - picture.height) // 2))
        for line, (words, colour) in enumerate(_lines(answer)):
            draw.text((left, top + SIDE + 2 + LINE * line), _fitting(words, draw, font), fill=colour, font=font)
    return sheet


def _picture(answer: Answer, made: ModelFile) -> Image.Image:
    image = Image.fromarray(stored_picture(answer.image, made))
    scale = SIDE / max(image.size)
    return image.resize((round(scale * image.width), round(scale * image.height)), Image.Resampling.BICUBIC)


def _lines(answer: Answer) -> list[tuple[str, str]]:
    """Return the file's name and its first classes, with their colours: what was said, and what was not."""
    classes = [
        (f"{name}  {probability:.2f}", _FIRST if name in answer.said else _MUTED)
        for name, probability in answer.classes[: 1 + NEXT]
    ]
    return [(answer.image.name, _INK), *classes]


def _fitting(words: str, draw: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """Return words that fit below a picture, with the middle left out where they are too long."""
    kept, fits = len(words), words
    while draw.textlength(fits, font) > SIDE and kept > 8:
        kept -= 1
        fits = f"{words[: kept - kept // 2]}...{words[len(words) - kept // 2 :]}"
    return fits
