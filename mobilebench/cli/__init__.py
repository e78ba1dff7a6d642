"""The command line: click only. Each sub-command lives in its own module and is imported when it is called."""

from __future__ import annotations

import importlib
import io
import sys
from typing import NamedTuple

import click

from mobilebench.errors import UserError
from mobilebench.system.extras import not_installed


class _Entry(NamedTuple):
    """Where a sub-command lives (`module:attribute`) and its line in `--help`, so that help imports none of them.

    A hidden one works and is not listed: the earlier name of a command.
    """

    target: str
    help: str
    hidden: bool = False


COMMANDS = {
    "init": _Entry("mobilebench.cli.grid:init", "Write params.yaml from a packaged suite."),
    "status": _Entry("mobilebench.cli.status:status", "Print the grid with the state of every cell."),
    "train": _Entry("mobilebench.cli.grid:train", "Train all cells of the suite on one dataset."),
    "run": _Entry("mobilebench.cli.run:run", "Train all cells that are left, of all datasets."),
    "sync": _Entry("mobilebench.cli.grid:sync", "Deliver what waits for the tracking server."),
    "score": _Entry("mobilebench.cli.score:score", "Build the accuracy matrix from MLflow and compute xScore."),
    "leaderboard": _Entry("mobilebench.cli.score:leaderboard", "Print the leaderboard of the last score again."),
    "report": _Entry("mobilebench.cli.score:report", "Write the report from the score's results."),
    "site": _Entry("mobilebench.cli.site:site", "Write a static site of leaderboards."),
    "publish": _Entry("mobilebench.cli.publish:publish", "Write a score as data that others can check."),
    "sensitivity": _Entry("mobilebench.cli.sensitivity:sensitivity", "Probe how much the protocol decides."),
    "inspect": _Entry("mobilebench.cli.inspect:inspect", "Show what one cell got right and wrong."),
    "trials": _Entry("mobilebench.cli.tuned:trials", "Show what a tuned cell tried."),
    "compare": _Entry("mobilebench.cli.runs:compare", "Compare models, experiments, runs or git revisions."),
    "reproduce": _Entry("mobilebench.cli.runs:reproduce", "Print how to make a run's number again."),
    "register": _Entry("mobilebench.cli.runs:register", "Make finished cells versions of registered models."),
    "export": _Entry("mobilebench.cli.export:export", "Write a run's network as ONNX or safetensors."),
    "clean": _Entry("mobilebench.cli.clean:clean", "Remove what this folder no longer needs."),
    "inputs": _Entry("mobilebench.cli.pipeline:inputs", "Write what the stages of dvc.yaml depend on."),
    "server": _Entry("mobilebench.cli.runs:server", "Run a tracking server for many workers."),
    "ui": _Entry("mobilebench.cli.grid:ui", "Open MLflow's UI on the right store."),
    "study": _Entry("mobilebench.cli.study:study", "Check a published study's claims, or audit its tables."),
    "subsets": _Entry(
        "mobilebench.cli.subsets:subsets", "Rank all subsets of the datasets as a proxy of the full score."
    ),
    "place": _Entry("mobilebench.cli.place:place", "Say where a new model stands among the published ones."),
    "models": _Entry("mobilebench.cli.models:models", "List and profile the networks."),
    "data": _Entry("mobilebench.cli.data:data", "List, fetch, prepare and audit datasets."),
    "prepare": _Entry("mobilebench.cli.data:prepare", "Now `data prepare`.", hidden=True),
    "predict": _Entry("mobilebench.cli.place:place", "Now `place`.", hidden=True),
    "claims": _Entry("mobilebench.cli.study:claims_alias", "Now `study claims`.", hidden=True),
    "audit-paper": _Entry("mobilebench.cli.study:audit_alias", "Now `study audit`.", hidden=True),
}


class _LazyGroup(click.Group):
    """A group that knows its sub-commands' names and imports one only when it runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return [name for name, entry in COMMANDS.items() if not entry.hidden]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module, _, attribute = entry.target.partition(":")
        command = getattr(importlib.import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{entry.target} is not a click command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in COMMANDS.items() if not entry.hidden])

    def invoke(self, ctx: click.Context) -> object:
        # A terminal of another encoding, or a file name that is no text, must not end a command half-way.
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        try:
            return super().invoke(ctx)
        except ModuleNotFoundError as error:
            absent = not_installed(error)
            if absent is None:
                raise
            click.secho(f"error: {absent}", fg="red", err=True)
            ctx.exit(2)
        except UserError as error:
            click.secho(f"error: {error}", fg="red", err=True)
            ctx.exit(2)


@click.command(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mobilebench", prog_name="mobilebench")
def main() -> None:
    """Does a lightweight vision model that is good on one dataset stay good on others?"""
