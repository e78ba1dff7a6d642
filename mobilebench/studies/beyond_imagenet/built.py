"""What the networks of a measured grid are built of, without importing torch where that can be avoided.

Table 5 says it of the paper's networks, and errs for three of them; a measured accuracy belongs to the network that was
built. Of the packaged networks `built_elements.csv` holds what `elements.derived` sees, and a test holds the two
together. A network from outside (timm, an entry point) is built once, without memory for its weights where it allows
that, and what was seen is kept in the project folder until its package changes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobilebench import models
from mobilebench.models.fingerprint import code_digest
from mobilebench.studies.beyond_imagenet import published as reference
from mobilebench.system.files import read_csv, write_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    Flags = Mapping[str, Mapping[str, bool]]

KEPT = Path(".mobilebench/elements.json")


@dataclass(frozen=True)
class Elements:
    """Which elements the models of one grid have, and what a reader must know of it."""

    flags: Flags
    """{architectural element: {model: has it}}; a model that could not be built is left out."""
    notes: Mapping[str, tuple[str, ...]]
    """{element: sentences}, one for each model of which Table 5 prints something else than was built."""
    remarks: tuple[str, ...] = ()
    """Sentences on what is left out, and why."""


def built_elements(names: Iterable[str]) -> Elements:
    """Return what the networks of these names are built of; imports torch only for a network it has not seen.

    The three rows of Table 5 that say how a design was found are left out: no built network shows them.
    """
    packaged, flags = _packaged(), {element: dict[str, bool]() for element in _packaged()}
    left_out = []
    for name in names:
        try:
            seen = {element: row[name] for element, row in packaged.items()} if name in models.MODELS else _seen(name)
        except Exception as error:  # noqa: BLE001 - a network from outside may raise anything; it is named, and left out
            left_out.append(f"the elements of {name} are not known: {error}")
            continue
        for element, has in seen.items():
            flags[element][name] = has
    return Elements(flags, _differences(flags, counts="built"), tuple(left_out))


def printed_elements() -> Elements:
    """Return Table 5 as printed, with a note wherever the network of that name is built otherwise here."""
    return Elements(reference.elements(), _differences(_packaged(), counts="printed"))


def _differences(built: Flags, *, counts: str) -> dict[str, tuple[str, ...]]:
    words = {True: "has it", False: "does not"}
    return {
        element: tuple(
            f"Table 5 prints that {model} {words[printed[model]]}, the network built {words[has]}; the {counts} counts"
            for model, has in row.items()
            if model in printed and printed[model] != has
        )
        for element, row in built.items()
        if (printed := reference.elements().get(element)) is not None
    }


@cache
def _packaged() -> dict[str, dict[str, bool]]:
    """Return what was seen of the packaged networks, {element: {model: has it}}."""
    rows = read_csv(Path(__file__).parent / "built_elements.csv", ("element", *models.MODELS)).to_dict("records")
    return {str(row["element"]): {name: row[name] == "1" for name in models.MODELS} for row in rows}


def _seen(name: str) -> dict[str, bool]:
    """Return what a network from outside is built of, from the project folder where it was seen before."""
    kept = _kept()
    version = code_digest(name)
    if kept.get(name, {}).get("version") == version:
        return dict(kept[name]["elements"])
    from mobilebench.studies.beyond_imagenet.elements import derived_of

    found = derived_of(name)
    if KEPT.parent.is_dir():
        write_text(KEPT, json.dumps({**kept, name: {"version": version, "elements": found}}, indent=1))
    return found


def _kept() -> dict[str, dict[str, Any]]:
    try:
        found = json.loads(KEPT.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
