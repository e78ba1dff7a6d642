"""`mobilebench models`: list, check and profile the networks, fetch their pretrained weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mobilebench.cli import completion
from mobilebench.cli.asked_models import asked_models, asked_resolution, asked_subjects, built_network
from mobilebench.cli.json_answer import answer, json_option
from mobilebench.cli.latency import measure_latencies
from mobilebench.cli.number_lists import Counts
from mobilebench.config.pixels import input_size, shown, sides

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from mobilebench.config.pixels import Resolution
    from mobilebench.export.device_latency import Runtime
    from mobilebench.models.model_table import Line
    from mobilebench.models.profile import ProfileRow
    from mobilebench.models.weights.files import WeightsFile

CLASSES = click.option("--classes", default=10, show_default=True, type=click.IntRange(1), help="Number of classes.")


class _Pixels(click.ParamType["Resolution"]):
    """An input size: 224, or height x width as 448x672."""

    name = "pixels"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Resolution:
        """Return the size. Fails for another text, and below 8 pixels."""
        if isinstance(value, int | tuple):
            return value
        numbers = str(value).split("x")
        if len(numbers) > 2 or not all(number.isdecimal() and int(number) >= 8 for number in numbers):
            self.fail(f"{value} is no size; expected pixels, 8 or more, as 224 or (height x width) 448x672", param, ctx)
        return int(numbers[0]) if len(numbers) == 1 else (int(numbers[0]), int(numbers[1]))


RESOLUTION = click.option(
    "--resolution", type=_Pixels(), help="Input size in px, or HEIGHTxWIDTH.  [default: that of params.yaml, else 224]"
)


@click.group()
def models() -> None:
    """List, check and profile the networks, fetch pretrained weights."""


@models.command("list")
@CLASSES
@RESOLUTION
@click.option("--markdown", is_flag=True, help="Print the table of docs/models.md instead: 10 classes, 224 px.")
@json_option
def list_(classes: int, resolution: Resolution | None, *, markdown: bool) -> None:
    """Print every model with its parameters, its MACs and what it is."""
    from mobilebench.cli import docs_table
    from mobilebench.cli.console import console
    from mobilebench.models import MODELS
    from mobilebench.models import model_table as table
    from mobilebench.models.external import entry_points
    from mobilebench.studies.beyond_imagenet.published import printed_costs

    if markdown and answer():
        raise click.UsageError("--markdown and --json exclude each other")
    if markdown:
        click.echo(docs_table.docs_table())
        return
    size = asked_resolution(resolution)
    with console.status("building the networks ..."):
        fitting = [model_id for model_id, spec in MODELS.items() if spec.takes(size)]
        lines = table.lines([*fitting, *entry_points()], classes, size, printed_costs())
    answer(
        classes=classes,
        resolution=size,
        models=[
            {"model": line.spec.id, "design": table.design(line.spec)}
            | {"params": line.cost.params, "macs": line.cost.macs}
            | {"deployed": line.deployed, "printed": line.printed}
            for line in lines
        ],
    )
    for model_id in MODELS:
        if model_id not in fitting:
            console.print(f"Left out: {model_id}, which needs {MODELS[model_id].sizes}.")
    console.print(_costs(lines, f"Networks with {classes} classes at {shown(size)} px"))
    console.print(_designs(lines))
    console.print(
        "Any network of timm or torchvision is a model too: timm:<name>, torchvision:<name>. docs/models.md says how "
        "to add your own, docs/transfer.md how to start from pretrained weights."
    )


@models.command()
@click.argument("model", shell_complete=completion.every_model)
@CLASSES
@RESOLUTION
@click.option("--channels", default=3, show_default=True, type=click.IntRange(1), help="Channels of the images.")
def check(model: str, classes: int, resolution: Resolution | None, channels: int) -> None:
    """Check that MODEL can be trained in a grid: forward at the size, gradients everywhere, budget.

    It is built with the model_options that params.yaml has for it. The budget of 2.5 M parameters is that of suites
    trained from scratch: elsewhere nothing is said of it.
    """
    from mobilebench.cli.console import console
    from mobilebench.models import ModelError, checks, create, split
    from mobilebench.models import model_table as table
    from mobilebench.models.channels import with_channels
    from mobilebench.models.cost.counts import static_cost
    from mobilebench.models.meta import size_problem

    size, (model_id, options) = asked_resolution(resolution), built_network(model)
    network = create(model_id, classes, **options)
    if problem := size_problem(model_id, options, size, pretrained=bool(split(model_id).weights), name=model):
        raise ModelError(problem)
    given = input_size(size, channels)
    checks.check(with_channels(network, channels, sides(size), pretrained=False), classes, given)
    cost = static_cost(network, given)
    macs = table.millions(cost.macs)
    console.print(f"[bold]{model}[/bold] can be trained at {given}: {cost.params:,} parameters, {macs} M MACs")
    if split(model_id).weights:
        console.print(f"Its weights: {_said_of_weights(model_id)}", soft_wrap=True)
    for warning in checks.budget_warnings(network) if _is_of_the_budget(model_id) else ():
        console.print(f"[yellow]warning:[/yellow] {warning}")


@models.command()
@click.option(
    "--models", "names", help="Names, separated by commas.  [default: those of params.yaml, else the paper's]"
)
@CLASSES
@RESOLUTION
@click.option("--output", default=Path("results/cost.csv"), show_default=True, type=click.Path(path_type=Path))
@click.option("--runs", default=30, show_default=True, type=click.IntRange(3), help="Repetitions behind the medians.")
@click.option(
    "--threads", default="1", show_default=True, type=Counts(), help="CPU threads while measuring: one number, or 1,2."
)
@click.option(
    "--runtime", "runtimes", multiple=True, type=click.Choice(["torch", "ort"]),
    help="Measure latency alone, in this runtime; may be given again.",
)  # fmt: skip
@click.option("--batch", type=click.IntRange(1), help="Images in a call, of latency alone.  [default: 1]")
@click.option(
    "--append", type=click.Path(path_type=Path, dir_okay=False), metavar="device_results.csv",
    help="Add the latencies to this file of device figures, as this machine's.",
)  # fmt: skip
@click.option("--device", help="What this machine is called there.  [default: its processor's name]")
@json_option
def profile(
    names: str | None,
    classes: int,
    resolution: Resolution | None,
    output: Path,
    runs: int,
    threads: tuple[int, ...],
    runtimes: tuple[Runtime, ...],
    batch: int | None,
    append: Path | None,
    device: str | None,
) -> None:
    """Measure what models cost and write a row for each into OUTPUT; rows of other models there stay.

    With --runtime, --batch, --append or several --threads it measures latency alone, of the network as it is deployed:
    median, 90th percentile, interquartile range. OUTPUT stays as it is then. --models also takes .onnx files.
    """
    from rich.progress import track

    if runtimes or batch or append or len(threads) > 1:
        from mobilebench.export.device_latency import Asked

        asked = Asked(runtimes, threads, batch or 1, runs, device)
        measure_latencies(asked_subjects(names, classes, resolution), asked, append)
        return

    from mobilebench.cli.console import console
    from mobilebench.models import profile as profiling
    from mobilebench.studies.beyond_imagenet.published import printed_costs

    printed = printed_costs()
    ids, size = asked_models(names), asked_resolution(resolution)
    known = profiling.read_rows(output)  # refuse a foreign file before the work, not after it
    rows = []
    for name, model_id in track(ids.items(), "profiling", console=console, disable=not console.is_terminal):
        row = profiling.profile(model_id, classes, size, runs, threads[0], printed.get(model_id))
        rows.append(replace(row, model=name))
        profiling.add_row(output, rows[-1])
    replaced = sum(profiling.key(row) in known for row in rows)
    answer(models=rows)
    console.print(_profiles(rows))
    console.print(
        f"{len(rows)} rows written to {output}, {replaced} of them in place of older ones.\n"
        f"params and MACs in millions; ms: median latency of n={runs}, one image, {threads[0]} threads, {rows[0].cpu}; "
        f"deployed: the same with training branches folded; images/s in batches of {rows[0].images_per_second_batch}; "
        f"GB: estimated training memory, fp32 Adam, batch {rows[0].training_batch}; vs Table 1: ours minus the paper's."
    )


@models.command()
@click.argument("names", nargs=-1, metavar="[MODEL]...")
@json_option
def fetch(names: tuple[str, ...]) -> None:
    """Get the pretrained weights that the suite needs, or those that each MODEL names, before anything is trained.

    Downloads go to MOBILEBENCH_WEIGHTS, or mobilebench/weights in the user's cache folder. What is there stays.
    """
    from mobilebench.cli.console import console
    from mobilebench.errors import UserError

    found, problems = [], []
    wanted = list(dict.fromkeys(names)) or _pretrained()
    for model in wanted:
        try:
            found.append((model, _fetched(model)))
        except UserError as error:  # the others are fetched all the same
            problems.append(str(error))
    answer(weights=[{"model": model, "path": str(file.path), "sha256": file.sha256} for model, file in found])
    for model, file in found:
        size = file.path.stat().st_size / 1e6
        console.print(f"[bold]{model}[/bold]: {file.path}, {size:.1f} MB, sha256 {file.sha256[:12]}", soft_wrap=True)
    if problems:
        raise UserError("\n".join(problems))
    if not wanted:
        console.print("The suite starts every network from scratch: there are no weights to fetch.")


def _said_of_weights(model_id: str) -> str:
    """Return what a network's weights were pretrained on and how images were prepared for them, in words."""
    from mobilebench.models import ModelError
    from mobilebench.models.weights.preprocessing import preprocessing
    from mobilebench.models.weights.pretraining import pretrained_on

    try:
        prepared = f"images of {preprocessing(model_id)}"
    except ModelError:
        prepared = "how images were prepared for them is not known"
    return f"pretrained on {pretrained_on(model_id)}; {prepared}"


