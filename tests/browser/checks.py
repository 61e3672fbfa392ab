"""What holds of every page: no serious fault of access, nothing that stands out, no picture that is empty."""

from __future__ import annotations

from typing import Any

from tests.browser.conftest import MODULES
from tools.chromium import Page


def axe(page: Page) -> list[dict[str, Any]]:
    """Return the serious faults that axe-core finds in what is shown."""
    page.evaluate((MODULES / "axe-core" / "axe.min.js").read_text(encoding="utf-8") + "; true")
    found: list[dict[str, Any]] = page.evaluate(
        "axe.run(document, {resultTypes: ['violations']}).then(found => found.violations"
        ".filter(each => ['serious', 'critical'].includes(each.impact))"
        ".map(each => ({rule: each.id, nodes: each.nodes.map(node => node.html.slice(0, 200))})))"
    )
    return found


def overflow(page: Page) -> list[str]:
    """Return what stands out over the right edge of the page, though it is in no frame that scrolls."""
    found: list[str] = page.evaluate(
        "[...document.querySelectorAll('#report *')].filter(each => each.getBoundingClientRect().right > innerWidth + 1"
        " && !each.closest('.scroll, pre, svg, .skip')).map(each => each.outerHTML.slice(0, 120))"
    )
    return found


def empty_pictures(page: Page) -> list[str]:
    """Return the pictures that show nothing: without a shape, or without a size."""
    found: list[str] = page.evaluate(
        "[...document.querySelectorAll('svg.picture, .strip svg, .chart canvas')].filter(each => {"
        " const box = each.getBoundingClientRect();"
        " const drawn = each instanceof SVGElement ? each.querySelector('rect, path, circle, line') : each.width > 0;"
        " return box.width < 20 || box.height < 10 || !drawn; }).map(each => each.outerHTML.slice(0, 200))"
    )
    return found


def open_all(page: Page) -> None:
    """Open what is folded, and what that holds, and return once it is there."""
    page.wait_for(
        "(() => { const closed = [...document.querySelectorAll('details:not([open])')];"
        " closed.forEach(each => { each.open = true });"
        " return closed.length === 0 && !document.querySelector('details:not([data-filled])'); })()"
    )


def texts(page: Page, selector: str) -> list[str]:
    found: list[str] = page.evaluate(f"[...document.querySelectorAll({selector!r})].map(each => each.textContent)")
    return found


def count(page: Page, selector: str) -> int:
    return int(page.evaluate(f"document.querySelectorAll({selector!r}).length"))
