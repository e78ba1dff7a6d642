"""Commands about datasets: list, fetch, prepare, audit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mobilebench.cli import completion
from mobilebench.cli.json_answer import answer, json_option

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.table import Table

    from mobilebench.config.data import DataSource
    from mobilebench.datasets.audit import DatasetFinding
    from mobilebench.datasets.spec import DatasetSpec, Source
    from mobilebench.datasets.status import DatasetState

_RAW = click.option("--raw", type=click.Path(path_type=Path), help="Folder of official files [data/raw].")
_PACKED = click.option("--packed", type=click.Path(path_type=Path), help="Folder of packed datasets [data/packed].")


def _own() -> dict[str, DataSource]:
    """Return the data_sources of params.yaml; none without one, for these commands work in any folder."""
    from mobilebench.config.suite import PARAMS
    from mobilebench.execution.suites import open_suite

    return dict(open_suite(networks=False).data_sources) if PARAMS.exists() else {}


@click.group()
def data() -> None:
    """List, fetch, prepare and audit datasets."""


@data.command("list")
@click.argument("dataset", required=False, shell_complete=completion.every_dataset)
@_RAW
@_PACKED
@json_option
def list_(dataset: str | None, raw: Path | None, packed: Path | None) -> None:
    """Show every dataset: sizes, licence, and what is on this machine; or all there is to know about DATASET."""
    from rich.markup import escape

    from mobilebench.cli.console import console, plain_table
    from mobilebench.datasets import DATASETS
    from mobilebench.datasets.acquire.source_lock import read_lock
    from mobilebench.datasets.packing.prepare import find
    from mobilebench.datasets.status import download_bytes, state_of
    from mobilebench.system.disk import shown_bytes
    from mobilebench.system.layout import PACKED, RAW, SOURCES_LOCK

    own = _own()
    specs = [find(dataset, own)] if dataset is not None else [*DATASETS.values(), *(find(name, own) for name in own)]
    states = [state_of(spec, raw or RAW, packed or PACKED) for spec in specs]
    answered = answer(datasets=[_plain(spec, state) for spec, state in zip(specs, states, strict=True)])
    if answered and dataset is not None:
        return
    if dataset is not None:
        spec, state = specs[0], states[0]
        known = read_lock(SOURCES_LOCK).get(spec.raw_name, {})
        console.print(_details(spec, state, known), soft_wrap=True, markup=False)
        return
    table = plain_table()
    for name in ("dataset", "classes", _aligned("train", "val", "test"), "state", "licence"):
        table.add_column(name, justify="right" if name == "classes" else "left", no_wrap=name != "licence")
    targets: dict[str, list[str]] = {}
    for spec, state in zip(specs, states, strict=True):
        images = _aligned(*state.sizes)
        table.add_row(spec.id, str(state.classes or "?"), images, state.name, escape(spec.licence))
        targets.setdefault(state.target, []).append(spec.id)
    console.print(table)
    others = [f"{target}: {', '.join(names)}" for target, names in targets.items() if target != "single_label"]
    if others:  # no column of the table: at 80 characters there is no room for one
        console.print(f"target {'; '.join(others)}; single_label: all others", soft_wrap=True)
    if taken := sum(state.packed_bytes for state in states):
        console.print(f"The packed datasets take {shown_bytes(taken)} here.")
    if sizes := {spec.id: size for spec in specs if spec.derived is None and (size := download_bytes(spec))}:
        published = ", ".join(f"{name} {shown_bytes(size)}" for name, size in sizes.items())
        console.print(f"Downloads whose size is published: {published}.", soft_wrap=True)
    if unverified := [spec.id for spec in specs if any(source.unverified for source in spec.sources)]:
        doubted = ", ".join(unverified)
        console.print(f"Downloads whose address or checksum is unverified: {doubted}.", soft_wrap=True)
    console.print("mobilebench data list DATASET shows more; mobilebench data fetch DATASET downloads it.")


def _aligned(train: str, val: str, test: str) -> str:
    """Return the images of the three splits in one column, which takes less room than three have between them."""
    return f"{train:>7} {val:>5} {test:>7}" if train else f"{test:>21}"


def _plain(spec: DatasetSpec, state: DatasetState) -> dict[str, object]:
    """Return what the list says of a dataset, for a program."""
    from mobilebench.datasets.status import download_bytes
    from mobilebench.evaluation.metrics import metric_of

    return {
        "dataset": spec.id,
        "title": spec.title,
        "domain": spec.domain or None,
        "state": state.name,
        "parent": spec.derived.parent.id if spec.derived else None,
        "classes": state.classes or None,
        "target": state.target,
        "metric": metric_of(spec.metric, state.target).id,
        **{split: state.images.get(split) for split in ("train", "val", "test", "all")},
        "licence": spec.licence,
        "homepage": spec.homepage,
        "files": [
            {"url": source.url, "name": source.name, "bytes": source.size, "unverified": source.unverified}
            for source in spec.sources
        ],
        "download_bytes": download_bytes(spec),
        "packed_bytes": state.packed_bytes or None,
    }


def _details(spec: DatasetSpec, state: DatasetState, known: Mapping[str, str]) -> str:
    from mobilebench.system.disk import shown_bytes

    lines = {
        "what": spec.title,
        "state": state.name,
        "classes": str(state.classes or "?"),
        "target": "" if state.target == "single_label" else state.target,
        "read by": spec.metric,
        "images": _images(*state.sizes),
        "drawn": state.drawn,
        "stored as": state.stored,
        "packed size": shown_bytes(state.packed_bytes) if state.packed_bytes else "",
        "download": _download(spec),
        "domain": spec.domain,
        "homepage": spec.homepage,
        "licence": spec.licence,
        "cite": spec.citation,
        "mirroring keeps the class": "yes" if spec.hflip else "no",
        "note": spec.note,
        "by hand": spec.by_hand,
    }
    files = [f"  {s.url} -> {s.name} ({_checksum(s, known.get(s.name, ''))})" for s in spec.sources]
    said = [f"{name}: {text}" for name, text in lines.items() if text]
    return "\n".join([spec.id, *said, *(["files:", *files] if files else [])])


def _download(spec: DatasetSpec) -> str:
    from mobilebench.datasets.status import download_bytes
    from mobilebench.system.disk import shown_bytes

    size = download_bytes(spec)
    if size is None:
        return "none, see by hand" if spec.by_hand_only else "its size is not published"
    return shown_bytes(size) if size else ""


def _checksum(source: Source, known: str) -> str:
    """Return in words what a download is compared with."""
    if source.md5 or source.sha256:
        digest = f"md5 {source.md5}" if source.md5 else f"sha256 {source.sha256}"
        return f"{digest}, unverified" if source.unverified else digest
    if source.unverified and not known:
        return "unverified address, no published checksum: the first download is trusted"
    return f"sha256 {known} in sources.lock" if known else "no published checksum: the first download is trusted"


def _images(train: str, val: str, test: str) -> str:
    return f"{train} train, {val} val, {test} test" if train else f"{test.removeprefix('of ')} in all, split by seed"


@data.command()
@click.argument("dataset", shell_complete=completion.every_dataset)
@_RAW
def fetch(dataset: str, raw: Path | None) -> None:
    """Download and unpack DATASET's official files; an interrupted download is taken up again."""
    from mobilebench.cli.console import console
    from mobilebench.datasets.acquire.official_files import fetch as fetch_raw
    from mobilebench.datasets.packing.prepare import find
    from mobilebench.system.layout import RAW

    spec = find(dataset, _own())
    if spec.generated:
        console.print(f"{spec.id} needs no download: {spec.licence}")
        return
    console.print(f"{spec.title}. Licence: {spec.licence}. Please cite: {spec.citation}", soft_wrap=True)
    console.print(f"{fetch_raw(spec, raw or RAW)} is ready")


