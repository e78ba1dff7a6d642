"""A static site of leaderboards: one page, and each suite's data as CSV and JSON beside it."""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mobilebench.analysis.scored_folder import read_scored
from mobilebench.config.suite import parse_suite, preset_text, presets
from mobilebench.errors import UserError
from mobilebench.report.inputs import ReportInputs, RunRef
from mobilebench.report.page import render
from mobilebench.report.published import published_inputs
from mobilebench.report.standings import rankings_of, standings, standings_frame
from mobilebench.studies import STUDIES, load_study
from mobilebench.system.disk import disk_errors
from mobilebench.system.files import read_text, write_csv, write_text
from mobilebench.system.json_values import plain_value
from mobilebench.system.words import counted

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

    from mobilebench.report.table import Table
    from mobilebench.scoring.ranking import Ranking
    from mobilebench.studies.study import PublishedStudy

MARKER = "site.json"  # says that a folder is a site, and lists what is in it
DATA = "data"
_MADE_BY = "mobilebench site"
_ANCHORS = ("submit", "checked", "note")  # what the page's other ids are
_DATA_FILE = re.compile(r"[a-z0-9_]+\.(csv|json)")


@dataclass(frozen=True, eq=False)
class SiteSuite:
    """One leaderboard of a site."""

    id: str
    """Its id on the page, and the name of its files."""
    title: str
    """What the page calls it."""
    inputs: ReportInputs
    """What it shows."""
    rankings: tuple[Ranking, ...]
    """The ranking of each dataset, where there are no xScores."""
    scored: str
    """When it was scored, ISO 8601 in UTC; "" for numbers as published."""
    files: str
    """How many of its cells have their result files among what was read, in words; "" for numbers as published."""
    preset: str
    """The packaged suite that a new model is trained under to stand beside these; "" where that is none."""
    study: str
    """The published study that the numbers are of; "" for measured ones."""

    @property
    def tables(self) -> tuple[Table, ...]:
        """Its standings, names beginning with its id."""
        return standings(self.inputs, self.rankings, self.id)

    @property
    def document(self) -> dict[str, Any]:
        """What its JSON file holds; the keys of `mobilebench leaderboard --json` (docs/cli-json.md) and some more."""
        table, matrix = self.inputs.scores, self.inputs.matrix
        runs = {key: run.run_id for key, run in self.inputs.runs.items()}
        document: dict[str, Any] = {
            "id": self.id,
            "title": self.title,
            "source": self.inputs.source,
            "experiment": self.inputs.experiment if self.scored else None,
            "protocol": self.inputs.protocol_hash if self.scored else None,
            "scored": self.scored or None,
            "metrics": dict(zip(matrix.datasets, matrix.metrics, strict=True)),
            "notes": table.notes,
            "lam": table.lam,
            "anchors": table.anchors_name,
            "level": table.level,
            "interval_over": table.interval_over,
            "models": table.to_frame(),
            "cells": matrix.to_frame(runs),
            "costs": list(self.inputs.costs or ()),
        }
        if self.rankings:
            document["rankings"] = list(self.rankings)
        plain: dict[str, Any] = plain_value(document)
        return plain


def suites_of(folders: Iterable[Path], *, published: bool = True) -> tuple[SiteSuite, ...]:
    """Return the leaderboards of these results folders in their order, then those of the published studies.

    A study without an xScore has no leaderboard here: there is no scale on which it sets its models. Raises
    UserError for a folder that `read_scored` refuses, and where there is nothing to show.
    """
    found: list[SiteSuite] = []
    for folder in folders:
        found.append(_of_folder(folder, [suite.id for suite in found]))
    if published:
        found += [_of_study(study) for study in map(load_study, STUDIES) if study.lam is not None]
    if not found:
        raise UserError("nothing to show: give a results folder, or leave --no-published out")
    return tuple(found)


def _of_folder(folder: Path, taken: list[str]) -> SiteSuite:
    read, origin, table = read_scored(folder)
    name, number = _free(origin.experiment, {*taken, *STUDIES, *_ANCHORS})
    cells = len(read.run_ids)
    inputs = ReportInputs(
        matrix=read.matrix,
        scores=table,
        suite=origin.experiment,
        experiment=origin.experiment,
        protocol_hash=origin.protocol,
        protocol={},
        runs={key: RunRef(run_id) for key, run_id in read.run_ids.items()},
        costs=read.costs or None,
        pretrained=read.pretrained,
        source=f"Measured: experiment {origin.experiment!r}, protocol {origin.protocol}, scored {origin.date}.",
    )
    return SiteSuite(
        id=name,
        title=origin.experiment + (f" ({number})" if number > 1 else ""),
        inputs=inputs,
        rankings=rankings_of(inputs),
        scored=origin.date,
        files=f"{len(read.records)} of {counted(cells, 'scored run')}",
        preset=_preset(origin.experiment, origin.protocol),
        study="",
    )


