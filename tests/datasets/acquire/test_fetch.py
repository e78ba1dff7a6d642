"""Downloads against a real server that drops connections, lies about lengths and ignores ranges."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from urllib3.connection import HTTPConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from mobilebench.config.recipe import DataPolicy
from mobilebench.datasets import DATASETS, DataError
from mobilebench.datasets.acquire.fetch import BLOCK, download
from mobilebench.datasets.acquire.official_files import fetch
from mobilebench.datasets.packing.prepare import prepare
from mobilebench.datasets.spec import Source

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BODY = bytes(range(256)) * 4000
MD5 = hashlib.md5(BODY).hexdigest()


@pytest.fixture
def get(server: Any, tmp_path: Path) -> Callable[..., Path]:
    server.files["file.bin"] = BODY

    def run(*tricks: str, md5: str | None = MD5) -> Path:
        server.tricks["file.bin"] = list(tricks)
        return download(Source(f"{server.url}/file.bin", "file.bin", md5=md5), tmp_path, pause=0)

    return run


def left(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in tmp_path.iterdir())


@pytest.mark.parametrize(
    "tricks",
    [
        [],
        ["drop"],
        ["drop", "drop", "drop"],
        ["500", "503", "drop", "429"],
        ["too long"],
        ["drop", "ignore range"],
        ["drop", "wrong range"],
        ["no length"],
    ],
    ids="-".join,
)
def test_the_file_arrives_whole(tricks: list[str], get: Callable[..., Path], tmp_path: Path) -> None:
    assert get(*tricks).read_bytes() == BODY
    assert left(tmp_path) == ["file.bin"]


def test_a_broken_download_is_taken_up_where_it_broke(get: Callable[..., Path], server: Any) -> None:
    get("drop")
    (_, first), (_, second) = server.asked
    assert first is None
    assert len(BODY) // 2 - BLOCK < int(second.removeprefix("bytes=").removesuffix("-")) <= len(BODY) // 2


def test_a_download_killed_earlier_is_taken_up(get: Callable[..., Path], server: Any, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(BODY[:1000])
    assert get().read_bytes() == BODY
    assert server.asked == [("file.bin", "bytes=1000-")]


def test_a_part_that_is_already_whole_needs_no_more(get: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(BODY)
    assert get().read_bytes() == BODY


def test_a_part_longer_than_the_file_is_thrown_away(get: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(BODY + b"more")
    assert get().read_bytes() == BODY


def test_a_file_that_changed_meanwhile_is_not_glued_together(
    get: Callable[..., Path], server: Any, tmp_path: Path
) -> None:
    (tmp_path / "file.bin.part").write_bytes(b"x" * 5000)
    (tmp_path / "file.bin.part.etag").write_text('"an older one"')
    assert get(md5=None).read_bytes() == BODY


def test_a_file_that_changes_while_it_is_resumed_starts_over(
    get: Callable[..., Path], server: Any, tmp_path: Path
) -> None:
    with pytest.raises(DataError):
        get("drop", *["503"] * 6)
    server.files["file.bin"], server.etag = BODY[::-1], '"two"'
    assert get(md5=None).read_bytes() == BODY[::-1]


def test_a_corrupt_download_is_named_and_removed(get: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"file\.bin arrived damaged and was removed.*md5"):
        get(md5="0" * 32)
    assert left(tmp_path) == []


def test_a_length_that_is_too_short_shows_in_the_checksum(get: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="damaged"):
        get("too short")
    assert left(tmp_path) == []


@pytest.mark.parametrize("status", ["404", "403", "410"])
def test_a_missing_file_is_not_asked_for_again(status: str, get: Callable[..., Path], server: Any) -> None:
    with pytest.raises(DataError, match=rf"{status}.*--from"):
        get(status)
    assert len(server.asked) == 1


def test_a_server_that_keeps_failing_is_given_up_and_the_part_kept(
    get: Callable[..., Path], server: Any, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"6 tries in a row.*503.*taken up from there"):
        get("drop", *["503"] * 20)
    part = (tmp_path / "file.bin.part").read_bytes()
    assert len(part) > len(BODY) // 2 - BLOCK
    assert BODY.startswith(part)
    assert len(server.asked) == 6
    assert get().read_bytes() == BODY


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("401", "log in"),
        ("403", "terms"),
        ("404", "may have moved"),
        ("410", "taken away"),
        ("418", "no answer a file"),
    ],
)
def test_each_refusal_has_its_own_advice(status: str, said: str, get: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match=rf"answered {status} .*{said}") as error:
        get(status)
    hints = {"log in", "terms", "may have moved", "taken away", "no answer a file"}
    assert [hint for hint in hints if hint in str(error.value)] == [said]


def test_no_server_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr("time.sleep", waited.append)
    with pytest.raises(DataError, match=r"127\.0\.0\.1 is not reached: the connection was refused; tried 127\.0\.0\.1"):
        download(Source("http://127.0.0.1:9/file.bin", "file.bin"), tmp_path)
    assert waited == [1.0]


@pytest.mark.parametrize(
    ("raised", "said", "waits"),
    [
        (lambda pool: ConnectTimeoutError(pool, "slow"), r"no answer within 5 s; tried (127\.0\.0\.1|::1)", 0),
        (lambda pool: NameResolutionError("localhost", pool, OSError("no name")), "its name has no address", 1),
    ],
)
def test_a_server_that_is_not_reached_is_not_waited_for(
    raised: Callable[[object], Exception], said: str, waits: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr("time.sleep", waited.append)

    def connect(self: HTTPConnection) -> object:
        raise raised(self)

    monkeypatch.setattr(HTTPConnection, "_new_conn", connect)
    with pytest.raises(DataError, match=said):
        download(Source("http://localhost/file.bin", "file.bin"), tmp_path)
    assert len(waited) == waits


def test_a_server_lost_on_the_way_is_waited_for(
    get: Callable[..., Path], server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, tries = HTTPConnection._new_conn, [0]

    def connect(self: HTTPConnection) -> object:
        tries[0] += 1
        if 1 < tries[0] < 5:
            raise NewConnectionError(self, "refused")
        return real(self)

    monkeypatch.setattr(HTTPConnection, "_new_conn", connect)
    assert get("drop").read_bytes() == BODY
    assert tries == [5]
    assert len(server.asked) == 2


def test_a_fault_of_this_machine_gets_no_advice_about_the_source(
    serve_official: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = serve_official("ham10k")
    monkeypatch.setattr("shutil.disk_usage", lambda _: _Disk(10, 9, 1))
    with pytest.raises(DataError, match="GB free") as error:
        fetch(spec, tmp_path, pause=0)
    assert "By hand" not in str(error.value)


class _Disk(NamedTuple):
    total: int
    used: int
    free: int


def test_a_full_disk_is_seen_before(get: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: _Disk(10, 9, 1))
    with pytest.raises(DataError, match="GB free"):
        get()
    assert left(tmp_path) == []


def test_an_archive_that_unpacks_badly_is_removed_and_nothing_half_stays(
    serve_official: Callable[[str], Any], server: Any, tmp_path: Path
) -> None:
    server_spec = serve_official("miniplaces")
    server.files["data.tar.gz"] = b"<html>please log in</html>"
    with pytest.raises(DataError, match=r"data\.tar\.gz cannot be unpacked"):
        fetch(server_spec, tmp_path, pause=0)
    home = tmp_path / "miniplaces"
    assert sorted(path.name for path in home.iterdir()) == [".lock", "archives"]
    assert not (home / "archives" / "data.tar.gz").exists()


def test_a_failed_fetch_tells_the_way_by_hand(
    serve_official: Callable[[str], Any], server: Any, tmp_path: Path
) -> None:
    spec = serve_official("ham10k")
    server.files.clear()
    with pytest.raises(DataError, match=r"404.*\nBy hand: .*accept the terms"):
        fetch(spec, tmp_path, pause=0)


def test_what_is_got_by_hand_only_is_not_tried(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"neu cannot be fetched by a program\. By hand: Get NEU-CLS"):
        fetch(DATASETS["neu"], tmp_path, pause=0)
    assert not (tmp_path / "neu" / "files").exists()


@pytest.mark.parametrize("unverified", [True, False])
def test_damage_may_be_what_is_expected_where_that_is_unverified(unverified: bool, server: Any, tmp_path: Path) -> None:
    server.files["a.zip"] = BODY
    with pytest.raises(DataError, match="arrived damaged") as error:
        download(Source(f"{server.url}/a.zip", "a.zip", md5="0" * 32, unverified=unverified), tmp_path, pause=0)
    assert ("What is expected is unverified" in str(error.value)) == unverified


def test_variants_share_one_download(serve_official: Callable[[str], Any], server: Any, tmp_path: Path) -> None:
    for dataset_id in ("ham10k", "ham10k_grouped", "ham10k_released"):
        serve_official(dataset_id)
        prepare(
            dataset_id,
            policy=DataPolicy(),
            raw_dir=tmp_path / "raw",
            out_dir=tmp_path / "packed",
            workers=1,
            incomplete_ok=True,
        )
    assert len(server.asked) == len(DATASETS["ham10k"].sources)
