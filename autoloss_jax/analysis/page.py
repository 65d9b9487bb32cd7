"""One HTML page of sections with tables and charts, which opens without a network and runs no
script. Texts and names are escaped; pictures are made here or in `charts`.
"""

import base64
import dataclasses
import html
from collections.abc import Sequence

import jinja2
from markupsafe import Markup


@dataclasses.dataclass(frozen=True)
class Table:
    """Cells as they are shown; the first of each row is its head."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    text: bool = False  # cells are words, not figures


@dataclasses.dataclass(frozen=True)
class Chart:
    """A picture, as `svg` or `image` give it."""

    title: str
    picture: Markup
    caption: str = ""


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of a page, in the order in which it is shown."""

    title: str
    tiles: Sequence[tuple[str, str]] = ()  # what a figure is, and the figure
    text: Sequence[str] = ()  # paragraphs
    missing: Sequence[str] = ()  # what is not here, and why
    tables: Sequence[Table] = ()
    charts: Sequence[Chart] = ()
    below: Sequence[Table] = ()  # the charts
    wide: bool = False  # a chart takes the page's width
    folded: Sequence[Table] = ()
    code: Sequence[tuple[str, str]] = ()  # what it is, and the code
    notes: Sequence[str] = ()


@dataclasses.dataclass(frozen=True)
class Page:
    """A whole page."""

    title: str
    lead: str
    sections: Sequence[Section]


def render(page: Page) -> str:
    """The page as HTML."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("autoloss_jax.analysis"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html").render(page=page)


def image(png: bytes, title: str) -> Markup:
    """An <img> element that holds its picture."""
    source = base64.b64encode(png).decode()
    return Markup(f'<img alt="{html.escape(title)}" src="data:image/png;base64,{source}">')