@data.command()
@click.argument("dataset", shell_complete=completion.every_dataset)
@click.option("--from", "source", type=click.Path(path_type=Path), help="A folder or archive you already have.")
@click.option("--incomplete-ok", is_flag=True, help="Accept fewer images than the official set has; recorded as such.")
@click.option("--workers", type=click.IntRange(min=1), help="Decoding processes [one per core].")
@_RAW
@_PACKED
def prepare(
    dataset: str,
    source: Path | None,
    raw: Path | None,
    packed: Path | None,
    workers: int | None,
    *,
    incomplete_ok: bool,
) -> None:
    """Fetch DATASET if needed and pack it, under the protocol of params.yaml, or the default one without it."""
    from mobilebench.cli.console import console
    from mobilebench.config.recipe import DataPolicy
    from mobilebench.config.suite import PARAMS
    from mobilebench.datasets.acquire.source_lock import read_lock
    from mobilebench.datasets.packing.packed import read_meta
    from mobilebench.datasets.packing.prepare import prepare as pack
    from mobilebench.execution.suites import open_suite
    from mobilebench.system.layout import PACKED, RAW, SOURCES_LOCK

    suite = open_suite(networks=False) if PARAMS.exists() else None
    before = read_lock(SOURCES_LOCK)
    folder = pack(
        dataset,
        policy=suite.protocol.recipe_for("", dataset).data if suite else DataPolicy(),
        raw_dir=raw or RAW,
        out_dir=packed or PACKED,
        workers=workers or (suite.runtime.prepare_workers if suite else None),
        own=suite.data_sources if suite else {},
        source=source,
        incomplete_ok=incomplete_ok,
        lock=SOURCES_LOCK,
    )
    console.print(f"{folder} is ready")
    if drawn := read_meta(folder).provenance.get("drawn"):
        console.print(f"It has {drawn}", soft_wrap=True, markup=False)
    if read_lock(SOURCES_LOCK) != before:
        console.print(f"{SOURCES_LOCK} now holds the sha256 of its files: commit it")


