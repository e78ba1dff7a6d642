"""The process that workers are forked from: it imports the stack once, beside whatever this process does meanwhile."""

from __future__ import annotations

import multiprocessing
from multiprocessing import forkserver
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext


def fork_server() -> ForkServerContext:
    """Start the fork server if it does not run yet, and return the context whose processes are forked from it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["mobilebench.execution.cell_run"])
    forkserver.ensure_running()
    return context
