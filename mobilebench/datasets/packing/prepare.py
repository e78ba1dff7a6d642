"""One call from a dataset's name to its packed arrays; calling it again does nothing."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections import Counter
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from mobilebench.config.data import DerivedData
from mobilebench.config.parsing import canonical
from mobilebench.datasets import derived, registry
from mobilebench.datasets.acquire import official_files as raw
from mobilebench.datasets.acquire.source_lock import digests_of, hold_to_lock
from mobilebench.datasets.packing.derive import derive
from mobilebench.datasets.packing.pack import Label, pack
from mobilebench.datasets.packing.packed import FORMAT, META, open_packed, read_meta
from mobilebench.datasets.spec import DataError, DatasetSpec, Reading, same_source
from mobilebench.datasets.splits import cut_val, manifest_digest
from mobilebench.system.cpu import cores
from mobilebench.system.disk import disk_errors
from mobilebench.system.extras import require
from mobilebench.system.files import write_text
from mobilebench.system.locks import LONG, locked

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from mobilebench.config.data import DataSource
    from mobilebench.config.recipe import DataPolicy
    from mobilebench.datasets.packing.packed import Meta, Packed
    from mobilebench.datasets.spec import Derivation


_log = logging.getLogger(__name__)


def prepare(
    dataset_id: str,
    *,
    policy: DataPolicy,
    raw_dir: Path,
    out_dir: Path,
    workers: int | None = None,
    own: Mapping[str, DataSource] | None = None,
    source: Path | None = None,
    incomplete_ok: bool = False,
    lock: Path | None = None,
) -> Path:
    """Return `out_dir/dataset_id`, the packed dataset, having fetched, unpacked and decoded what was missing.

    A dataset already packed under the same policy is left alone. Of a derived dataset the parent is prepared first, by
    the same arguments, and stays beside it, for the derived one has no pixels of its own. source: a local folder or
    archive to use instead of the internet. own: datasets of your own by id. incomplete_ok: accept other counts than the
    official ones (recorded as `official: false`). lock: the file that holds the official files' digests; a complete
    official set must be made from those (see `acquire.source_lock`). Killed at any point, it leaves no half-written
    dataset. Raises DataError, and NotInstalledError where the dataset needs a package that is not there.
    """
    spec = find(dataset_id, own or {})
    identity = packing_identity(spec, policy)
    final = out_dir / spec.id
    if spec.derived is not None:
        parent = prepare(
            spec.derived.parent.id, policy=policy, raw_dir=raw_dir, out_dir=out_dir, workers=workers, own=own,
            source=source, incomplete_ok=incomplete_ok, lock=lock,
        )  # fmt: skip
        with locked(out_dir / f".{spec.id}.lock", patience=LONG):
            _derive(spec, spec.derived, identity, open_packed(parent), final)
        return final
    with locked(out_dir / f".{spec.id}.lock", patience=LONG):
        if _current(final, spec, policy):
            meta = read_meta(final)
            if meta.official:
                _hold(lock, spec, meta.provenance.get("files", {}), out_dir)
            _log.info("%s is up to date", final)
        else:
            if spec.needs:
                require(spec.needs)
            reading = _read(spec, policy, place := _raw(spec, policy, raw_dir, source))
            official = _check_counts(spec, reading, place, incomplete_ok=incomplete_ok)
            files = {} if spec.generated else digests_of(place)
            if official:
                _check_split(spec, reading, policy)
                _hold(lock, spec, files, out_dir)
            described = _provenance(spec, source, files)
            label = Label(
                spec.id, spec.hflip, policy, identity, official, described, spec.megapixels, spec.target, spec.metric,
                spec.channels, spec.dtype, spec.reader, spec.rgb,
            )  # fmt: skip
            _log.info("packing %d images of %s, read from %s", len(reading.entries), spec.id, place)
            _publish(partial(pack, reading, label, workers=workers or cores()), final)
    return final


def _derive(spec: DatasetSpec, derivation: Derivation, identity: str, parent: Packed, final: Path) -> None:
    """Draw a derived dataset from its packed parent, where what is there was not drawn from just that."""
    if (final / META).exists():
        meta = read_meta(final)
        if meta.identity == identity and meta.parent is not None and meta.parent.digest == parent.meta.digest:
            open_packed(final)
            _log.info("%s is up to date", final)
            return
    _publish(partial(derive, spec.id, parent, derivation.settings, identity), final)
    _log.info("%s has %s", final, read_meta(final).provenance["drawn"])


def find(dataset_id: str, own: Mapping[str, DataSource]) -> DatasetSpec:
    """Return the spec of a built-in dataset, of one's own or of a derived one. Raises DataError with near matches."""
    entry = own.get(dataset_id)
    if entry is not None and dataset_id not in registry.DATASETS:
        if isinstance(entry, DerivedData):
            return derived.spec_of(dataset_id, entry, find(derived.parent_of(dataset_id, own) or "", own))
        from mobilebench.datasets import custom

        return custom.spec_of(dataset_id, entry)
    if entry is not None:
        raise DataError(f"data_sources names {dataset_id!r}, which is a built-in dataset: give yours another id.")
    if dataset_id in registry.DATASETS:
        return registry.DATASETS[dataset_id]
    raise registry.unknown(dataset_id, [*registry.DATASETS, *own])


