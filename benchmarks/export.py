"""Every network as ONNX: does the file say what the network says, how large is it, how fast, and how fast in int8?

    python -m benchmarks.export [--models NAME ...] [--write FILE]

Freshly drawn weights, whose batch normalisations have seen some noise, so that logits are of a usual size; 10 classes.
What int8 does to a result needs trained weights, and `mobilebench export RUN --int8` says it; here it is timed, and its
logits' signal to noise shows that the file works. Times are of one image in ONNX Runtime on the CPU.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from benchmarks.results import arguments, publish
from mobilebench import models
from mobilebench.export.images import torch_said
from mobilebench.export.onnx_file import export_onnx, onnx_session
from mobilebench.export.onnx_latency import RUNS, time_onnx
from mobilebench.export.quantize import Quantizer, snr_db

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from torch import nn

CLASSES, IMAGES = 10, 32
LITE0 = "timm:tf_efficientnet_lite0"
HEAD = (
    "| network | largest difference / largest logit | same label | MB | ms, 1 thread | 2 threads | int8: MB | dB | ms, "
    "1 thread | 2 threads |"
)


class Noise:
    """Images of noise [n, 3, side, side], normalised: mean 0, standard deviation 1."""

    def __init__(self, side: int) -> None:
        self.images = np.random.default_rng(0).normal(size=(IMAGES, 3, side, side)).astype(np.float32)

    def __len__(self) -> int:
        return len(self.images)

    def batches(self, size: int) -> Iterator[NDArray[np.float32]]:
        """Yield them, `size` at once."""
        for start in range(0, len(self), size):
            yield self.images[start : start + size]


def network_of(name: str, noise: Noise) -> nn.Module:
    """Return the network in eval mode, its batch normalisations with the statistics of noise."""
    torch.manual_seed(0)
    network = models.create(name, CLASSES).train()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):  # noqa: SLF001 - of every number of axes
                module.momentum = None  # the plain mean of all batches
        for batch in noise.batches(16):
            network(torch.from_numpy(batch))
    return network.eval()


def row(name: str, side: int, runs: int) -> str:
    """Return the row of a network."""
    noise = Noise(side)
    network = network_of(name, noise)
    with tempfile.TemporaryDirectory() as folder:
        file, small = Path(folder) / "a.onnx", Path(folder) / "b.onnx"
        export_onnx(network, file, channels=3, side=side, metadata={})
        Quantizer(file, noise, Path(folder)).write(small)
        of_torch, of_file, of_int8 = (
            np.concatenate([said(batch) for batch in noise.batches(16)])
            for said in (torch_said(network), onnx_session(file), onnx_session(small))
        )
        times = [time_onnx(path, batch=1, threads=n, runs=runs) for path in (file, small) for n in (1, 2)]
        ms = [f"{timing.median_ms:.2f}" for timing in times]
        sizes = [f"{path.stat().st_size / 1e6:.2f}" for path in (file, small)]
    far = np.abs(of_torch - of_file).max() / np.abs(of_torch).max()
    same = float((of_torch.argmax(axis=1) == of_file.argmax(axis=1)).mean())
    return (
        f"| {name} | {far:.1e} | {same:.0%} | {sizes[0]} | {ms[0]} | {ms[1]} | {sizes[1]} "
        f"| {snr_db(of_file, of_int8):.0f} | {ms[2]} | {ms[3]} |"
    )


def main() -> None:
    """Parse the arguments, print a row a network and, if asked, write the section of the results file."""
    parser = arguments(__doc__)
    parser.add_argument("--models", nargs="+", default=[*models.PAPER_MODELS, *models.CANONICAL_MODELS, LITE0])
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--runs", type=int, default=RUNS)
    settings = parser.parse_args()
    torch.set_num_threads(settings.threads)
    lines = [HEAD, "|" + "-|" * (HEAD.count("|") - 1)]
    for name in settings.models:
        lines.append(row(name, settings.side, settings.runs))
        print(lines[-1], flush=True)
    import onnxruntime

    about = f"ONNX Runtime {onnxruntime.__version__}; {settings.side} px, {CLASSES} classes, one image"
    publish([*lines, "", f"Times are medians of n = {settings.runs} calls."], settings, about)


if __name__ == "__main__":
    main()
