"""`mobilebench predict`: what a trained network sees in images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mobilebench.cli.json_answer import answer, json_option

if TYPE_CHECKING:
    from collections.abc import Callable

    from mobilebench.analysis.answers import Answer, Network

_ONNX = ".onnx"
_PLACED = "`mobilebench place`, once called `predict`, says where a new model stands among published ones"


def _of_place(_: click.Context, param: click.Parameter, value: object) -> None:
    """Refuse an option that `place` has, which was called `predict` before."""
    if value is not None:
        raise click.UsageError(
            f"predict has no {param.opts[0]}. {_PLACED}: `mobilebench place ... {param.opts[0]} ...`"
        )


def _without_options_of_place(command: Callable[..., None]) -> Callable[..., None]:
    for names in (("--from", "--matrix"), ("--reference",), ("--lambda",), ("--out",)):
        command = click.option(*names, hidden=True, expose_value=False, callback=_of_place)(command)
    return command


@click.command()
@click.argument("what", metavar="RUN|FILE.onnx", required=False)
@click.argument("images", metavar="IMAGE...", nargs=-1)
@click.option("--top", default=3, show_default=True, type=click.IntRange(1), help="Classes to show of each image.")
@click.option(
    "--picture", type=click.Path(path_type=Path), metavar="FILE|FOLDER",
    help="Draw the images with their answers: one sheet, or into a folder as many as it takes.",
)  # fmt: skip
@_without_options_of_place
@json_option
def predict(what: str | None, images: tuple[str, ...], top: int, picture: Path | None) -> None:
    """Say what a trained network sees in images: classes and probabilities.

    RUN is a finished run as `run:ID`, EXPERIMENT/MODEL/DATASET[/SEED], or a folder with its model.safetensors;
    FILE.onnx an exported network. IMAGE is a file, a folder, or a pattern like 'photos/**/*.jpg'. Images go the way of
    the test images. One that cannot be read is named, the others are answered all the same, and the exit code is 1.
    """
    from mobilebench.analysis.answers import answer_files
    from mobilebench.cli.console import console

    if what is None or not images:
        named = f"{what} and no image" if what else "neither a network nor an image"
        raise click.UsageError(f"found {named}; expected RUN or FILE.onnx, then images or folders. {_PLACED}")
    if not ({"/", ":"} & set(what) or Path(what).exists() or what.endswith(_ONNX)):
        raise click.UsageError(f"{what!r} names no run: expected run:ID or EXPERIMENT/MODEL/DATASET. {_PLACED}")
    network = _network(what)
    made = network.made
    found = answer_files(network, images)
    answer(
        model=made.model, dataset=made.dataset, seed=made.seed, target=made.target,
        answers=[_plain(each, top) for each in found.answers], unreadable=[each._asdict() for each in found.unreadable],
    )  # fmt: skip
    _show(found.answers, top, several=made.target == "multi_label")
    console.print(f"By {made.model}, trained on {made.dataset}, seed {made.seed}. {_probability(made.target)}")
    if picture is not None:
        from mobilebench.report.answer_sheet import write_sheets

        written, left = write_sheets(picture, found.answers, made)
        answer(written=written)
        more = f"; {left} images had no room: name a folder for more sheets" if left else ""
        console.print(f"Written: {', '.join(map(str, written))}{more}", soft_wrap=True)
    if found.unreadable:
        for name, reason in found.unreadable:
            console.print(f"{name}: {reason}", soft_wrap=True, markup=False, style="red")
        raise click.ClickException(f"{len(found.unreadable)} of the images named could not be read")


def _network(what: str) -> Network:
    if what.endswith(_ONNX):
        from mobilebench.export.onnx_network import OnnxNetwork

        return OnnxNetwork(Path(what))
    from mobilebench.analysis.answers import TorchNetwork
    from mobilebench.analysis.trained import load_model

    return TorchNetwork(load_model(what))


def _plain(found: Answer, top: int) -> dict[str, object]:
    return {
        "image": found.image,
        "said": found.said,
        "classes": [{"class": name, "probability": probability} for name, probability in found.classes[:top]],
    }


def _show(answers: tuple[Answer, ...], top: int, *, several: bool) -> None:
    """Print a line an image: what is said and how probable, and the next classes; of several labels the first ones."""
    from rich.markup import escape

    from mobilebench.cli.console import console, plain_table

    table = plain_table("image", "classes" if several else "class")
    if not several:
        table.add_column("probability", justify="right", no_wrap=True)
    if several or top > 1:
        table.add_column("most probable" if several else "next")
    for each in answers:
        shown = [f"{name} {probability:.3f}" for name, probability in each.classes[:top]]
        cells = [str(each.image), ", ".join(each.said) or "none"]
        cells += [] if several else [f"{each.classes[0].probability:.3f}"]
        cells += [", ".join(shown if several else shown[1:])] if several or top > 1 else []
        table.add_row(*map(escape, cells))
    console.print(table)


def _probability(target: str) -> str:
    if target == "multi_label":
        return "Probability: sigmoid of each class by itself; a class is said where it is above 0.5."
    kind = "grade" if target == "ordinal" else "class"
    return f"Probability: softmax over the classes; the {kind} of the largest is said."
