"""Pieces of HTML in which every text is escaped unless it is HTML already."""

import base64
import html
import math
from collections.abc import Iterable, Sequence

CSS = """
:root { --ink: #1d1f21; --soft: #5d6166; --line: #d9dce0; --tint: #f5f7f9; --accent: #0072b2; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 62rem; color: var(--ink); background: #fff;
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", "Helvetica Neue", Arial, sans-serif; }
h1 { margin: 0 0 .25rem; font-size: 1.9rem; line-height: 1.2; overflow-wrap: anywhere; }
h2 { margin: 2.6rem 0 .8rem; padding-bottom: .3rem; border-bottom: 2px solid var(--line); font-size: 1.35rem; }
h3 { margin: 1.9rem 0 .5rem; font-size: 1.1rem; overflow-wrap: anywhere; }
h4 { margin: 1.2rem 0 .4rem; font-size: .95rem; }
p { margin: .5rem 0; }
small { display: inline-block; line-height: 1.45; }
.lead { color: var(--soft); }
.scroll { overflow-x: auto; margin: .8rem 0; }
table { border-collapse: collapse; width: 100%; min-width: 40rem; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .38rem .7rem .38rem 0; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top; overflow-wrap: break-word; }
th { color: var(--soft); font-weight: 600; white-space: nowrap; }
td.number, th.number { text-align: right; white-space: nowrap; }
td.keep { white-space: nowrap; }
code, .code { font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; font-size: .92em; }
.badge { display: inline-block; padding: .05rem .55rem; border-radius: 999px; background: var(--tint);
  border: 1px solid var(--line); font-weight: 600; white-space: nowrap; }
.good { color: #00664b; border-color: #8fcdb9; background: #effaf6; }
.bad { color: #8f3a00; border-color: #ecb794; background: #fff5ee; }
figure { margin: 1.2rem 0; break-inside: avoid; }
figure img { display: block; width: 100%; max-width: 100%; height: auto; }
figcaption { margin-top: .5rem; color: var(--soft); font-size: .9rem; }
details { margin: .8rem 0; padding: .5rem .9rem; border: 1px solid var(--line); border-radius: .4rem; }
summary { cursor: pointer; font-weight: 600; }
ul { margin: .3rem 0; padding-left: 1.2rem; }
pre { overflow-x: auto; padding: .8rem 1rem; background: var(--tint); border-radius: .4rem; font-size: .82rem;
  line-height: 1.45; }
@media print {
  body { max-width: none; padding: 0; font-size: 10.5pt; }
  h2, h3 { break-after: avoid; }
  tr { break-inside: avoid; }
  .scroll { overflow: visible; }
  table { min-width: 0; }
  pre { white-space: pre-wrap; }
  @page { margin: 16mm; }
}
"""


class Html(str):
    """Text that is HTML already and must not be escaped again."""

    __slots__ = ()


def esc(value: object) -> Html:
    """A value as HTML: escaped, unless it is `Html`.

    Example:
        >>> esc("<b>"), esc(Html("<b>"))
        ('&lt;b&gt;', '<b>')
    """
    return value if isinstance(value, Html) else Html(html.escape(str(value)))


def tag(name: str, *children: object, **attributes: str) -> Html:
    """An element. A trailing underscore in an attribute's name is dropped (``class_``).

    Example:
        >>> tag("p", "1 < 2", class_="lead")
        '<p class="lead">1 &lt; 2</p>'
    """
    given = "".join(f' {key.rstrip("_")}="{html.escape(value)}"' for key, value in attributes.items())
    return Html(f"<{name}{given}>{''.join(map(esc, children))}</{name}>")


def join(parts: Iterable[object], separator: str = "\n") -> Html:
    """Parts one after the other."""
    return Html(separator.join(map(esc, parts)))


def table(header: Sequence[str], rows: Iterable[Sequence[object]], *, numbers: Sequence[int] = ()) -> Html:
    """A table that scrolls sideways on a narrow screen.

    Args:
        header: Column titles.
        rows: Cells, escaped unless `Html`.
        numbers: Columns to align to the right.
    """

    def cell(kind: str, i: int, value: object) -> Html:
        return tag(kind, value, class_="number") if i in numbers else tag(kind, value)

    head = tag("tr", *(cell("th", i, title) for i, title in enumerate(header)))
    body = join(tag("tr", *(cell("td", i, value) for i, value in enumerate(row))) for row in rows)
    return tag("div", tag("table", tag("thead", head), tag("tbody", body)), class_="scroll")


def document(title: object, body: Html) -> str:
    """A whole page that runs no script and loads nothing from elsewhere.

    Args:
        title: What the browser's tab says.
        body: The page.
    """
    meta = Html(
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">"
    )
    head = tag("head", meta, tag("title", title), tag("style", Html(CSS)))
    return f'<!DOCTYPE html>\n<html lang="en">{head}<body>{body}</body></html>\n'


def picture(name: str, caption: object, image: bytes) -> Html:
    """A PNG inside the page, with what there is to say about it.

    Args:
        name: Stands for the picture where it cannot be seen.
        caption: The text below it.
        image: The file's content.
    """
    data = base64.b64encode(image).decode("ascii")
    shown = Html(f'<img alt="{esc(name)}" src="data:image/png;base64,{data}">')
    return tag("figure", shown, tag("figcaption", caption))


def bullets(items: Iterable[object]) -> Html:
    """A list, or nothing if there are no items."""
    entries = [tag("li", item) for item in items]
    return tag("ul", *entries) if entries else Html("")


def badge(text: object, *, good: bool | None = None) -> Html:
    """A short verdict, colored if it is a good or a bad one."""
    kind = {True: "badge good", False: "badge bad", None: "badge"}[good]
    return tag("span", text, class_=kind)


def number(value: object, digits: int = 3) -> str:
    """A number to so many significant digits; a dash for one that is not known.

    Example:
        >>> number(0.0123456), number(None), number(400), number(1234567.0)
        ('0.0123', '–', '400', '1.23e+06')
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"  # noqa: RUF001
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)


def with_error(value: object, error: object, scale: float = 1.0) -> str:
    """A value and its standard error, to the digits that the error leaves; without an error if there is next to none.

    Example:
        >>> with_error(0.31623, 0.0121, 100.0), with_error(2.0, None)
        ('31.6 ± 1.2', '2')
    """
    if not isinstance(value, int | float):
        return "–"  # noqa: RUF001
    value = scale * value
    if not isinstance(error, int | float) or not scale * error > 1e-5 * abs(value):
        return number(float(value), 4)
    error = scale * error
    digits = max(0, 1 - int(f"{error:e}".partition("e")[2]))
    return f"{value:.{digits}f} ± {error:.{digits}f}"
