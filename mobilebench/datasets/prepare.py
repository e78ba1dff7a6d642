"""One call from a dataset's name to its packed arrays; calling it again does nothing."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING

from filelock import FileLock

from mobilebench.datasets import registry
from mobilebench.datasets.pack import Label, pack
from mobilebench.datasets.packed import FORMAT, META, open_packed, read_meta
from mobilebench.datasets.pool import cores
from mobilebench.datasets.spec import DataError, DatasetSpec, Reading
from mobilebench.datasets.splits import cut_val

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from mobilebench.datasets.own import OwnData
    from mobilebench.training.recipe import DataPolicy


def prepare(
    dataset_id: str,
    *,
    policy: DataPolicy,
    raw_dir: Path,
    out_dir: Path,
    workers: int | None = None,
    own: Mapping[str, OwnData] | None = None,
    source: Path | None = None,
    partial: bool = False,
) -> Path:
    """Return `out_dir/dataset_id`, the packed dataset, having fetched, unpacked and decoded what was missing.

    A dataset already packed from the same source under the same policy is left alone. source: a local folder or archive
    to use instead of the internet. own: datasets of your own by id. partial: accept fewer images than the official
    distribution has (recorded as `official: false`). Killed at any point, it leaves no half-written dataset.
    Raises DataError.
    """
    spec = find(dataset_id, own or {})
    identity = _identity(spec, policy)
    final = out_dir / spec.id
    out_dir.mkdir(parents=True, exist_ok=True)
    with FileLock(out_dir / f".{spec.id}.lock"):
        if not _current(final, spec, identity):
            reading = _read(spec, policy, _raw(spec, raw_dir, source))
            official = _check_counts(spec, reading, partial=partial)
            label = Label(spec.id, spec.hflip, policy, identity, official, _provenance(spec, source))
            _publish(reading, label, final, workers or cores())
    return final


def find(dataset_id: str, own: Mapping[str, OwnData]) -> DatasetSpec:
    """Return the spec of a built-in dataset or of one's own. Raises DataError with near matches."""
    if dataset_id in own:
        from mobilebench.datasets.own import spec_of

        return spec_of(dataset_id, own[dataset_id])
    if dataset_id in registry.DATASETS:
        return registry.DATASETS[dataset_id]
    raise registry.unknown(dataset_id, [*registry.DATASETS, *own])


def _identity(spec: DatasetSpec, policy: DataPolicy) -> str:
    """Return the hex name of what the packed files are made from, known before anything is fetched."""
    facts = {"format": FORMAT, "id": spec.id, "version": spec.version, "hflip": spec.hflip, "policy": asdict(policy)}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _current(folder: Path, spec: DatasetSpec, identity: str) -> bool:
    if not (folder / META).exists():
        return False
    meta = read_meta(folder)
    now = spec.fingerprint() if spec.fingerprint else ""
    if meta.identity != identity or (now and now != meta.provenance.get("fingerprint")):
        return False
    open_packed(folder)
    return True


def _raw(spec: DatasetSpec, raw_dir: Path, source: Path | None) -> Path:
    if spec.generated:
        return raw_dir
    raise DataError(f"{spec.id} cannot be fetched yet (from {source or spec.homepage}).")


def _read(spec: DatasetSpec, policy: DataPolicy, raw: Path) -> Reading:
    reading = spec.read(raw, policy)
    entries = cut_val(reading.entries, policy.val_fraction, policy.split_seed)
    return Reading(reading.classes, entries, reading.root, reading.pixels)


def _check_counts(spec: DatasetSpec, reading: Reading, *, partial: bool) -> bool:
    """Return whether the reading is the complete official set. Raises DataError when it is not and must be."""
    found = Counter(entry.split for entry in reading.entries)
    if "val" not in spec.counts:
        found["train"] += found.pop("val", 0)
    if found == spec.counts or not spec.counts:
        return bool(spec.counts)
    if partial:
        return False
    raise DataError(
        f"{spec.id} is not complete: found {dict(sorted(found.items()))} images, the official set has"
        f" {dict(spec.counts)}. Fetch or unpack it again; to go on with what is there, pass --partial."
    )


def _provenance(spec: DatasetSpec, source: Path | None) -> dict[str, str]:
    origin = "a local copy" if source else "generated" if spec.generated else "the official source"
    said = {key: getattr(spec, key) for key in ("title", "licence", "citation", "homepage")}
    return {**said, "from": origin, "fingerprint": spec.fingerprint() if spec.fingerprint else ""}


def _publish(reading: Reading, label: Label, final: Path, workers: int) -> None:
    """Pack beside the final place and rename; an older packed set stays whole until then."""
    new, old = final.with_name(f".{final.name}.partial"), final.with_name(f".{final.name}.old")
    for left_behind in (new, old):
        shutil.rmtree(left_behind, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        pack(reading, label, new, workers=workers)
        if final.exists():
            final.rename(old)
        new.rename(final)
    finally:
        for left_behind in (new, old):
            shutil.rmtree(left_behind, ignore_errors=True)
