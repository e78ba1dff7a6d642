"""Whether an exported file says what the network says, and how much a quantised one loses."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mobilebench.evaluation.metrics import MetricError
from mobilebench.export.onnx_file import ExportError
from mobilebench.scoring.paired import difference

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mobilebench.evaluation.metrics import Metric
    from mobilebench.evaluation.predictions import Predictions
    from mobilebench.export.quantize import LayerNoise

TOLERANCE = 1e-3  # of the largest logit: some hundred times what the order of float32 sums makes
MAX_DROP = 0.02  # of the range of a metric: two points of top-1


@dataclass(frozen=True)
class Agreement:
    """An exported file beside the network in PyTorch, on the same images."""

    images: int
    """Test images that both were given."""
    largest_difference: float
    """Between two logits."""
    largest_logit: float
    """In size, of PyTorch."""
    same_label: float
    """Share of the images that both say the same of."""
    metric: str
    """Id of the metric of the dataset."""
    torch: float | None
    """Its value in PyTorch; None where it is undefined for these images."""
    file: float | None
    """Its value of the file."""

    @property
    def relative(self) -> float:
        """The largest difference as a share of the largest logit."""
        return self.largest_difference / self.largest_logit if self.largest_logit else self.largest_difference


def agreement(torch: Predictions, file: Predictions, metric: Metric) -> Agreement:
    """Compare what a file says with what PyTorch says, of the same images."""
    same = torch.predicted == file.predicted
    return Agreement(
        images=len(torch),
        largest_difference=float(np.abs(torch.logits - file.logits).max()),
        largest_logit=float(np.abs(torch.logits).max()),
        same_label=float(same.reshape(len(torch), -1).all(axis=1).mean()),
        metric=metric.id,
        torch=_value(metric, torch),
        file=_value(metric, file),
    )


def raise_unless_equal(found: Agreement, name: str) -> None:
    """Raise ExportError where a file's logits are further from PyTorch's than rounding explains."""
    if not found.relative <= TOLERANCE:
        raise ExportError(
            f"the ONNX file of {name} is not the network: a logit differs by {found.largest_difference:.3g}, the "
            f"largest one is {found.largest_logit:.3g}, on {found.images} test images; allowed is {TOLERANCE:g} of it. "
            "Nothing was written. What the network computes may depend on something that the exporter fixed, as random "
            "numbers or the number of images; or try other versions of torch and onnxscript"
        )


@dataclass(frozen=True)
class Drop:
    """A quantised file beside the one of float32, paired over the test images: quantised minus float32."""

    metric: str
    """Id of the metric."""
    images: int
    """Test images that both were given."""
    float32: float
    """Value of the file of float32."""
    quantised: float
    """Value of the quantised file."""
    low: float | None
    """Lower end of the 95 % interval of the difference; None where the metric's noise cannot be had."""
    high: float | None
    """Upper end."""
    same_label: float
    """Share of the images that both say the same of."""

    @property
    def difference(self) -> float:
        """Quantised minus float32, in the unit of the metric."""
        return self.quantised - self.float32


def drop(float32: Predictions, quantised: Predictions, metric: Metric) -> Drop:
    """Compare a quantised file with the one of float32. Raises MetricError where the metric is undefined."""
    same = (float32.predicted == quantised.predicted).reshape(len(float32), -1).all(axis=1)
    try:
        found = difference([float32], [quantised], metric)
        a, b, low, high = found.a, found.b, found.low, found.high
    except MetricError:  # without a block of images it is undefined; of all it may be
        a, b, low, high = metric.value(float32), metric.value(quantised), None, None
    return Drop(metric.id, len(float32), a, b, low, high, float(same.mean()))


def raise_if_far_off(found: Drop, metric: Metric, most: float, name: str, layers: Sequence[LayerNoise] = ()) -> None:
    """Raise ExportError where a quantised file is worse by more than `most`, surely.

    most: share of the metric's range, or of its value where the range is infinite. It is sure where the whole interval
    lies beyond it, and without an interval where the difference does. layers: the worst first, to be named.
    """
    low, high = metric.bounds
    range_ = high - low
    allowed = most * (range_ if math.isfinite(range_) else abs(found.float32))
    ends = [end for end in (found.low, found.high) if end is not None] or [found.difference]
    worse = min(-end if metric.higher_is_better else end for end in ends)
    if worse > allowed:
        interval = "" if len(ends) < 2 else f" (95 % interval {ends[0]:+.4f} to {ends[1]:+.4f})"
        raise ExportError(
            f"the int8 file of {name} is far off: {metric.id} {metric.show(found.quantised)} instead of "
            f"{metric.show(found.float32)} on {found.images} test images, a difference of "
            f"{found.difference:+.4f}{interval}; allowed is {allowed:g}. Nothing was written. "
            f"{_advice(layers)}, --calibration takes more images, and --max-drop allows more"
        )


def _advice(layers: Sequence[LayerNoise]) -> str:
    if not layers:
        return "--layers says which layers hurt"
    worst = ", ".join(f"{noise.layer} ({noise.snr_db:.1f} dB)" for noise in layers[:3])
    return f"Alone, these layers hurt most: {worst}"


def _value(metric: Metric, predictions: Predictions) -> float | None:
    try:
        return metric.value(predictions)
    except MetricError:
        return None