def _free(experiment: str, taken: Collection[str]) -> tuple[str, int]:
    """Return an id for a suite that is not taken yet, and which one of its experiment's name it is, 1 for the first."""
    base = re.sub(r"[^a-z0-9]+", "_", experiment.lower()).strip("_") or "suite"
    numbered = ((base if number == 1 else f"{base}_{number}", number) for number in itertools.count(1))
    return next((name, number) for name, number in numbered if name not in taken)


def _of_study(study: PublishedStudy) -> SiteSuite:
    inputs = published_inputs(study)
    title = f"{study.matrix_name}, {study.citation}"
    return SiteSuite(
        id=study.id, title=title, inputs=inputs, rankings=rankings_of(inputs), scored="", files="",
        preset=study.suite, study=study.id,
    )  # fmt: skip


def _preset(experiment: str, protocol: str) -> str:
    """Return the packaged suite of that experiment and protocol; "" where there is none."""
    for name in presets():
        suite = parse_suite(preset_text(name), name)
        if (suite.experiment, suite.protocol.hash) == (experiment, protocol):
            return name
    return ""


def write_site(out: Path, suites: tuple[SiteSuite, ...]) -> tuple[Path, ...]:
    """Write the site and return its paths, the page first.

    Each file is written beside and renamed. Data of suites that an earlier site in the folder had and this one does not
    are removed. Raises UserError for a folder that holds something else.
    """
    before = _files_of_earlier_site(out)
    documents = [suite.document for suite in suites]
    page = render("site.html.j2", ("tables.js", "site.js"), suites=suites)
    names = {f"{suite.id}.{ending}" for suite in suites for ending in ("csv", "json")}
    listed = {"made_by": _MADE_BY, "suites": [_listed(suite) for suite in suites]}
    with disk_errors(out):
        # First, with all that may be here from now on: killed halfway, the folder is still known as a site.
        write_text(out / MARKER, json.dumps(listed | {"files": sorted(before | names)}, indent=1) + "\n")
        data = [
            path
            for suite, document in zip(suites, documents, strict=True)
            for path in (
                write_csv(out / DATA / f"{suite.id}.csv", standings_frame(suite.inputs)),
                write_text(out / DATA / f"{suite.id}.json", json.dumps(document, indent=1, allow_nan=False) + "\n"),
            )
        ]
        index = write_text(out / "index.html", page)
        for name in before - names:
            (out / DATA / name).unlink(missing_ok=True)
        marker = write_text(out / MARKER, json.dumps(listed | {"files": sorted(names)}, indent=1) + "\n")
    return (index, *data, marker)


def _listed(suite: SiteSuite) -> dict[str, str | int]:
    matrix = suite.inputs.matrix
    return {
        "id": suite.id,
        "title": suite.title,
        "models": len(matrix.models),
        "datasets": len(matrix.datasets),
        "scored": suite.scored,
        "csv": f"{DATA}/{suite.id}.csv",
        "json": f"{DATA}/{suite.id}.json",
    }


def _files_of_earlier_site(out: Path) -> set[str]:
    """Return the data files of the site that is there; nothing of a folder that is empty or not there yet.

    Raises UserError for a folder with anything else in it: it is somebody's, and a site would overwrite it.
    """
    if not out.exists():
        return set()
    if not out.is_dir():
        raise UserError(f"{out} is a file; expected a folder for the site. Name another with --out")
    try:
        marker = json.loads(read_text(out / MARKER, "what a site holds, in JSON"))
    except FileNotFoundError:
        marker = None
    except ValueError:
        marker = {}
    if marker is None and not any(out.iterdir()):
        return set()
    if not isinstance(marker, dict) or marker.get("made_by") != _MADE_BY:
        held = ", ".join(sorted(path.name for path in out.iterdir())[:3])
        raise UserError(
            f"{out} holds {held} and is no site of `mobilebench site`, which would overwrite what is there; name "
            "another folder with --out, or empty this one"
        )
    listed = marker.get("files")
    names = listed if isinstance(listed, list) else []
    return {name for name in names if isinstance(name, str) and _DATA_FILE.fullmatch(name)}
