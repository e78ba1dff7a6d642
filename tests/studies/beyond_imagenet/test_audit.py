"""The audit of the paper names what was found by hand, and nothing that is not so."""

import pytest

from mobilebench.scoring import xscore
from mobilebench.studies.beyond_imagenet import audit
from mobilebench.studies.beyond_imagenet import published as reference

FOUND = {finding.where: finding for finding in audit.disagreements()}


@pytest.mark.parametrize(
    ("where", "printed", "found"),
    [
        ("Table 4, mobilevit, xScore", "0.796", "0.735"),
        ("Table 4, convmixer, xScore", "0.853", "0.859"),
        ("Section 4.2, classes of the four datasets", "327", "237"),
        ("Table 1, mobilenet, MACs", "253 M", "313 M"),
        ("Table 1, mobilevit, params", "2.82 M", "4.69 M"),
        ("Table 4, tinynet, four-dataset xScore", "0.492", "0.293"),
        ("Section 4.1, tier of tinynet", "xScore 0.50 to 0.60", "0.491"),
    ],
)
def test_known_disagreements_are_named(where: str, printed: str, found: str) -> None:
    assert (FOUND[where].printed, FOUND[where].found) == (printed, found)


def test_table_4_disagrees_for_two_models_only() -> None:
    models = {where.split(", ")[1] for where in FOUND if where.startswith("Table 4") and "four" not in where}
    assert models == {"mobilevit", "convmixer"}


def test_the_predicted_column_is_a_regression_but_for_fbnet() -> None:
    words = FOUND["Table 4, four-dataset column as a whole"].found
    assert "within 0.007 for 10 of 11 models (fbnet differs by 0.054; the number printed is its G)" in words


def test_what_if_tinynet_had_been_trained_on_dogs_like_the_others() -> None:
    found = [(round(row.xscore, 3), row.rank) for row in audit.what_if()]
    assert found == [(0.491, 10), (0.606, 7), (0.628, 7), (0.639, 6)]


def test_a_changed_cell_changes_nothing_else() -> None:
    table = reference.matrix()
    changed = audit.with_cell(table, "tinynet", "dogs", 0.5)
    assert (changed.values != table.values).sum() == 1
    assert table.mean[table.models.index("tinynet"), table.datasets.index("dogs")] == pytest.approx(0.2959)


def test_the_caveat_that_efficientnet_leads_without_its_two_larger_cells_is_true() -> None:
    rest = reference.matrix().select(datasets=["cifar10", "ham10k", "dogs", "miniplaces", "indoor67"])
    scores = dict(zip(rest.models, xscore(rest.mean).score, strict=True))
    assert scores["efficientnet"] == pytest.approx(0.953, abs=0.001)
    assert max(scores, key=scores.__getitem__) == "efficientnet"


def test_the_disagreements_as_a_frame() -> None:
    frame = audit.to_frame()
    assert frame.columns.tolist() == ["where", "printed", "found", "basis"]
    assert frame.set_index("where").loc["Table 4, mobilevit, xScore", "found"] == "0.735"
    assert len(frame) == len(audit.disagreements())
