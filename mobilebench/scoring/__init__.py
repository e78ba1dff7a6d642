"""From the matrix of results to xScore with its uncertainty: pure functions on arrays, no torch, no MLflow."""

from mobilebench.scoring.matrix import Matrix
from mobilebench.scoring.paired import PairedDifference, difference, with_predictions
from mobilebench.scoring.table import ScoreRow, ScoreTable, compute_scores
from mobilebench.scoring.xscore import Anchors, XScore, anchors_from_matrix, xscore

__all__ = [
    "Anchors",
    "Matrix",
    "PairedDifference",
    "ScoreRow",
    "ScoreTable",
    "XScore",
    "anchors_from_matrix",
    "compute_scores",
    "difference",
    "with_predictions",
    "xscore",
]
