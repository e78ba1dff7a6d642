"""Downloading one file over HTTP so that it arrives whole or not at all, resuming what was interrupted."""

from __future__ import annotations

import hashlib
import logging
import re
import shutil
import socket
import time
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import ConnectTimeoutError, MaxRetryError, NameResolutionError, NewConnectionError

from mobilebench.datasets.acquire.source_lock import sha256
from mobilebench.datasets.spec import DataError, Source
from mobilebench.system.progress import progress

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

_log = logging.getLogger(__name__)
ATTEMPTS = 6
CONNECT = 5.0  # seconds for each address of a server: one that is there answers in a fraction of one
BLOCK = 1 << 16  # a block that breaks off is lost: small ones lose little
_AGAIN = {408, 425, 429, 500, 502, 503, 504}


class SourceError(DataError):
    """The source does not give the file; the message says what was tried, and what to do about this fault."""


class _UnfinishedError(Exception):
    """A try that may go better the next time, with the reason."""


class _Answer(NamedTuple):
    """What the server sends: from which byte, and how long the whole file is (None where it does not say)."""

    start: int
    total: int | None


def download(source: Source, folder: Path, *, pause: float = 1.0) -> Path:
    """Return `folder`/name, downloaded unless it is there already.

    A broken connection is taken up again where it broke, up to ATTEMPTS tries without progress, waiting `pause`
    seconds, then twice as long each time. A server that cannot be reached at all is asked twice, one that does not
    answer once. A file with the wrong checksum is removed. Raises SourceError, and DataError for this machine's faults.
    """
    final = folder / source.name
    part = folder / f"{source.name}.part"
    if final.exists():
        return final
    folder.mkdir(parents=True, exist_ok=True)
    _log.info("downloading %s to %s", source.url, final)
    _try_until_whole(source, part, pause)
    _check(source, part)
    part.rename(final)
    _tag(part).unlink(missing_ok=True)
    return final


def _try_until_whole(source: Source, part: Path, pause: float) -> None:
    failures, arrived, at_first = 0, False, _size(part)
    reached = at_first
    while True:
        try:
            _try_once(source, part)
        except (_UnfinishedError, requests.RequestException) as error:
            now = _size(part)
            failures, reached = (1, now) if now > reached else (failures + 1, reached)
            arrived = arrived or now != at_first
            _raise_if_unreachable(source, error, failures, arrived=arrived)
            if failures >= ATTEMPTS:
                raise SourceError(
                    f"{source.url} did not arrive after {ATTEMPTS} tries in a row ({error}); {now} bytes are kept in"
                    f" {part} and will be taken up from there. Try again later, or use a local copy with --from."
                ) from error
            wait = pause * 2 ** (failures - 1)
            _log.warning("%s: %s; trying again in %g s from byte %d", source.url, error, wait, now)
            time.sleep(wait)
        except OSError as error:
            raise DataError(f"{part} cannot be written ({error}).") from error
        else:
            return


def _try_once(source: Source, part: Path) -> None:
    """Ask for what is missing and append it. Raises _UnfinishedError when less came than was announced."""
    have = _size(part)
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if _tag(part).exists():  # a file that changed meanwhile is sent from its beginning
            headers["If-Range"] = _tag(part).read_text(encoding="utf-8")
    with requests.get(source.url, headers=headers, stream=True, timeout=(CONNECT, 60)) as response:
        if response.status_code == requests.codes.requested_range_not_satisfiable:
            _finish_or_restart(response, part)
            return
        _raise_for_status(source, response)
        answer = _answer(response, have)
        _check_space(part, answer)
        _remember(response, part, answer)
        _append(response, part, answer)
    _compare(part, answer.total)


def _answer(response: requests.Response, have: int) -> _Answer:
    length = response.headers.get("Content-Length", "")
    if response.status_code == requests.codes.partial_content:
        span = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        if span and int(span[1]) == have:
            return _Answer(have, None if span[2] == "*" else int(span[2]))
        raise _UnfinishedError(f"asked for bytes from {have}, was sent {response.headers.get('Content-Range')!r}")
    return _Answer(0, int(length) if length.isdecimal() else None)


def _append(response: requests.Response, part: Path, answer: _Answer) -> None:
    with part.open("r+b" if answer.start else "wb") as file, _bar(part, answer) as advance:
        file.seek(answer.start)
        advance(answer.start)
        for block in response.iter_content(BLOCK):
            file.write(block)
            advance(len(block))


def _bar(part: Path, answer: _Answer) -> AbstractContextManager[Callable[[int], None]]:
    return progress(part.name.removesuffix(".part"), answer.total, in_bytes=True)


