"""The tables that some distributions label their images by: every line of them is checked."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from mobilebench.datasets import DataError
from mobilebench.datasets.acquire.tables import check_present, rows, whole

if TYPE_CHECKING:
    from pathlib import Path


def test_rows_are_the_lines_that_hold_something(tmp_path: Path) -> None:
    table = tmp_path / "train.csv"
    table.write_bytes('\ufeffid, label,more\r\na , 1,"x,\ny"\r\n\r\nb,-1,z\r\n'.encode())
    found = rows(table, ("id", "label"), key="id")
    assert [(row.number, dict(row.cells)) for row in found] == [
        (3, {"id": "a", "label": "1"}),
        (5, {"id": "b", "label": "-1"}),
    ]
    assert [whole(table, row, "label", range(-1, 2)) for row in found] == [1, -1]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "0 lines and columns none; expected columns id, label"),
        (b"id,label\n", "0 lines and columns id, label"),
        (b"id,grade\na,1\n", "1 lines and columns id, grade; expected columns id, label"),
        (b"id,label\na,1\nb\n", "line 3: found 1 cells, expected 2"),
        (b"id,label\na,1\nb,1\na,0\n", "line 4: id 'a' is in line 2 too"),
        (b'id,label\n"a,1\n', "cannot be read as a CSV (unexpected end of data)"),
        (b"id,label\n\xff,1\n", "cannot be read as a CSV ('utf-8' codec can't decode"),
    ],
)
def test_what_is_no_such_table_is_refused(content: bytes, said: str, tmp_path: Path) -> None:
    table = tmp_path / "train.csv"
    table.write_bytes(content)
    with pytest.raises(DataError, match=re.escape(said)):
        rows(table, ("id", "label"), key="id")


def test_a_table_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train\.csv cannot be read as a CSV .*No such file.*fetch it again"):
        rows(tmp_path / "train.csv", ("id",))


@pytest.mark.parametrize("cell", ["", "x", "1.0", "3", "-1", "--1", "²", "1" * 30])
def test_a_cell_that_is_no_allowed_number_is_named_with_its_line(cell: str, tmp_path: Path) -> None:
    table = tmp_path / "train.csv"
    table.write_text(f"id,label\na,{cell}\n", encoding="utf-8")
    (row,) = rows(table, ("label",))
    with pytest.raises(DataError, match=r"train\.csv, line 2: label is .*expected a whole number from 0 to 2"):
        whole(table, row, "label", range(3))


def test_images_that_are_not_there_are_counted_and_one_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    check_present(tmp_path / "train.csv", tmp_path, ["a.jpg", "a.jpg"])
    with pytest.raises(DataError, match=r"lacks 2 of the 3 images that train\.csv lists, for example 'b\.jpg'"):
        check_present(tmp_path / "train.csv", tmp_path, ["a.jpg", "b.jpg", "b.jpg", "../a.jpg"])
    with pytest.raises(DataError, match="lacks 1 of the 1 images"):
        check_present(tmp_path / "train.csv", tmp_path / "absent", ["a.jpg"])
