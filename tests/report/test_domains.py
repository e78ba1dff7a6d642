"""The report's table by domain, on the made matrix."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from mobilebench.config.data import OwnData
from mobilebench.errors import UserError
from mobilebench.report.domains import domains_of, domains_table
from mobilebench.report.sections import build, section

if TYPE_CHECKING:
    from mobilebench.report import ReportInputs


def test_every_model_has_its_mean_rank_and_result_in_each_domain(inputs: ReportInputs) -> None:
    given = replace(inputs, domains={"digits": "handwriting", "toy_shapes": "generated", "toy_textures": "generated"})
    table = domains_table(given)
    heads = (
        "handwriting (n=1): rank",
        "handwriting (n=1): Top-1, %",
        "generated (n=2): rank",
        "generated (n=2): Top-1, %",
    )
    assert table.columns == ("model", *heads)
    assert [row[0].text for row in table.rows] == [row.model for row in inputs.scores.rows]
    mean = inputs.matrix.mean
    places = (mean[None] > mean[:, None]).sum(axis=1) + 1  # no two are equal
    for row in table.rows:
        i = inputs.matrix.models.index(row[0].text)
        expected = [places[i, 0], mean[i, 0], places[i, 1:].mean(), mean[i, 1:].mean()]
        np.testing.assert_allclose([field.value for field in row[1:]], expected)
        assert [field.strong for field in row[1:3]] == [places[i, 0] == 1] * 2
    assert (
        "handwriting: digits; generated: toy_shapes, toy_textures. Each result is the mean of 2 seeds." in table.caption
    )


def test_it_is_a_section_where_there_are_two_domains_or_more(inputs: ReportInputs) -> None:
    two = replace(inputs, domains={"digits": "handwriting", "toy_shapes": "generated"})
    assert [s.title for s in build(two) if s.name == "domains"] == ["Results by domain"]
    assert "Of no known domain, and left out: toy_textures." in domains_table(two).caption
    one = replace(inputs, domains={"toy_shapes": "generated", "toy_textures": "generated"})
    assert not [s for s in build(one) if s.name == "domains"]
    assert "fewer than two domains" in section("domains", one).words[0]
    with pytest.raises(UserError, match="fewer than two domains"):
        domains_table(inputs)


def test_domains_are_those_of_the_specs_and_of_own_data() -> None:
    own = {"scans": OwnData(folder="scans", domain="medical"), "plain": OwnData(folder="plain")}
    found = domains_of(["digits", "scans", "plain", "of_somebody_else"], own)
    assert found == {"digits": "handwriting", "scans": "medical"}
