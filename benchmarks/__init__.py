"""Timings, each a script that prints ratios measured in one run; figures kept in RESULTS.md come from these."""
