"""PNGs whose metadata are damaged: what makes the picture, without the rest."""

from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_NEEDED = b"tRNS"  # changes the picture, though a decoder may know nothing of it
_USEFUL = b"eXIf"  # says how it is turned


def without_metadata(path: Path) -> io.BytesIO | None:
    """Return a PNG without the chunks that the standard lets a decoder pass over; None for another file.

    Such a chunk says nothing about the pixels, so its damage is none of theirs. Whole EXIF is kept.
    """
    content = path.read_bytes()
    if not content.startswith(_SIGNATURE):
        return None
    kept, at = [_SIGNATURE], len(_SIGNATURE)
    while at + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, at)
        kind, end = content[at + 4 : at + 8], at + 12 + length
        whole = struct.pack(">I", zlib.crc32(content[at + 4 : end - 4])) == content[end - 4 : end]
        if kind[:1].isupper() or kind == _NEEDED or (kind == _USEFUL and whole):
            kept.append(content[at:end])
        at = end
    return io.BytesIO(b"".join(kept))
