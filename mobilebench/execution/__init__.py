"""Carrying a grid out: one cell's run, many cells, delivery to the tracking server."""
