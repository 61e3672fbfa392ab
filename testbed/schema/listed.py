"""Lists in one line of text."""

from __future__ import annotations

_OPENING, _CLOSING = "[{", "]}"


def split_list(text: str) -> list[str]:
    """Return what stands between commas; those within brackets and quotes part nothing."""
    parts, nesting, quote = [""], 0, ""
    for sign in text:
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "\"'":
            quote = sign
        else:
            nesting += (sign in _OPENING) - (sign in _CLOSING)
        if sign == "," and not nesting and not quote:
            parts.append("")
        else:
            parts[-1] += sign
    return parts