@data.command()
@click.argument("datasets", nargs=-1, shell_complete=completion.every_dataset)
@click.option("--out", type=click.Path(path_type=Path), help="Folder for audit.csv and its companions [results].")
@_PACKED
@json_option
def audit(datasets: tuple[str, ...], out: Path | None, packed: Path | None) -> None:
    """Look for duplicates, leaks between splits, label conflicts and imbalance in packed DATASETS (default: all)."""
    from mobilebench.cli.console import console
    from mobilebench.datasets.audit import DatasetFinding, Pair, write_csv
    from mobilebench.datasets.audit import audit as run_audit
    from mobilebench.datasets.contact_sheet import write_sheet
    from mobilebench.datasets.packing.packed import META, open_packed
    from mobilebench.datasets.packing.prepare import find
    from mobilebench.system.layout import PACKED, RESULTS

    folder, results = packed or PACKED, out or RESULTS
    names = datasets or tuple(sorted(path.parent.name for path in folder.glob(f"[!.]*/{META}")))
    for name in names:
        if not (folder / name).exists():
            find(name, _own())  # raises for an unknown name, with those that look like it
    opened = {name: open_packed(folder / name) for name in dict.fromkeys(names)}
    found = run_audit(list(opened.values()))
    answer(findings=found.findings, pairs=found.pairs)
    write_csv(results / "audit.csv", DatasetFinding, found.findings)
    write_csv(results / "audit_pairs.csv", Pair, found.pairs)
    console.print(_table(found.findings))
    console.print(f"{results / 'audit.csv'}, {results / 'audit_pairs.csv'} ({len(found.pairs)} pairs) written")
    if write_sheet(results / "audit.png", found.pairs, opened):
        console.print(f"{results / 'audit.png'} shows the worst pairs")


def _table(findings: tuple[DatasetFinding, ...]) -> Table:
    from rich.table import Table

    nonzero = [line for line in findings if line.value]
    table = Table(caption=f"{len(findings) - len(nonzero)} more checks found nothing", caption_justify="left")
    for name in ("dataset", "check", "where", "found", "of", "share"):
        table.add_column(name, overflow="fold")
    for line in nonzero:
        share = f"{line.value / line.of:.2%}" if line.of else ""
        table.add_row(line.dataset, line.check, line.where, f"{line.value:g}", str(line.of), share)
    return table
