"""C++ beside this file, compiled by the machine's own compiler in some seconds, once a process, when a trainer asks.

It runs on PyTorch's own OpenMP threads; any others would have to fight for the cores with these.
"""

from __future__ import annotations

import ctypes
import subprocess
from functools import cache
from pathlib import Path
from shutil import which
from tempfile import TemporaryDirectory


class NoCompilerError(Exception):
    """The code could not be compiled here; the message says why."""


def library(name: str) -> ctypes.CDLL:
    """The functions of NAME.cpp. Raises NoCompilerError."""
    found = _compiled_once(name)
    if isinstance(found, NoCompilerError):
        raise found
    return found


@cache
def _compiled_once(name: str) -> ctypes.CDLL | NoCompilerError:
    compiler = which("g++")
    if compiler is None:
        return NoCompilerError("there is no g++")
    try:
        with TemporaryDirectory(prefix="mobilebench", ignore_cleanup_errors=True) as folder:
            return ctypes.CDLL(_compile(compiler, name, Path(folder)))
    except subprocess.CalledProcessError as error:
        return NoCompilerError(f"{compiler} says {(error.stderr.strip().splitlines() or ['nothing'])[0]}")
    except (subprocess.TimeoutExpired, OSError) as error:
        return NoCompilerError(str(error))


def _compile(compiler: str, name: str, folder: Path) -> str:
    """The library's path. Linked without an OpenMP of its own, it finds PyTorch's, which is loaded for all to see."""
    parts, made = str(folder / f"{name}.o"), str(folder / f"{name}.so")
    source = str(Path(__file__).with_name(f"{name}.cpp"))
    for how in (
        ["-O3", "-march=native", "-std=c++17", "-fopenmp", "-fPIC", "-c", source, "-o", parts],
        ["-shared", parts, "-o", made],
    ):
        subprocess.run([compiler, *how], check=True, capture_output=True, text=True, timeout=60)  # noqa: S603 - our file
    return made
