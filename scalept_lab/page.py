"""One self-contained HTML page: its style, and tables, figures and numbers as HTML.

Titles, captions and alternative texts are escaped here; bodies, cells and what is marked good or bad are HTML already.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Sequence
from html import escape

from matplotlib.figure import Figure

from scalept_lab.errors import InputError
from scalept_lab.figures import png, shown_size

STYLE = """
:root{color-scheme:light dark;--ink:#1c1f23;--soft:#59616b;--line:#d9dde2;--page:#fff;--card:#f5f7f9;
--mark:#005a8f;--bad:#a83f00}
@media (prefers-color-scheme:dark){:root{--ink:#e6e8eb;--soft:#a6adb7;--line:#3a4048;--page:#15181c;--card:#1e2329;
--mark:#7cc4f2;--bad:#ff9d66}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:60rem;padding:1rem 1.2rem 3rem;background:var(--page);color:var(--ink);
font:1rem/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans","Noto Sans CJK SC",sans-serif}
h1{font-size:1.7rem;line-height:1.2;margin:1rem 0 .4rem;overflow-wrap:anywhere}
h2{font-size:1.2rem;margin:2.2rem 0 .6rem;padding-top:.6rem;border-top:1px solid var(--line)}
p{margin:.5rem 0}.soft{color:var(--soft)}.bad{color:var(--bad);font-weight:600}.good{color:var(--mark);font-weight:600}
dl.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(8.6rem,1fr));gap:.6rem;margin:1.1rem 0}
dl.facts div{background:var(--card);border-radius:.5rem;padding:.6rem .8rem}
dl.facts dt{font-size:.82rem;color:var(--soft)}dl.facts dd{margin:0;font-size:1.25rem;font-weight:600}
dl.facts dd small{display:block;font-size:.8rem;font-weight:400;color:var(--soft)}
.wide{overflow-x:auto;margin:.8rem 0}
table{border-collapse:collapse;font-size:.92rem;font-variant-numeric:tabular-nums}
caption{text-align:left;color:var(--soft);padding-bottom:.3rem}
th,td{padding:.28rem .75rem .28rem 0;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
thead th{color:var(--soft);font-weight:600}
th.left,td.left{text-align:left}td.wrap{white-space:normal;overflow-wrap:anywhere}
sup{line-height:0}
td.left:last-child{white-space:normal;min-width:11rem}
table.facts th{white-space:normal;padding-right:1rem}
figure{margin:1.2rem 0;overflow-x:auto}
figure img{width:100%;min-width:32rem;max-width:43.75rem;height:auto;background:#fff;border-radius:.4rem;
padding:.3rem;display:block}
figcaption{color:var(--soft);font-size:.92rem;margin-top:.3rem;max-width:43.75rem}
code,pre{font-family:ui-monospace,"SFMono-Regular",Menlo,Consolas,monospace;font-size:.88rem}
pre{background:var(--card);padding:.8rem;border-radius:.5rem;overflow-x:auto}
@media print{h2{break-after:avoid}figure{break-inside:avoid}}
"""


def document(title: str, body: str) -> str:
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<main>
<h1>{escape(title)}</h1>
{body}
</main>
</body>
</html>
"""


def section(title: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{body}</section>"


def table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]], left: set[int]) -> str:
    """`left`: the columns whose cells are words."""
    align = [' class="left"' if i in left else "" for i in range(len(head))]
    top = "".join(f'<th scope="col"{a}>{name}</th>' for name, a in zip(head, align, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{a}>{cell}</td>" for cell, a in zip(row, align, strict=True)) + "</tr>"
        for row in rows
    )
    return (
        f'<div class="wide" tabindex="0"><table><caption>{escape(caption)}</caption>'
        f"<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def figure(draw: Callable[[], Figure], alt: str, caption: str) -> str:
    """The figure, or, where there is nothing to draw yet, the line that says so."""
    try:
        fig = draw()
    except InputError as error:
        return f'<p class="soft">{escape(caption)} {escape(str(error))}</p>'
    size = " ".join(f'{name}="{pixels}"' for name, pixels in shown_size(fig).items())
    data = base64.b64encode(png(fig)).decode()
    return (
        f'<figure><img src="data:image/png;base64,{data}" {size} alt="{escape(alt)}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def good(text: str) -> str:
    return f'<span class="good">{text}</span>'


def bad(text: str) -> str:
    return f'<span class="bad">{text}</span>'


def flops(value: float) -> str:
    """3e11 -> 3 × 10^11, in HTML."""
    if not value > 0:
        return "0"
    mantissa, exponent = f"{value:.2e}".split("e")
    mantissa = mantissa.rstrip("0").rstrip(".")
    lead = "" if mantissa == "1" else f"{mantissa}&nbsp;×&nbsp;"
    return f"{lead}10<sup>{int(exponent)}</sup>"


def duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def span(values: Sequence[float], form: Callable[[float], str]) -> str:
    low, high = form(min(values)), form(max(values))
    return low if low == high else f"{low} to {high}"
