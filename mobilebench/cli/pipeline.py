"""The command that the first stage of dvc.yaml runs."""

from __future__ import annotations

import click


@click.command()
def inputs() -> None:
    """Write results/inputs: what each stage of dvc.yaml depends on, as params.yaml and your own data say it now.

    A stage runs again when its file has changed: own images added or replaced, a setting of its cells, a network's
    code. Settings left out of params.yaml have their defaults there.
    """
    from mobilebench.cli.console import console
    from mobilebench.execution.stage_inputs import write_inputs
    from mobilebench.execution.suites import open_suite
    from mobilebench.system.layout import INPUTS

    written = write_inputs(open_suite(), INPUTS)
    console.print(f"{len(written)} files in {INPUTS} say what the stages depend on")