def packing_identity(spec: DatasetSpec, policy: DataPolicy) -> str:
    """Return the hex name of what the packed files are made from, known before anything is fetched."""
    facts: dict[str, Any] = {
        "format": FORMAT,
        "id": spec.id,
        "version": spec.version,
        "hflip": spec.hflip,
        "policy": canonical(policy),
    }
    if spec.target != "single_label":  # what was packed before there was another stays as it is
        facts["target"] = spec.target
    if spec.metric:
        facts["metric"] = spec.metric
    if (spec.channels, spec.dtype) != (3, "uint8"):
        facts["pixels"] = [spec.channels, spec.dtype]
    if spec.derived is not None:
        facts["parent"] = packing_identity(spec.derived.parent, policy)
        facts["derived"] = canonical(spec.derived.settings)
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def is_of(meta: Meta, spec: DatasetSpec, policy: DataPolicy) -> bool:
    """Return whether a packed dataset was made by these settings; its images may have changed since, its metric too."""
    return meta.identity in {packing_identity(some, policy) for some in (spec, replace(spec, metric=meta.metric))}


def _current(folder: Path, spec: DatasetSpec, policy: DataPolicy) -> bool:
    """Return whether a packed folder is what would be packed now. Where only the metric differs, it is made so."""
    if not (folder / META).exists():
        return False
    meta = read_meta(folder)
    now = spec.fingerprint() if spec.fingerprint else ""
    if not is_of(meta, spec, policy) or not same_source(meta.provenance.get("fingerprint", ""), now):
        return False
    open_packed(folder)
    if meta.metric != spec.metric:  # a pixel changes as little as a label does, and the images may be elsewhere
        meta = replace(meta, metric=spec.metric, identity=packing_identity(spec, policy))
        write_text(folder / META, meta.to_json())
    return True


def _raw(spec: DatasetSpec, policy: DataPolicy, raw_dir: Path, source: Path | None) -> Path:
    if spec.generated:
        if source is not None:
            raise DataError(f"{spec.id} is generated or named in data_sources: it takes no --from.")
        return raw_dir
    if source is None:
        return raw.fetch(spec, raw_dir)
    return raw.local(spec, raw_dir, source, partial(_readable, spec, policy))


def _readable(spec: DatasetSpec, policy: DataPolicy, folder: Path) -> bool:
    try:
        spec.read(folder, policy)
    except DataError:
        return False
    return True


def _read(spec: DatasetSpec, policy: DataPolicy, raw: Path) -> Reading:
    reading = spec.read(raw, policy)
    try:
        return replace(reading, entries=cut_val(reading.entries, policy.val_fraction, policy.split_seed))
    except DataError as error:
        raise DataError(f"{spec.id}: no val part can be cut out of train (data.val_fraction): {error}") from error


def _check_counts(spec: DatasetSpec, reading: Reading, place: Path, *, incomplete_ok: bool) -> bool:
    """Return whether the reading is the complete official set. Raises DataError when it is not and must be."""
    found = Counter(entry.split for entry in reading.entries)
    if not found["train"] or not found["test"]:
        raise DataError(f"{spec.id}: {place} gives {dict(found)} images; a dataset needs train and test images.")
    if "val" not in spec.counts:
        found["train"] += found.pop("val", 0)
    if not spec.counts or spec.counts in (found, {"all": found.total()}):
        return bool(spec.counts)
    if incomplete_ok:
        return False
    raise DataError(
        f"{spec.id} is not complete: {place} holds {dict(sorted(found.items()))} images, the official set has"
        f" {dict(spec.counts)}. Remove that folder and fetch or unpack it again; to go on with what is there, pass"
        " --incomplete-ok."
    )


def _check_split(spec: DatasetSpec, reading: Reading, policy: DataPolicy) -> None:
    """Raise DataError when a drawn split is not the one that everybody else draws from this seed."""
    if not spec.split_digest or (policy.split_seed, policy.val_fraction) != (42, 0):
        return
    found = manifest_digest(reading.entries)
    if found != spec.split_digest:
        raise DataError(
            f"{spec.id}: the split drawn from seed 42 has digest {found[:12]}, expected {spec.split_digest[:12]}: this"
            " copy lists other images, or this scikit-learn draws otherwise than 1.9: results would not be comparable."
        )


def _hold(lock: Path | None, spec: DatasetSpec, files: Mapping[str, str], out_dir: Path) -> None:
    if lock is not None:
        with locked(out_dir / ".sources.lock", patience=LONG):  # other datasets' files may be added by other processes
            hold_to_lock(lock, spec, files)


def _provenance(spec: DatasetSpec, source: Path | None, files: Mapping[str, str]) -> dict[str, Any]:
    origin = "a local copy" if source else "generated" if spec.generated else "the official source"
    described = {key: getattr(spec, key) for key in ("title", "licence", "citation", "homepage")}
    return {
        **described,
        "raw": spec.raw_name,
        "from": origin,
        "fingerprint": spec.fingerprint() if spec.fingerprint else "",
        "files": dict(files),
    }


def _publish(write: Callable[[Path], object], final: Path) -> None:
    """Write into a folder beside the final place and rename; an older packed set stays whole until then."""
    new, old = final.with_name(f".{final.name}.partial"), final.with_name(f".{final.name}.old")
    for left_behind in (new, old):
        shutil.rmtree(left_behind, ignore_errors=True)
    with disk_errors(final):
        new.mkdir(parents=True)
        try:
            write(new)
            if final.exists():
                final.rename(old)
            new.rename(final)
        finally:
            for left_behind in (new, old):
                shutil.rmtree(left_behind, ignore_errors=True)
