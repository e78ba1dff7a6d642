"""The README of an exported network: what it is, what it reaches and on what evidence, how to load it."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import numpy as np

from mobilebench.config.pixels import shown
from mobilebench.evaluation.metrics import get_metric
from mobilebench.export.forms import ImageForm
from mobilebench.models.cost.counts import deployed_cost
from mobilebench.scoring.matrix import Matrix
from mobilebench.scoring.paired import with_predictions
from mobilebench.scoring.ranking import value_intervals

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mobilebench.datasets.packing.packed import Packed
    from mobilebench.evaluation.predictions import Predictions
    from mobilebench.export.subject import Subject
    from mobilebench.runs.records import Record

_UNSAFE = "\r\n`|"  # what would end a line, a cell or a piece of code of the page


def card(subject: Subject, packed: Packed | None, predictions: Predictions | None, *, is_timms: bool) -> str:
    """Return the text of README.md.

    packed: its data, None where it is not here; predictions: on test, None where the run kept none.
    """
    parts = (
        _front(subject, is_timms=is_timms),
        f"# {subject.made.model} on {subject.made.dataset}\n",
        _result(subject, predictions),
        _use(subject, is_timms=is_timms),
        _data(subject, packed),
        _training(subject),
        _cost(subject),
    )
    return "\n".join(parts)


def _front(subject: Subject, *, is_timms: bool) -> str:
    """Return the head that a hub reads; values are JSON, which YAML takes."""
    made, record = subject.made, subject.record
    said: dict[str, object] = {
        "library_name": "timm" if is_timms else "mobilebench",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "mobilebench", *(["timm"] if is_timms else [])],
    }
    if record is not None and record.value is not None:
        dataset = {"name": made.dataset, "type": made.dataset, "split": "test"}
        metric = {"type": made.metric, "value": record.value}
        result = {"task": {"type": "image-classification"}, "dataset": dataset, "metrics": [metric]}
        said["model-index"] = [{"name": subject.name, "results": [result]}]
    lines = (f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in said.items())
    return "\n".join(("---", *lines, "---", ""))


def _result(subject: Subject, predictions: Predictions | None) -> str:
    record, metric = subject.record, get_metric(subject.made.metric)
    if record is None or record.value is None:
        return "The folder that it was exported from does not say what it reaches.\n"
    unit = " %" if metric.percent else ""
    value = f"{metric.title} {metric.show(record.value)}{unit}"
    images = f"{record.n_test} test images" if record.n_test else "the test images"
    interval = "" if predictions is None else _interval(record, predictions)
    chosen = " The epoch was chosen on these images, so it is too good." if record.chosen_on == "test" else ""
    others = [
        f"| {get_metric(name).title} | {get_metric(name).show(number)}{' %' if get_metric(name).percent else ''} |"
        for name, number in record.metrics.items()
        if name != metric.id and _is_known(name)
    ]
    table = "\n".join(("", "| also on test | |", "|---|---|", *others, "")) if others else ""
    single = "A single run: what another training would give is not in the interval."
    return f"{value} on {images}{interval}. {single}{chosen}\n{table}"


def _interval(record: Record, predictions: Predictions) -> str:
    """Return the 95 % interval over test images in words, "" where it cannot be had."""
    cell = (record.model, record.dataset, record.seed)
    size = np.array([len(predictions)])
    matrix = Matrix(cell[:1], cell[1:2], cell[2:], np.array([[[record.value]]]), size, (record.metric,))
    found = value_intervals(with_predictions(matrix, {cell: predictions}), record.dataset)
    low, high = found.ends[record.model]
    metric = get_metric(record.metric)
    return "" if math.isnan(low) else f", 95 % interval {metric.show(low)} to {metric.show(high)}"


def _use(subject: Subject, *, is_timms: bool) -> str:
    form = ImageForm(subject.made)
    lines = [
        "## Use\n",
        "```python",
        "import mobilebench as mb",
        "",
        'model = mb.load_model("FOLDER")  # this folder; normalises its input itself',
        "logits = model(pil_image)  # or floats in [0, 1]",
        "print(model.classes[logits.argmax(1)])",
        "```\n",
    ]
    if is_timms:
        lines += [
            "or by timm alone, which takes normalised images:\n",
            "```python",
            "import timm",
            "",
            'model = timm.create_model("local-dir:FOLDER", pretrained=True).eval()',
            "```\n",
        ]
    lines.append(
        f"Without mobilebench, the network takes {form.words}, with mean {list(subject.made.mean)} and std "
        f"{list(subject.made.std)}. An image comes {form.resize}.\n"
    )
    return "\n".join(lines)


def _data(subject: Subject, packed: Packed | None) -> str:
    made = subject.made
    classes = ", ".join(_plain(name) for name in made.classes[:20]) + (", ..." if len(made.classes) > 20 else "")
    lines = ["## Data\n", f"{made.dataset}, {len(made.classes)} classes: {classes}.\n"]
    if packed is None:
        return "\n".join(lines)
    said = packed.meta.provenance
    counts = ", ".join(f"{count} {split}" for split, count in packed.meta.counts.items() if count)
    lines.append(f"{_plain(said.get('title', made.dataset))}: {counts} images.\n")
    titles = {"licence": "Licence of the data", "citation": "Citation", "homepage": "Homepage"}
    lines += [f"- {title}: {_plain(said[name])}" for name, title in titles.items() if said.get(name)]
    lines.append("\nThe licence of the weights is yours to name; that of the data may bind it.\n")
    return "\n".join(lines)


def _training(subject: Subject) -> str:
    record, made = subject.record, subject.made
    if record is None:
        return ""
    facts: Mapping[str, object] = {
        "network": made.model_id or made.model,
        "run": record.run_id or "not delivered to a tracking store",
        "protocol": record.protocol_hash,
        "recipe": record.recipe_hash,
        "seed": record.seed,
        "started from": record.pretrained_on or ("pretrained weights" if record.weights else "random weights"),
        "digest of the data": record.data_digest[:12],
        "mobilebench's commit": (record.git_commit or "")[:12],
        "seconds of training": "" if record.train_seconds is None else round(record.train_seconds),
    }
    rows = (f"| {name} | {_plain(str(value))} |" for name, value in facts.items() if value != "")
    return "\n".join(("## Training\n", "| | |", "|---|---|", *rows, ""))


def _cost(subject: Subject) -> str:
    record, made = subject.record, subject.made
    if record is None or record.params is None or record.macs is None:
        return ""
    rows = [f"| as trained | {record.params:,} | {record.macs:,} |"]
    folded = deployed_cost(subject.network, made.size)
    if folded is not None:
        rows.append(f"| folded, as an ONNX export is | {folded.params:,} | {folded.macs:,} |")
    head = (f"| at {shown(made.resolution)} px | parameters | multiply-adds |", "|---|---|---|")
    return "\n".join(("## Cost\n", *head, *rows, ""))


def _is_known(name: str) -> bool:
    from mobilebench.evaluation.metrics import METRICS

    return name in METRICS


def _plain(text: object) -> str:
    """Return a text of someone else's as one line that cannot change the page."""
    return "".join(" " if mark in _UNSAFE else mark for mark in str(text)).strip()
