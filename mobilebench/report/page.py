"""Pages for a browser: one file each, that asks no other address for anything and works offline."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup, escape

from mobilebench.report import table as grid
from mobilebench.system.words import counted

_TEMPLATES = resources.files("mobilebench.report") / "templates"


def render(template: str, scripts: tuple[str, ...] = (), **values: Any) -> str:
    """Return a template filled in; a page (`page.html.j2`) gets the shared style and these scripts of templates/.

    The page's own policy lets a browser run these scripts and nothing else, and load nothing.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mobilebench.report"),
        autoescape=jinja2.select_autoescape(("html", "html.j2")),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"markdown_table": grid.to_markdown, "code": code, "counted": counted}
    texts = [_text(name) for name in scripts]
    return environment.get_template(template).render(
        values | {"style": Markup(_text("page.css")), "scripts": list(map(Markup, texts)), "policy": _policy(texts)}  # noqa: S704 - our own files
    )


def code(words: str) -> Markup:
    """Return words for a page: escaped, and what stands between backticks as code."""
    return Markup(grid.CODE.sub(r"<code>\1</code>", str(escape(words))))  # noqa: S704 - escaped before


def _text(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def _policy(scripts: list[str]) -> str:
    """Return the page's Content-Security-Policy; styles are allowed, because figures have some on their elements."""
    digests = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests) or "'none'"
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )
