"""`mobilebench clean`: remove what a project folder no longer needs."""

from __future__ import annotations

import click

from mobilebench.cli.json_answer import answer, json_option


@click.command()
@click.option("--dry-run", is_flag=True, help="List only; remove nothing.")
@click.option(
    "--superseded-weights", "weights", is_flag=True,
    help="Also the weights of superseded runs in a store of files here; their numbers and predictions stay.",
)  # fmt: skip
@json_option
def clean(*, dry_run: bool, weights: bool) -> None:
    """Remove journals of superseded cells, checkpoints of finished ones and fetched predictions.

    A finished result is never removed where it is the only copy: a journal stays until the tracking store has its run.
    Nothing of cells outside params.yaml is touched.
    """
    from mobilebench.analysis.leftovers import leftovers, remove
    from mobilebench.cli.console import console, plain_table
    from mobilebench.errors import UserError
    from mobilebench.execution.suites import open_suite
    from mobilebench.system.disk import shown_bytes
    from mobilebench.tracking import Tracker

    found = leftovers(open_suite(networks=False), Tracker(), weights=weights)
    table = plain_table("what", "where", "why")
    table.add_column("frees", justify="right", no_wrap=True)
    sizes = [item.bytes for item in found]  # now, before anything is removed
    rows: list[dict[str, object]] = [
        {"kind": item.kind, "path": item.path, "why": item.why, "bytes": size, "removed": False}
        for item, size in zip(found, sizes, strict=True)
    ]
    for item, row, size in zip(found, rows, sizes, strict=True):
        table.add_row(item.kind, str(item.path), item.why, shown_bytes(size))
        if not dry_run:
            try:
                remove(item)
                row["removed"] = True
            except UserError as error:
                console.print(f"[yellow]{item.path} stays[/yellow]: {error}", soft_wrap=True)
    freed = sum(size for size, row in zip(sizes, rows, strict=True) if dry_run or row["removed"])
    answer(leftovers=rows, bytes=freed)
    if not found:
        console.print("nothing to remove")
        return
    console.print(table)
    total = shown_bytes(freed)
    console.print(f"{total} would be freed; without --dry-run it is." if dry_run else f"{total} freed.")
    console.print("A file that the tracking store has under another name frees nothing: it is one file on the disk.")
