"""Optuna behind a few classes; the only importer of it."""
