"""What `prepare` costs: each step by the size of the photo, images per second end to end, and peak memory.

    python -m benchmarks.prepare [n] [workers] [--size 500x375]

Photos are JPEGs made here, detail and noise, quality 90; the packed squares have 256 pixels, or the photo's shorter
side where that is less. Steps are processor time of one process, the best of three passes over a few images, so that
other work on the machine disturbs them little. End to end, n images of one size (64 distinct ones, linked) are packed
beside a plain loop that only opens, cuts, resizes. Memory is summed over all processes, sampled four times a second:
RSS, which counts what they share once for each, and USS, which doesn't count it.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import platform
import resource
import shutil
import tempfile
import threading
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import psutil
from PIL import Image, features

from mobilebench.config.data import OwnData
from mobilebench.config.recipe import DataPolicy
from mobilebench.datasets.packing.decode import Chunk, Form, Rows, decode_chunk, file_size
from mobilebench.datasets.packing.geometry import centre
from mobilebench.datasets.packing.moments import of_histogram
from mobilebench.datasets.packing.packed import open_packed
from mobilebench.datasets.packing.prepare import prepare
from mobilebench.system.cpu import cores

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Item = TypeVar("Item")
SIDE = 256
DISTINCT = 64
SIZES = ((500, 375), (1024, 768), (3000, 2000))


def photo(rng: np.random.Generator, size: tuple[int, int]) -> bytes:
    """Return a JPEG of this width and height, of detail and noise."""
    width, height = size
    coarse = rng.integers(0, 256, (-(-height // 16), -(-width // 16), 3), np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)).astype(np.int16)
    noisy = smooth + rng.integers(-12, 13, (height, width, 3), np.int16)
    out = io.BytesIO()
    Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(out, "JPEG", quality=90)
    return out.getvalue()


def make_images(folder: Path, n: int, size: tuple[int, int]) -> list[Path]:
    """Write n JPEGs in two class folders, hard links of 64 distinct ones, and return these."""
    rng, distinct = np.random.default_rng(0), list[Path]()
    for name in "ab":
        (folder / name).mkdir(parents=True)
    for i in range(n):
        path = folder / "ab"[i % 2] / f"{i:06d}.jpg"
        if i < DISTINCT:
            path.write_bytes(photo(rng, size))
            distinct.append(path)
        else:
            os.link(distinct[i % DISTINCT], path)
    return distinct


def cpu_seconds() -> float:
    """Return the processor time of this process and its ended children: unlike the clock, no other work disturbs it."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def best_ms(work: Callable[[Item], object], items: Iterable[Item]) -> float:
    """Return milliseconds of processor time an item takes, the best of three passes."""
    every, passes = list(items), []
    for _ in range(3):
        start = time.process_time()
        for item in every:
            work(item)
        passes.append(time.process_time() - start)
    return min(passes) / len(every) * 1e3


