"""`mobilebench export`: a finished run's network as files that other programs read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mobilebench.cli import completion
from mobilebench.cli.json_answer import answer, json_option

if TYPE_CHECKING:
    from mobilebench.export.check import Drop
    from mobilebench.export.onnx_export import OnnxExport


@click.command()
@click.argument("what", metavar="RUN|MODEL", shell_complete=completion.models)
@click.argument("dataset", required=False, shell_complete=completion.datasets)
@click.option("--seed", type=int, help="Of the cell, with MODEL DATASET; default: the suite's first.")
@click.option(
    "--format", "form", type=click.Choice(["onnx", "safetensors"]),
    help="What to write.  [default: onnx; nothing more where --hf is given]",
)  # fmt: skip
@click.option("--int8", is_flag=True, help="A quantised ONNX file too, compared with the one of float32.")
@click.option("--layers", is_flag=True, help="With --int8: what quantising each layer alone does (a minute or so).")
@click.option(
    "--with-preprocessing", is_flag=True,
    help="Build the normalisation into the ONNX file, which then takes bytes [N, H, W, 3].",
)  # fmt: skip
@click.option("--hf", type=click.Path(path_type=Path, file_okay=False), help="Folder to write as model hubs keep it.")
@click.option("--push", metavar="REPO", help="With --hf: upload the folder to this repository of the Hugging Face hub.")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), default=Path("results/export"), show_default=True,
    help="Folder of the files.",
)  # fmt: skip
@click.option("--images", type=click.IntRange(2), help="Test images to compare on.  [default: all]")
@click.option(
    "--calibration", type=click.IntRange(1), default=128, show_default=True,
    help="Images of val (of train where there is none) that set the ranges of int8.",
)  # fmt: skip
@click.option(
    "--max-drop", type=click.FloatRange(0), default=0.02, show_default=True,
    help="What int8 may lose, as a share of the metric's range, before it is refused.",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Replace files that are there.")
@json_option
def export(
    what: str, dataset: str | None, seed: int | None, form: str | None, int8: bool, layers: bool,  # noqa: FBT001
    with_preprocessing: bool, hf: Path | None, push: str | None, out: Path, images: int | None,  # noqa: FBT001
    calibration: int, max_drop: float, force: bool,  # noqa: FBT001
) -> None:  # fmt: skip
    """Write a finished run's network as ONNX, or its weights as safetensors, checked against the network.

    Name a run (EXPERIMENT/MODEL/DATASET, run:ID, a folder), or a model and a dataset of this project. The ONNX file is
    held to PyTorch on the test images, and an int8 one to the ONNX file; what is further off than it should be is not
    written. docs/export.md has the rest.
    """
    from mobilebench.cli.console import console

    form = form or ("onnx" if hf is None else None)
    _raise_for_options(form, int8=int8, layers=layers, with_preprocessing=with_preprocessing, hf=hf, push=push)
    if form == "onnx":
        _require_onnx()
    from mobilebench.export.subject import open_subject  # after it: imports more than a light install has

    subject = open_subject(what, dataset, seed)
    answer(run_id=subject.record and subject.record.run_id, model=subject.made.model, dataset=subject.made.dataset,
           seed=subject.made.seed)  # fmt: skip
    written: list[Path] = []
    if form == "onnx":
        from mobilebench.export.onnx_export import OnnxPlan, export_run

        plan = OnnxPlan(out, with_preprocessing, int8, layers, images, calibration, max_drop, force)
        with console.status("exporting and comparing"):
            found = export_run(subject, plan)
        _show(found)
        written += [file.path for file in found.files]
    if form == "safetensors":
        from mobilebench.export.hub_folder import write_weights

        written.append(write_weights(subject, out, force=force))
    if hf is not None:
        from mobilebench.export.hub_folder import write_folder

        written += write_folder(subject, hf, force=force)
    answer(written=written)
    console.print("Written: " + ", ".join(map(str, written)), soft_wrap=True)
    if hf is not None and push:
        from mobilebench.export.hub_folder import push_folder

        console.print(f"Uploaded: {push_folder(hf, push)}", soft_wrap=True)


def _raise_for_options(
    form: str | None, *, int8: bool, layers: bool, with_preprocessing: bool, hf: Path | None, push: str | None
) -> None:
    of_onnx = {"--int8": int8, "--with-preprocessing": with_preprocessing}
    for name, given in of_onnx.items():
        if given and form != "onnx":
            raise click.UsageError(f"{name} goes with --format onnx")
    if layers and not int8:
        raise click.UsageError("--layers goes with --int8")
    if push and hf is None:
        raise click.UsageError("--push goes with --hf DIR, the folder that is uploaded")


def _require_onnx() -> None:
    from mobilebench.system.extras import require

    for package in ("onnx", "onnxscript", "onnxruntime", "torch"):
        require(package)


def _show(found: OnnxExport) -> None:
    from mobilebench.cli.console import console, plain_table
    from mobilebench.evaluation.metrics import get_metric

    answer(files=found.files, agreement=found.agreement, drop=found.drop, layers=found.layers,
           calibrated_on=found.calibrated_on)  # fmt: skip
    same, metric = found.agreement, get_metric(found.agreement.metric)
    values = [same.file, None if found.drop is None else found.drop.quantised]
    table = plain_table("file", "MB", f"{metric.id}", "ms")
    for file, value in zip(found.files, values, strict=False):
        shown = "n/a" if value is None else metric.show(value)
        table.add_row(file.path.name, f"{file.bytes / 1e6:.2f}", shown, f"{file.latency.median_ms:.2f}")
    console.print(table)
    of_torch = "n/a" if same.torch is None else metric.show(same.torch)
    console.print(
        f"On {same.images} test images: {metric.id} of PyTorch {of_torch}, the same label on {same.same_label:.2%}, "
        f"logits differ by {same.largest_difference:.2g} at most (the largest is {same.largest_logit:.3g}). "
        f"ms: one image, ONNX Runtime, CPU, 1 thread, median of {found.files[0].latency.n}.",
        soft_wrap=True,
    )
    if found.drop is not None:
        console.print(_drop_words(found.drop, found.calibrated_on), soft_wrap=True)
    if found.layers:
        noise = plain_table("layer alone in int8", "operator", "signal to noise, dB", "same label")
        for layer in found.layers[:10]:
            noise.add_row(layer.layer, layer.operator, f"{layer.snr_db:.1f}", f"{layer.same_label:.0%}")
        console.print(noise)
        console.print(f"The worst {min(10, len(found.layers))} of {len(found.layers)} layers; --json has all.")


def _drop_words(drop: Drop, calibrated_on: str) -> str:
    interval = "no interval, too few images"
    if drop.low is not None and drop.high is not None:
        interval = f"95 % interval {drop.low:+.4f} to {drop.high:+.4f}, paired over {drop.images} test images"
    return (
        f"int8 minus float32: {drop.difference:+.4f} {drop.metric} ({interval}), the same label on "
        f"{drop.same_label:.2%}; calibrated on {calibrated_on}."
    )
