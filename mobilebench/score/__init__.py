"""From the accuracy matrix to xScore with its uncertainty: pure functions on arrays, no torch, no MLflow."""

from mobilebench.score.matrix import Matrix
from mobilebench.score.table import ScoreRow, ScoreTable, compute_scores
from mobilebench.score.xscore import Anchors, XScore, anchors_from_matrix, xscore

__all__ = ["Anchors", "Matrix", "ScoreRow", "ScoreTable", "XScore", "anchors_from_matrix", "compute_scores", "xscore"]
