"""A report as the text of one HTML file that needs no network: its document compressed, its script and style beside it."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Sequence
from html import escape

from testbed.data import DATA
from testbed.report.page.document import Run, Study, document, title

# Compression at its default takes thrice the time of this for a tenth less.
_LEVEL = 4

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<noscript><h1>{title}</h1>{plain}<p>The pictures and tables of this report need JavaScript.</p></noscript>
<div id="report"></div>
<script type="application/gzip" id="data">{data}</script>
<script>{script}</script>
</body>
</html>
"""


def page(shown: Sequence[Run | Study]) -> str:
    """Return the report on runs and sweeps. All that is a name or a text is data there, or escaped."""
    script, style = ((DATA / f"report.{kind}").read_text(encoding="utf-8") for kind in ("js", "css"))
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src {_hash(script)}",
            f"style-src {_hash(style)}",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    text = json.dumps(document(shown), ensure_ascii=False, separators=(",", ":"))
    data = base64.b64encode(gzip.compress(text.encode(), _LEVEL, mtime=0)).decode()
    return _PAGE.format(
        policy=policy, title=escape(title(shown)), style=style, plain=_plain(shown), data=data, script=script
    )


def _hash(text: str) -> str:
    """Return what a policy calls a script or a style that stands in the page."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _plain(shown: Sequence[Run | Study]) -> str:
    """Return verdicts and reasons as paragraphs, for readers without JavaScript."""
    lines: list[str] = []
    for each in shown:
        if isinstance(each, Study):
            lines.append(f"{each.name}: {len(each.result.rows)} rows")
            continue
        verdict = each.result.verdict
        word = "passed" if verdict.passed else "failed"
        lines += [f"{each.name}: {word if verdict.trusted else 'untrusted'}", *verdict.reasons, each.result.replay]
    return "".join(f"<p>{escape(line)}</p>" for line in lines)