def steps(size: tuple[int, int], folder: Path) -> dict[str, float]:
    """Return milliseconds a photo of this size takes: by step, and `all`, which is the program's own work on it."""
    side = min(SIDE, *size)
    paths = make_images(folder, min(DISTINCT, max(4, 10_000_000 // (size[0] * size[1]))), size)

    def loaded(path: Path) -> Image.Image:
        with Image.open(path) as image:
            image.draft("RGB", (side, side))
            image.load()
            return image

    def resized(image: Image.Image) -> Image.Image:
        return image.resize((side, side), Image.Resampling.BILINEAR, box=centre(image.size, (side, side)))

    opened = [loaded(path) for path in paths]
    squares = [resized(image) for image in opened]
    rows = Rows(folder / "rows", 0, Form((side, side)))
    rows.images.write_bytes(bytes(rows.row_bytes * len(paths)))
    chunk = Chunk(0, [str(path) for path in paths], [True] * len(paths))
    return {
        "header": best_ms(file_size, paths),
        "decode": best_ms(loaded, paths),
        "resize": best_ms(resized, opened),
        "sha1": best_ms(lambda image: hashlib.sha1(image.tobytes(), usedforsecurity=False).hexdigest(), squares),
        "mean and std": best_ms(lambda image: of_histogram(np.reshape(image.histogram(), (3, 256))), squares),
        "all": best_ms(lambda chunk: decode_chunk(rows, chunk), [chunk]) / len(paths),
    }


def plain_loop(paths: list[Path]) -> float:
    """Return processor ms/image of the obvious loop: open, centre square, to at most 256 pixels, one process."""

    def work(path: Path) -> None:
        with Image.open(path) as image:
            side = min(image.size)
            left, top = (image.width - side) // 2, (image.height - side) // 2
            square = image.convert("RGB").crop((left, top, left + side, top + side))
            np.asarray(square.resize((min(SIDE, side),) * 2, Image.Resampling.BILINEAR))

    return best_ms(work, paths)


class Memory(threading.Thread):
    """Samples the memory of this process and its children; peaks in bytes."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.rss = self.uss = 0
        self.stopped = threading.Event()

    def run(self) -> None:
        """Sample until `stopped` is set."""
        me = psutil.Process()
        while not self.stopped.wait(0.25):
            rss = uss = 0
            for process in [me, *me.children(recursive=True)]:
                try:
                    memory = process.memory_full_info()
                except psutil.Error:
                    continue
                rss, uss = rss + memory.rss, uss + memory.uss
            self.rss, self.uss = max(self.rss, rss), max(self.uss, uss)


def end_to_end(n: int, workers: int, size: tuple[int, int], work: Path) -> None:
    """Pack n images and print how fast and with how much memory."""
    paths = make_images(work / "images", n, size)
    loop = plain_loop(paths)
    own = {"bench": OwnData(folder=str(work / "images"))}
    make_images(work / "few", 20, (64, 64))
    few = {"bench": OwnData(folder=str(work / "few"))}
    prepare("bench", policy=DataPolicy(), raw_dir=work, out_dir=work / "small", own=few)  # imports
    memory = Memory()
    memory.start()
    start, cpu = time.perf_counter(), cpu_seconds()
    folder = prepare("bench", policy=DataPolicy(), raw_dir=work, out_dir=work / "packed", own=own, workers=workers)
    seconds, cpu = time.perf_counter() - start, cpu_seconds() - cpu
    memory.stopped.set()
    memory.join()
    packed = open_packed(folder)
    packed.verify()
    print(f"\n{n:,} images of {size[0]}x{size[1]}, {workers} processes, single run")
    print(f"prepare, start to end        {n / seconds:8.0f} images/s")
    print(f"its processor time           {cpu / n * 1e3:8.2f} ms/image, start of the processes included")
    print(f"the plain loop's             {loop:8.2f} ms/image")
    print(f"peak memory, all processes   {memory.rss / 1e6:8.0f} MB RSS, {memory.uss / 1e6:.0f} MB USS", end="; ")
    print(f"{packed.images.nbytes / 1e6:,.0f} MB of pixels")


def main() -> None:
    """Print where it is measured, the steps and the whole."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("n", nargs="?", type=int, default=4000)
    parser.add_argument("workers", nargs="?", type=int, default=cores())
    parser.add_argument("--size", default="500x375", help="width x height of the photos that are packed end to end")
    wanted = parser.parse_args()
    width, height = map(int, wanted.size.split("x"))
    print(f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, {cores()} cores, Pillow {version('pillow')}", end=", ")
    print(f"libjpeg-turbo {features.version('libjpeg_turbo')}, load {psutil.getloadavg()[0]:.1f}")
    work = Path(tempfile.mkdtemp(prefix="mobilebench_"))
    try:
        print("ms of processor time an image, one process; images/s a core")
        for size in SIZES:
            found = steps(size, work / f"{size[0]}")
            told = ", ".join(f"{name} {ms:.2f}" for name, ms in found.items())
            print(f"{size[0]}x{size[1]}: {told}; {1e3 / found['all']:.0f}")
        end_to_end(wanted.n, wanted.workers, (width, height), work)
    finally:
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
