"""What the commands that read results say of networks that nothing installed here offers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mobilebench.config.suite import Suite


def warn_of_unknown_networks(suite: Suite) -> None:
    """Print a line for each of the suite's networks that cannot be had here; its results are read all the same."""
    from mobilebench.cli.console import console
    from mobilebench.execution.suites import unknown_networks

    for advice in unknown_networks(suite).values():
        console.print(
            f"[yellow]{advice}. Until then its results are read and nothing of it is trained.[/yellow]", soft_wrap=True
        )
