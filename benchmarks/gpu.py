"""Half an hour on a CUDA card: is training right there, how fast is it, how many cells fit, and some real ones.

    python -m benchmarks.gpu check  --minutes 5 --out gpu.jsonl
    python -m benchmarks.gpu layout --minutes 2 --out gpu.jsonl
    python -m benchmarks.gpu speed  --minutes 10 --out gpu.jsonl
    python -m benchmarks.gpu share  --minutes 3 --out gpu.jsonl
    python -m benchmarks.gpu train  --minutes 8 --dataset ham10k --models shufflenet,starnet --out gpu.jsonl

Each prints a JSON line a row as it is measured and a Markdown table at the end, begins no new row once its minutes are
over, and says what it left out. `--device cpu` with a small `--size` and `--batch` shows that the program works, and
nothing else. All need torch, torchvision, timm and numpy beside mobilebench itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mobilebench.errors import UserError
from mobilebench.models import PAPER_MODELS, get

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch

    from benchmarks.gpu_report import Report
    from benchmarks.gpu_steps import Work


class Names(click.ParamType[tuple[str, ...]]):
    """Names with commas between them; each is one of `known` where these are given, else a network."""

    name = "a,b,.."

    def __init__(self, known: Sequence[str] = ()) -> None:
        self._known = known

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """The names of a text. Fails with those that are allowed."""
        if isinstance(value, tuple):
            return value
        names = tuple(filter(None, str(value).split(",")))
        for name in names:
            if self._known and name not in self._known:
                self.fail(f"{name!r} is none of {', '.join(self._known)}", param, ctx)
            elif not self._known:
                try:
                    get(name)
                except UserError as error:
                    self.fail(str(error), param, ctx)
        return names or self.fail("no name; expected some with commas between them", param, ctx)


class _Main(click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        """As click's; what a user can cause is said without a traceback."""
        try:
            return super().invoke(ctx)
        except UserError as error:
            raise click.ClickException(str(error)) from error


def _common(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--device", default="cuda", show_default=True, help="cuda, cuda:1; cpu for a smoke test."),
        click.option("--minutes", type=click.FloatRange(min=0), help="Begin no new row after that.  [default: no end]"),
        click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Append the JSON lines there too."),
    ):
        command = option(command)
    return command


def _sizes(batch: int, images: int, turns: int, rounds: int) -> Callable[..., Callable[..., Any]]:
    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        whole = click.IntRange(min=1)
        for option in (
            click.option(
                "--size", type=click.IntRange(min=32), default=224, show_default=True, help="Pixels of a side."
            ),
            click.option("--stored", type=click.IntRange(min=8), default=256, show_default=True, help="Stored pixels."),
            click.option(
                "--batch", type=click.IntRange(min=4), default=batch, show_default=True, help="Images a step."
            ),
            click.option("--images", type=whole, default=images, show_default=True, help="Images of a turn."),
            click.option("--turns", type=whole, default=turns, show_default=True, help="Turns of a round."),
            click.option(
                "--rounds", type=whole, default=rounds, show_default=True, help="Rounds, order reversed each."
            ),
        ):
            command = option(command)
        return command

    return add


def _models(*default: str) -> Callable[..., Callable[..., Any]]:
    return click.option(
        "--models", type=Names(), default=",".join(default), help="Networks.  [default: " + ", ".join(default) + "]"
    )


@click.group(cls=_Main, help=__doc__)
def main() -> None:
    """Half an hour on a CUDA card."""


@main.command()
@_common
@_models(*PAPER_MODELS)
@_sizes(batch=8, images=64, turns=3, rounds=1)
@click.option("--only", type=str, default="", help="Checks whose names begin so, with commas between them.")
def check(only: str, **options: Any) -> None:
    """Is training right? A row a check with a figure and its limit; exit 1 where one fails."""
    from benchmarks import gpu_check

    report, device, works = _opened("check", options)
    failed = gpu_check.check(report, works, device, [name for name in only.split(",") if name])
    report.close(gpu_check.COLUMNS, [f"{failed} failed."])
    if failed:
        raise SystemExit(1)


