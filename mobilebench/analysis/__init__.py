"""Questions asked of finished runs: scores of an experiment, comparisons, reproductions."""