def _remember(response: requests.Response, part: Path, answer: _Answer) -> None:
    """Keep the file's validator beside the part, from its first byte on: a resumed download asks for the same file."""
    if answer.start:
        return
    part.unlink(missing_ok=True)
    _tag(part).unlink(missing_ok=True)
    tag = response.headers.get("ETag", "")
    tag = response.headers.get("Last-Modified", "") if not tag or tag.startswith("W/") else tag
    if tag:
        _tag(part).write_text(tag, encoding="utf-8")


def _compare(part: Path, total: int | None) -> None:
    have = _size(part)
    if total is not None and have < total:
        raise _UnfinishedError(f"{have} of {total} bytes arrived")
    if total is not None and have > total:
        part.unlink()
        raise _UnfinishedError(f"{have} bytes arrived, {total} were announced; starting over")


def _finish_or_restart(response: requests.Response, part: Path) -> None:
    """Handle 416: nothing lies beyond what is here. Raises _UnfinishedError unless the server's size is ours."""
    if response.headers.get("Content-Range", "") == f"bytes */{_size(part)}":
        return
    part.unlink(missing_ok=True)
    raise _UnfinishedError("the part already here does not belong to this file; starting over")


def _raise_if_unreachable(source: Source, error: Exception, failures: int, *, arrived: bool) -> None:
    """Raise SourceError for a server that was never reached; one that is lost on the way is waited for."""
    inner = error.args[0] if error.args else None
    cause = inner.reason if isinstance(inner, MaxRetryError) else None
    host = urlsplit(source.url).hostname or source.url
    if isinstance(error, requests.exceptions.SSLError):
        why = f"the secure connection failed: {cause or error}"
    elif isinstance(error, requests.exceptions.ProxyError):
        why = f"the proxy of this machine (HTTPS_PROXY, HTTP_PROXY) failed: {cause or error}"
    elif isinstance(cause, NameResolutionError):
        why = "its name has no address, or this machine is not on the internet"
    elif isinstance(cause, ConnectTimeoutError) and not isinstance(cause, NewConnectionError):
        why = f"no answer within {CONNECT:g} s; tried {_addresses(host)}"
    elif isinstance(cause, NewConnectionError):
        why = f"the connection was refused; tried {_addresses(host)}"
    else:
        return
    tries = 1 if "no answer" in why else 2
    if not arrived and failures >= tries:
        raise SourceError(
            f"{source.url} cannot be fetched, {host} is not reached: {why}. Try again later, or use a local copy with"
            " --from."
        ) from error


def _addresses(host: str) -> str:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return host
    return ", ".join(dict.fromkeys(str(address[4][0]) for address in found))


def _raise_for_status(source: Source, response: requests.Response) -> None:
    if response.status_code in _AGAIN:
        raise _UnfinishedError(f"the server answered {response.status_code} {response.reason}")
    if response.status_code not in {200, 206}:
        what_to_do = {
            401: "It wants you to log in first",
            403: "It refuses this file to you, or to this network: its owners may want their terms accepted first",
            404: "It may have moved: look at the dataset's homepage (`mobilebench data list`)",
            410: "It was taken away: look at the dataset's homepage (`mobilebench data list`)",
        }.get(response.status_code, "That is no answer a file server gives")
        raise SourceError(
            f"{source.url} answered {response.status_code} {response.reason}; expected the file {source.name}."
            f" {what_to_do}, or use a local copy with --from."
        )


def _check_space(part: Path, answer: _Answer) -> None:
    missing = (answer.total or 0) - answer.start
    free = shutil.disk_usage(part.parent).free
    if missing > free:
        raise DataError(f"{part.parent} has {free / 1e9:.1f} GB free, {part.name} needs {missing / 1e9:.1f} GB more.")


def _check(source: Source, part: Path) -> None:
    """Raise DataError, having removed the file, when it is not what its owners published."""
    found = md5(part) if source.md5 else None
    strong = sha256(part) if source.sha256 else None
    size = _size(part)
    wrong = (found, strong) != (source.md5, source.sha256) or (source.size is not None and size != source.size)
    if wrong or not size:
        part.unlink()
        _tag(part).unlink(missing_ok=True)
        doubt = " What is expected is unverified, and may be what is wrong." if source.unverified else ""
        raise SourceError(
            f"{source.url} arrived damaged and was removed: found {size} bytes, md5 {found}, sha256 {strong}; expected"
            f" {source.size or 'more than 0'} bytes, md5 {source.md5}, sha256 {source.sha256}. Try again, or use a"
            f" local copy with --from.{doubt}"
        )


def md5(path: Path) -> str:
    """Return the md5 (hex) of a file: the checksum that these datasets' owners publish, not a defence."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _tag(part: Path) -> Path:
    return part.with_name(f"{part.name}.etag")