@main.command()
@_common
@_models(*PAPER_MODELS)
@_sizes(batch=32, images=2048, turns=3, rounds=2)
@click.option("--autotune", is_flag=True, help="Let cuDNN try its kernels first, as training does not.")
def layout(*, autotune: bool, **options: Any) -> None:
    """Channels-last against contiguous memory, in fp32 and bf16, steps alone."""
    from benchmarks import gpu_speed

    report, device, works = _opened("layout", options | {"autotune": autotune})
    gpu_speed.layout(report, works, device, autotune=autotune)
    report.close(gpu_speed.LAYOUT_COLUMNS)


@main.command()
@_common
@_models(*PAPER_MODELS)
@_sizes(batch=32, images=4096, turns=3, rounds=2)
@click.option("--contenders", type=str, default="", help="Some of them, with commas between them.  [default: all]")
@click.option("--loader-steps", type=click.IntRange(min=1), default=16, show_default=True, help="Their turn's steps.")
def speed(contenders: str, loader_steps: int, **options: Any) -> None:
    """Images/s of the networks: eager, as CUDA graphs, compiled, in bf16, and other loops."""
    from benchmarks import gpu_speed

    wanted = Names(gpu_speed.CONTENDERS).convert(contenders or gpu_speed.CONTENDERS, None, None)
    report, device, works = _opened("speed", options | {"loader_steps": loader_steps})
    report.close(gpu_speed.SPEED_COLUMNS, gpu_speed.speed(report, works, device, wanted, loader_steps))


@main.command()
@_common
@_models("shufflenet", "mobilenet", "ghostnet")
@_sizes(batch=32, images=2048, turns=1, rounds=1)
@click.option("--cells", type=Names([str(k) for k in range(1, 17)]), default="1,2,3,4", show_default=True)
@click.option("--seconds", type=click.FloatRange(min=0.1), default=12.0, show_default=True, help="Of each row.")
@click.option("--compiled", is_flag=True, help="With compiled networks, as long cells have them.")
def share(cells: tuple[str, ...], seconds: float, *, compiled: bool, **options: Any) -> None:
    """How many cells at once make the most of one card."""
    from benchmarks import gpu_share

    mps = gpu_share.mps_in_words()
    report, _, works = _opened("share", options | {"seconds": seconds, "compiled": compiled, "mps": mps})
    counts = [int(k) for k in cells]
    notes = gpu_share.share(report, works, counts, seconds, "on" if compiled else "auto", mps)
    report.close(gpu_share.COLUMNS, notes)


@main.command()
@_common
@_models("shufflenet", "starnet", "convnext", "tinynet")
@click.option("--suite", default="paper_v1", show_default=True, help="A packaged suite, where --project is none yet.")
@click.option("--dataset", default="ham10k", show_default=True)
@click.option(
    "--project", type=click.Path(path_type=Path, file_okay=False), default=Path("build/gpu-cells"), show_default=True,
    help="The folder that is trained in.",
)  # fmt: skip
@click.option("--raw", type=click.Path(path_type=Path, exists=True), help="The dataset's official files or an archive.")
def train(suite: str, dataset: str, project: Path, raw: Path | None, **options: Any) -> None:
    """Train real cells by `mobilebench run --offline`, in the order given, to be brought home."""
    from benchmarks import gpu_train

    report, _, _ = _opened("train", options | {"suite": suite, "dataset": dataset})
    models = options["models"]
    report.close(gpu_train.COLUMNS, gpu_train.train(report, suite, dataset, models, project, raw))


def _opened(part: str, options: dict[str, Any]) -> tuple[Report, torch.device, list[Work]]:
    """The report with its head written, the device, and what each network's contenders train."""
    import torch

    from benchmarks.gpu_report import Report, head
    from benchmarks.gpu_steps import Work
    from mobilebench.training.device import pick_device

    name = options.pop("device")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise click.ClickException(
            f"--device is {name}, and PyTorch finds no CUDA card; `--device cpu` is a smoke test"
        )
    device = pick_device(name)
    report = Report(device, options.pop("minutes"), options.pop("out"))
    report.row("head", **head(part, device, **options))
    sizes = {key: options[key] for key in ("size", "batch", "stored", "images", "turns", "rounds") if key in options}
    if sizes:
        sizes["images"] = max(1, sizes["images"] // sizes["batch"]) * sizes["batch"]
    return report, device, [Work(str(device), model, **sizes) for model in options["models"]]


if __name__ == "__main__":
    main()
