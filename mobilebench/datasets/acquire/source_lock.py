"""Which bytes a dataset was made from: the SHA-256 of its official files, in a lock file that git tracks.

Several official distributions have no published checksum, and some come over plain HTTP. The first copy is then trusted
and its digests are written down; another machine of the project, or a later download, that gets other bytes is refused.
The files are held to it, not the packed pixels: those depend on `data` in the protocol, and may on the JPEG decoder.
"""

from __future__ import annotations

import hashlib
import json
import logging
from typing import TYPE_CHECKING, Any

from mobilebench.datasets.spec import DataError, DatasetSpec
from mobilebench.system.files import write_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_log = logging.getLogger(__name__)
Digests = dict[str, str]  # sha256 (hex) by file name
_NOTE = ".sha256.json"  # hidden: no image of the dataset


def note_digests(parts: Sequence[Path], unpacked: Path) -> None:
    """Write the SHA-256 of downloaded or given files into the folder that they are unpacked to."""
    found = {part.name: sha256(part) for part in parts}
    write_text(unpacked / _NOTE, json.dumps(found, indent=1, sort_keys=True) + "\n")


def digests_of(unpacked: Path) -> Digests:
    """Return what `note_digests` wrote into a folder; nothing for one that it was not called for."""
    return _read(unpacked / _NOTE)


def read_lock(lock: Path) -> dict[str, Digests]:
    """Return what the lock file says: digests by raw name of a dataset. Empty where it is absent.

    Raises DataError when it is damaged.
    """
    content: dict[str, Digests] = _read(lock)
    odd = [name for name, files in content.items() if not isinstance(files, dict)]
    if odd:
        raise DataError(f"{lock} holds {content[odd[0]]!r} for {odd[0]}; expected an object of digests by file name.")
    return content


def hold_to_lock(lock: Path, spec: DatasetSpec, found: Mapping[str, str]) -> None:
    """Compare the official files' digests with published ones and with the lock, and add to it those it lacks.

    Raises DataError naming the files that are others.
    """
    official = {source.name: found[source.name] for source in spec.sources if source.name in found}
    published = {source.name: source.sha256 for source in spec.sources if source.sha256}
    content = read_lock(lock)
    known = content.get(spec.raw_name, {})
    for where, expected in (("its publisher", published), (str(lock), known)):
        other = [name for name, digest in official.items() if expected.get(name, digest) != digest]
        if other:
            name = other[0]
            raise DataError(
                f"{spec.id} was made from other files than {where} says: {', '.join(other)}, for example {name} with"
                f" sha256 {official[name]}, expected {expected[name]}. Results would not be comparable. Remove"
                f" data/raw/{spec.raw_name} and data/packed/{spec.id} and prepare it again; where the new file is the"
                f" right one, take the old line out of {lock} and train again what was trained on it."
            )
    added = sorted(official.keys() - known.keys())
    if added:
        content[spec.raw_name] = known | official
        write_text(lock, json.dumps(content, indent=1, sort_keys=True) + "\n")
        _log.info("%s: sha256 of %s written to %s", spec.id, ", ".join(added), lock)


def sha256(path: Path) -> str:
    """Return the SHA-256 (hex) of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}); expected JSON. `git checkout {path}` or mend it.") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} holds {type(content).__name__}; expected an object of digests.")
    return content
