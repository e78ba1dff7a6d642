"""Images per second of `prepare` beside a plain Pillow loop, on JPEGs of 500x375 made here (the size of many photos).

    python benchmarks/prepare.py [n] [workers]

Both read the same files and end with the same squares of 256 pixels; the loop does only that, in one process, without
checksums, statistics or writing. The decoder's own limit is Pillow decoding to full size, nothing else, on every core.
Memory is the sum over all processes of what each has alone (USS), sampled twice a second.
"""

from __future__ import annotations

import io
import platform
import resource
import shutil
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import psutil
from PIL import Image, features

from mobilebench.config.data import OwnData
from mobilebench.config.recipe import DataPolicy
from mobilebench.datasets.packing.packed import open_packed
from mobilebench.datasets.packing.prepare import prepare
from mobilebench.system.cpu import cores

SIDE = 256
DISTINCT = 64


def make_images(folder: Path, n: int) -> list[Path]:
    """Write n JPEGs in two class folders; 64 distinct pictures of detail and noise, quality 90."""
    rng = np.random.default_rng(0)
    pictures = []
    for _ in range(DISTINCT):
        coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), np.uint8)).resize(
            (500, 375), Image.Resampling.BICUBIC
        )
        noisy = np.asarray(coarse).astype(int) + rng.integers(-12, 13, (375, 500, 3))
        out = io.BytesIO()
        Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(out, "JPEG", quality=90)
        pictures.append(out.getvalue())
    paths = [folder / "ab"[i % 2] / f"{i:06d}.jpg" for i in range(n)]
    for i, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pictures[i % DISTINCT])
    return paths


def cpu_seconds() -> float:
    """Return the processor time of this process and its ended children: unlike the clock, no other work disturbs it."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def plain_loop(paths: list[Path]) -> tuple[float, float]:
    """Return images/s and processor ms/image of the obvious loop: open, centre square, to 256 pixels."""
    start, cpu = time.perf_counter(), cpu_seconds()
    for path in paths:
        with Image.open(path) as image:
            square = image.convert("RGB").crop((62, 0, 437, 375)).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
            np.asarray(square)
    return len(paths) / (time.perf_counter() - start), (cpu_seconds() - cpu) / len(paths) * 1e3


def decoder_limit(paths: list[Path], workers: int) -> float:
    """Return images/s of decoding alone; Pillow's decoder releases the interpreter's lock, so threads show it."""

    def load(path: Path) -> None:
        with Image.open(path) as image:
            image.load()

    start = time.perf_counter()
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(load, paths))
    return len(paths) / (time.perf_counter() - start)


class Memory(threading.Thread):
    """Samples the memory of this process and its children; `peak` in bytes."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak, self.stopped = 0, threading.Event()

    def run(self) -> None:
        """Sample until `stopped` is set."""
        me = psutil.Process()
        while not self.stopped.wait(0.5):
            total = 0
            for process in [me, *me.children(recursive=True)]:
                try:
                    total += process.memory_full_info().uss
                except psutil.Error:
                    continue
            self.peak = max(self.peak, total)


def main() -> None:
    """Print the table."""
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 4000
    workers = int(sys.argv[2]) if len(sys.argv) > 2 else cores()
    work = Path(tempfile.mkdtemp(prefix="mobilebench_"))
    try:
        paths = make_images(work / "images", n)
        loop, loop_ms = plain_loop(paths[: min(n, 1000)])
        limit = decoder_limit(paths, workers)
        own = {"bench": OwnData(folder=str(work / "images"))}
        few = {"bench": _few(paths, work)}
        prepare("bench", policy=DataPolicy(), raw_dir=work, out_dir=work / "small", own=few)  # imports
        memory = Memory()
        memory.start()
        start, cpu = time.perf_counter(), cpu_seconds()
        folder = prepare("bench", policy=DataPolicy(), raw_dir=work, out_dir=work / "packed", own=own, workers=workers)
        seconds, cpu = time.perf_counter() - start, cpu_seconds() - cpu
        memory.stopped.set()
        packed = open_packed(folder)
        packed.verify()
    finally:
        shutil.rmtree(work)
    print(f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, {cores()} cores, Pillow {version('pillow')}", end=", ")
    print(f"libjpeg-turbo {features.version('libjpeg_turbo')}, load {psutil.getloadavg()[0]:.1f}, n = {n}, single run")
    print(f"plain Pillow loop, 1 process      {loop:8.0f} images/s, {loop_ms:.2f} ms/image of processor time")
    print(f"decoding alone, {workers} threads         {limit:8.0f} images/s")
    print(f"prepare, {workers} processes              {n / seconds:8.0f} images/s, {n / seconds / loop:.2f} x the loop")
    print(f"its processor time                {cpu / n * 1e3:8.2f} ms/image, start of the processes included")
    print(
        f"peak memory, all processes        {memory.peak / 1e6:8.0f} MB; {packed.images.nbytes / 1e6:.0f} MB of pixels"
    )


def _few(paths: list[Path], work: Path) -> OwnData:
    for path in paths[:20]:
        few = work / "few" / path.parent.name / path.name
        few.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, few)
    return OwnData(folder=str(work / "few"))


if __name__ == "__main__":
    main()
