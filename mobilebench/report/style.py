"""How every figure looks, and one figure's four forms: PNG, PDF, SVG file, and SVG inlined in the page.

Colours are Okabe and Ito's, distinct to colour-blind readers; what matters also differs by marker or label. Inlined
figures take ink and data colours from the page's CSS variables, so that they follow light and dark.
"""

from __future__ import annotations

import functools
import html
import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from contextlib import _GeneratorContextManager

    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

INK, MUTED, LINE = "#1b1c21", "#5f6270", "#d6d8e0"
BLUE, ORANGE, GREEN, PINK = "#0072b2", "#d55e00", "#009e73", "#cc79a7"
_VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    LINE: "--line",
    BLUE: "--blue",
    ORANGE: "--orange",
    GREEN: "--green",
    PINK: "--pink",
}
_MARK = re.compile(r'<use [^>]*?x="([^"]*)" y="([^"]*)"[^>]*/>')
_GROUP = re.compile(r"<g[ >]|</g>")
_RC: dict[Any, Any] = {
    "font.size": 9.0, "axes.titlesize": 9.5, "axes.labelsize": 9.0, "xtick.labelsize": 8.5, "ytick.labelsize": 8.5,
    "legend.fontsize": 8.5, "font.family": "DejaVu Sans", "svg.fonttype": "none", "axes.spines.top": False,
    "axes.spines.right": False, "axes.edgecolor": MUTED, "axes.labelcolor": INK, "text.color": INK,
    "xtick.color": MUTED, "ytick.color": MUTED, "xtick.labelcolor": INK, "ytick.labelcolor": INK, "axes.grid": True,
    "grid.color": LINE, "grid.linewidth": 0.6, "axes.axisbelow": True, "legend.frameon": False,
    "figure.facecolor": "none", "axes.facecolor": "none", "axes.titlelocation": "left",
}  # fmt: skip


@dataclass(frozen=True)
class Picture:
    """A drawn figure: `name` is its file name, `caption` says what is shown, its n and its interval."""

    name: str
    caption: str
    figure: Figure
    notes: tuple[tuple[Artist, tuple[str, ...]], ...] = ()
    """What the page shows to who points at a drawn text, or at the markers of a line, each with its own note."""

    def __post_init__(self) -> None:
        for k, (artist, _) in enumerate(self.notes):
            artist.set_gid(f"noted{k}")
        # The layout is solved once, not again for every form.
        with mpl.rc_context(_RC):
            self.figure.draw_without_rendering()
        self.figure.set_layout_engine("none")

    def png(self) -> bytes:
        """Return the figure as PNG on white, 160 dots per inch."""
        out = io.BytesIO()
        self.figure.savefig(out, format="png", dpi=160, facecolor="white", metadata={"Software": None})
        return out.getvalue()

    def pdf(self) -> bytes:
        """Return the figure as PDF, for a paper; the same figure gives the same bytes."""
        out = io.BytesIO()
        with mpl.rc_context({**_RC, "pdf.fonttype": 42}):  # fonts that publishers take
            self.figure.savefig(out, format="pdf", metadata={"CreationDate": None})
        return out.getvalue()

    def svg(self) -> str:
        """Return the figure as a stand-alone SVG on white; the same figure gives the same bytes."""
        return re.sub(r"(<svg [^>]*>)", r'\1<rect width="100%" height="100%" fill="white"/>', self._drawn, count=1)

    def inline(self) -> str:
        """Return the SVG element for the page: transparent, themed by CSS variables, ids prefixed by the name."""
        drawn = self._drawn[self._drawn.index("<svg") :]
        drawn = re.sub(r"<metadata>.*?</metadata>", "", drawn, flags=re.DOTALL)
        drawn = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{self.name}-", drawn)
        for colour, variable in _VARIABLES.items():
            drawn = drawn.replace(colour, f"var({variable})")
        drawn = re.sub(r"(font: [^;\"]*?)'DejaVu Sans'[^;\"]*", r"\1system-ui, sans-serif", drawn)
        for k, (_, notes) in enumerate(self.notes):
            drawn = _with_notes(drawn, f'<g id="{self.name}-noted{k}">', notes)
        label = self.caption.replace("&", "and").replace('"', "'").replace("<", "below").replace(">", "above")
        role = "group" if self.notes else "img"  # what is inside an image is not there for who cannot see it
        return re.sub(
            r"<svg [^>]*?(viewBox=\"[^\"]*\")[^>]*>", rf'<svg role="{role}" aria-label="{label}" \1>', drawn, count=1
        )

    def _repr_svg_(self) -> str:
        """What a notebook shows."""
        return self.svg()

    @functools.cached_property
    def _drawn(self) -> str:
        out = io.StringIO()
        with mpl.rc_context({**_RC, "svg.hashsalt": self.name}):
            self.figure.savefig(out, format="svg", facecolor="none", metadata={"Date": None, "Creator": None})
        return out.getvalue()


def _with_notes(svg: str, opening: str, notes: tuple[str, ...]) -> str:
    """Return an SVG with a title in the group that opens so, or on each of its markers where it has markers."""
    begin = svg.index(opening) + len(opening)
    end = _end_of_group(svg, begin)
    inner = svg[begin:end]
    titles = [f"<title>{html.escape(note, quote=False)}</title>" for note in notes]
    marks = list(_MARK.finditer(inner))
    if marks:
        assert len(marks) == len(titles), "each marker has its note, and matplotlib draws none for an undefined point"
        of_mark = iter(titles)
        # A marker is small: the clear circle around it is what a finger or a pointer finds.
        inner = _MARK.sub(
            lambda mark: f'<g class="noted">{next(of_mark)}<circle cx="{mark[1]}" cy="{mark[2]}" r="7"/>{mark[0]}</g>',
            inner,
        )
    else:
        (title,) = titles
        inner = f'<g class="noted">{title}{inner}</g>'
    return svg[:begin] + inner + svg[end:]


def _end_of_group(svg: str, begin: int) -> int:
    """Return where the group ends whose content begins there."""
    depth = 1
    for tag in _GROUP.finditer(svg, begin):
        depth += -1 if tag[0] == "</g>" else 1
        if not depth:
            return tag.start()
    raise ValueError("a group of the SVG does not end")


def styled() -> _GeneratorContextManager[None]:
    """Return the style as a decorator for a function that draws; matplotlib reads it when each text is made."""
    return mpl.rc_context(_RC)


def canvas(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """Return a figure of this size (inches) and its axes, row by row; call it inside `styled`, it needs no display."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)
