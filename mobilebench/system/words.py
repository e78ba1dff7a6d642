"""Words around numbers."""

from __future__ import annotations


def counted(count: int, noun: str) -> str:
    """Return a count with its noun, in the singular for one: `1 model`, `1,340 images`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def p_words(p: float) -> str:
    """Return a p-value for a sentence: `= 0.032`, `< 0.001`."""
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"
