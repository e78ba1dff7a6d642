"""One picture across the published studies: does ImageNet accuracy predict their results?"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from mobilebench.report.page import render
from mobilebench.report.prediction import (
    RULE,
    Row,
    beyond_table,
    forest,
    in_order,
    prediction_table,
    rivals_table,
)
from mobilebench.report.sections import Section
from mobilebench.report.write import write_sections
from mobilebench.studies.prediction import domain_of, predictions
from mobilebench.system.files import write_text
from mobilebench.system.words import counted, p_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mobilebench.report.table import Table
    from mobilebench.studies.prediction import StudyPrediction


def across_studies(found: Sequence[StudyPrediction]) -> Section:
    """Return the section on all studies: a row for each study and dataset, sorted by domain."""
    rows = in_order([row for study in found for row in _rows(study)])
    given = Counter(row.verdict for row in rows if row.found)
    counts = "; ".join(f"{verdict}: {count}" for verdict, count in given.most_common())
    caption = (
        f"Does ImageNet accuracy predict? {counted(len(rows), 'row')}, one a study and dataset; numbers as printed in "
        "the studies, nothing measured here. r with its 95% interval over models (Fisher), n in the table. "
    )
    words = (
        f"{RULE}. Of {sum(given.values())} rows with an interval, {counts}.",
        *(f"{study.study}: {study.note}." for study in found),
        *(_others(study) for study in found if study.others),
    )
    table = prediction_table(
        "prediction",
        rows,
        f"{caption}Slope: by least squares, in points for a point, both of 0 to 100. Noise: share of the "
        "variance between models that comes from test images and from training (1 point is assumed of single runs).",
        several=True,
    )
    nested = tuple(
        beyond_table(f"beyond_{study.study}", study.others, study.predictor) for study in found if study.others
    )
    return Section(
        "prediction",
        "Does ImageNet predict?",
        words,
        (forest(rows, caption.strip()),),
        (table, *nested, *_rivals(found)),
    )


def write_across_studies(folder: str | Path) -> tuple[Path, ...]:
    """Write report.md, figures and tables (CSV, LaTeX) on all published studies and return the paths."""
    out, section = Path(folder), across_studies(predictions())
    page = write_text(out / "report.md", render("studies.md.j2", sections=(section,)))
    return (page, *write_sections(out, (section,)))


def _rows(study: StudyPrediction) -> list[Row]:
    measured = [Row(domain_of(a.dataset), study.study, a.dataset, study.predictor, a) for a in study.found]
    printed = [Row(domain_of(name), study.study, name, study.predictor, None, r) for name, r in study.printed.items()]
    return measured + printed


def _rivals(found: Sequence[StudyPrediction]) -> tuple[Table, Table]:
    """Return the tables on rival explanations: size and classes of the datasets, parameters of the models."""
    rows = [
        Row(domain_of(each.dataset), study.study, each.dataset, "log10 parameters", each)
        for study in found
        for each in study.by_params
    ]
    caption = (
        "Rival explanation: the same with the logarithm of the models' parameters in place of ImageNet accuracy; "
        "slope: points for ten times as many."
    )
    return (
        rivals_table([(study.study, each) for study in found for each in study.rivals]),
        prediction_table("prediction_params", in_order(rows), caption, several=True),
    )


def _others(study: StudyPrediction) -> str:
    assert study.others is not None, "the caller asks of studies that have it"
    says = "explain" if study.others.explains else "do not surely explain"
    return (
        f"{study.study}: the other datasets {says} more than {study.predictor} does (mean partial correlation "
        f"{study.others.partial:+.2f}, permutation p {p_words(study.others.p)}, n = {len(study.others.models)} models, "
        f"{len(study.others.rows)} datasets)."
    )