def _is_of_the_budget(model_id: str) -> bool:
    """Return whether a network is compared at an equal budget: from scratch, in a suite where every network is."""
    from mobilebench.config.suite import PARAMS
    from mobilebench.execution.suites import open_suite, starts_from_scratch
    from mobilebench.models import BACKBONES, split

    if split(model_id).weights or model_id in BACKBONES:
        return False
    return not PARAMS.exists() or starts_from_scratch(open_suite(networks=False))


def _pretrained() -> list[str]:
    """Return the ids of the networks of params.yaml that start from pretrained weights on some dataset."""
    from mobilebench.execution.suites import open_suite

    suite = open_suite()
    recipes = [(cell.model, suite.protocol.recipe_for(cell.model, cell.dataset)) for cell in suite.cells()]
    return list(dict.fromkeys(recipe.network_of(model) for model, recipe in recipes if recipe.pretrained))


def _fetched(model: str) -> WeightsFile:
    from mobilebench.models import get, split
    from mobilebench.models.names import RUN
    from mobilebench.models.weights.files import fetch

    get(model)
    if split(model).weights.startswith(RUN):
        from mobilebench.analysis.trained import fetch_run

        fetch_run(model)
    return fetch(model)


def _table(title: str, names: Sequence[str], numbers: Sequence[str] = ()) -> Table:
    """Return an empty table: columns of text, then columns of numbers; the first column is never broken."""
    from mobilebench.cli.console import plain_table

    table = plain_table(title=title)
    for position, name in enumerate(names):
        table.add_column(name, no_wrap=position == 0)
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _costs(lines: Sequence[Line], title: str) -> Table:
    from mobilebench.cli.docs_table import NUMBERS
    from mobilebench.models import model_table as table

    shown = _table(title, ["model"], NUMBERS)
    for line in lines:
        shown.add_row(line.spec.id, *table.numbers(line))
    return shown


