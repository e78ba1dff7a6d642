"""Costs come back from a CSV as they were written, and what is no cost is refused."""

from pathlib import Path

import pytest

from mobilebench.errors import UserError
from mobilebench.models.cost.cost_file import read_costs


def test_costs_are_read_back_from_a_csv(tmp_path: Path) -> None:
    path = tmp_path / "cost.csv"
    path.write_text("model,params,macs,latency_ms,threads,cpu\na,10,20,1.5,1,chip\nb,1,2,,,\na,11,20,1.4,4,chip\n")
    first, second = read_costs(path)
    assert (first.params, first.latency_ms, first.latency_note) == (11, 1.4, "4 threads, chip")
    assert second.latency_ms is None
    path.write_text("model,params,macs\na,2.5M,20\n")
    with pytest.raises(UserError, match="whole numbers"):
        read_costs(path)


@pytest.mark.parametrize(("threads", "said"), [("1", "1 thread"), ("4", "4 threads")])
def test_what_a_latency_was_measured_on_counts_threads_as_people_do(tmp_path: Path, threads: str, said: str) -> None:
    (tmp_path / "cost.csv").write_text(f"model,params,macs,latency_ms,threads,cpu\na,1,1,2.5,{threads},x86\n")
    (row,) = read_costs(tmp_path / "cost.csv")
    assert row.latency_note == f"{said}, x86"
