"""Reports, and the live page, as the text of one HTML file each that needs nothing else: document, script and style inside."""

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
<noscript><h1>{title}</h1>{plain}<p>The pictures and tables of this page need JavaScript.</p></noscript>
<div id="report"></div>
<script type="{kind}" id="data">{data}</script>
<script>{script}</script>
</body>
</html>
"""


def page(shown: Sequence[Run | Study]) -> str:
    """Return the report on runs and sweeps. All that is a name or a text is data there, or escaped."""
    text = json.dumps(document(shown), ensure_ascii=False, separators=(",", ":"))
    data = base64.b64encode(gzip.compress(text.encode(), _LEVEL, mtime=0)).decode()
    return _write("report", title(shown), "application/gzip", data, plain=_plain(shown))


def live_page(address: str) -> str:
    """Return the page that follows labs on a broker, at `ws://…` or `wss://…`. It may connect to that address alone."""
    # What ends a script ends it inside JSON too.
    data = json.dumps({"address": address}).replace("<", "\\u003c")
    # A policy has no words for an IPv6 address.
    allowed = f"{address.partition(':')[0]}:" if "[" in address else address
    return _write("dashboard", "Labs, live", "application/json", data, f"connect-src {allowed}")


def _write(bundle: str, heading: str, kind: str, data: str, *policies: str, plain: str = "") -> str:
    """Return a page around data of a kind, drawn by a bundle of web/."""
    script, style = ((DATA / f"{bundle}.{suffix}").read_text(encoding="utf-8") for suffix in ("js", "css"))
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src {_hash(script)}",
            f"style-src {_hash(style)}",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            *policies,
        )
    )
    return _PAGE.format(
        policy=escape(policy, quote=False),
        title=escape(heading),
        style=style,
        plain=plain,
        kind=kind,
        data=data,
        script=script,
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
