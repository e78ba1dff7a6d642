"""`mobilebench devices`: latency figures of phones and other devices."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mobilebench.cli import completion
from mobilebench.cli.json_answer import answer, json_option
from mobilebench.models.cost.device_file import UNITS
from mobilebench.models.cost.device_tools import TOOLS
from mobilebench.system.layout import DEVICE_RESULTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mobilebench.models.cost.device_file import ComputeUnit, DeviceRow
    from mobilebench.models.cost.device_tools import Measured, Tool

_INTO = click.option(
    "--into", type=click.Path(path_type=Path, dir_okay=False), default=DEVICE_RESULTS, show_default=True,
    help="File of device figures.",
)  # fmt: skip


@click.group()
def devices() -> None:
    """Read what phones and other devices measured."""


@devices.command("list")
@_INTO
@json_option
def list_(into: Path) -> None:
    """Check the file of device figures and print it."""
    from dataclasses import asdict

    from mobilebench.cli.console import console
    from mobilebench.models.cost.device_file import read_device_results

    rows = read_device_results(into)
    answer(devices=[asdict(row) for row in rows])
    console.print(_table(rows))


@devices.command("import")
@click.argument("output", type=click.Path(path_type=Path), metavar="OUTPUT")
@click.option("--tool", required=True, type=click.Choice(TOOLS), help="What printed it.")
@click.option("--device", required=True, help="What it was printed on, as 'Pixel 8'.")
@click.option("--model", required=True, shell_complete=completion.models, help="The model's name in the suite.")
@click.option("--resolution", required=True, help="Input size of the file in px: 224, or 448x672 (height x width).")
@click.option("--precision", required=True, help="Of the file: fp32, fp16, int8 ...")
@click.option("--batch", default=1, show_default=True, type=click.IntRange(1), help="Images in a call.")
@click.option("--threads", type=click.IntRange(1), help="CPU threads.  [default: what OUTPUT says]")
@click.option("--compute-unit", type=click.Choice(UNITS), help="What computed.  [default: what OUTPUT says, else cpu]")
@click.option(
    "--file", "measured_file", type=click.Path(path_type=Path),
    help="The file that ran (.tflite, .pte): its SHA-256 goes into the row.",
)  # fmt: skip
@click.option("--version", default="", help="Of the runtime.")
@click.option("--date", "day", help="Day of the measurement, YYYY-MM-DD.  [default: that of the file OUTPUT]")
@_INTO
@json_option
def import_(
    output: Path,
    tool: Tool,
    device: str,
    model: str,
    resolution: str,
    precision: str,
    batch: int,
    threads: int | None,
    compute_unit: ComputeUnit | None,
    measured_file: Path | None,
    version: str,
    day: str | None,
    into: Path,
) -> None:
    """Add a row to the file of device figures: what a benchmark tool printed on a device.

    OUTPUT is the whole output of one run, of one model, as a text file.
    """
    from dataclasses import asdict

    from mobilebench.cli.console import console
    from mobilebench.datasets.acquire.source_lock import sha256
    from mobilebench.models.cost.device_file import DeviceRow, add_device_rows
    from mobilebench.models.cost.device_tools import read_tool
    from mobilebench.system.files import read_text

    for named in (output, measured_file):
        if named is not None and not named.is_file():
            raise click.UsageError(f"there is no file {named}")
    found = read_tool(tool, read_text(output, f"what {tool}'s benchmark printed"))
    digest = sha256(measured_file) if measured_file else ""
    unit = compute_unit or found.compute_unit or "cpu"
    row = DeviceRow(
        device, unit, tool, version, precision, _threads(threads, found, unit), batch, model, resolution,
        found.median_ms, found.p90_ms, found.mean_ms, found.n, digest, day or _day_of(output),
    )  # fmt: skip
    replaced = add_device_rows(into, [row])
    answer(row=asdict(row), written=into)
    console.print(_table([row]))
    for remark in found.remarks:
        console.print(f"[yellow]note[/yellow] {remark}", soft_wrap=True)
    console.print(f"1 row written to {into}{', in place of an older one' if replaced else ''}.")


def _threads(given: int | None, found: Measured, unit: ComputeUnit) -> int | None:
    threads = given or found.threads
    if threads is None and unit == "cpu":
        raise click.UsageError("the output does not say how many threads ran; name them with --threads")
    return threads


def _day_of(output: Path) -> str:
    from datetime import datetime

    return datetime.fromtimestamp(output.stat().st_mtime).astimezone().date().isoformat()


def _table(rows: Sequence[DeviceRow]) -> object:
    from mobilebench.cli.console import plain_table

    table = plain_table("model", "measured on")
    for name in ("px", "median ms", "p90", "mean", "n"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("date", no_wrap=True)
    for row in rows:
        times = ("" if ms is None else f"{ms:.2f}" for ms in (row.median_ms, row.p90_ms, row.mean_ms))
        table.add_row(row.model, str(row.setting), row.resolution, *times, str(row.n), row.date)
    return table