def _designs(lines: Sequence[Line]) -> Table:
    from mobilebench.models.model_table import design

    shown = _table("", ["model", "what it is"])
    for line in lines:
        shown.add_row(line.spec.id, design(line.spec))
    return shown


def _profiles(rows: Sequence[ProfileRow]) -> Table:
    """Return what a person wants to see of the rows: size, work, time, memory, and how far Table 1 is off."""
    from mobilebench.models.model_table import millions

    headings = ("params", "MACs", "ms", "deployed", "images/s", "GB", "vs Table 1")
    shown = _table(f"{rows[0].num_classes} classes, {rows[0].resolution} px", ["model"], headings)
    for row in rows:
        shown.add_row(
            row.model,
            f"{row.params / 1e6:.2f}",
            millions(row.macs),
            f"{row.latency_ms:.1f}",
            "" if row.deployed_latency_ms is None else f"{row.deployed_latency_ms:.1f}",
            f"{row.images_per_second:.0f}",
            f"{row.training_bytes / 1e9:.1f}",
            _difference(row),
        )
    return shown


def _difference(row: ProfileRow) -> str:
    if row.params_difference is None:
        return ""
    macs = "" if row.macs_difference is None else f" / {row.macs_difference / 1e6:+,.0f}"
    return f"{row.params_difference / 1e6:+.2f}{macs}"
