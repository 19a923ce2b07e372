"""Elements of SVG, which is the only markup that Python writes: children and attributes are always escaped."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup, escape

Child = Markup | str | float | None


def element(tag: str, /, *children: Child, **attributes: Any) -> Markup:
    """An element.

    Args:
        tag: Its name.
        children: Elements, and texts and numbers, which are escaped; None is left out.
        attributes: Attributes; `class_` is class, `stroke_width` is stroke-width; None is left out.
    """
    given = Markup("").join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), _rounded(value))
        for key, value in attributes.items()
        if value is not None
    )
    inner = Markup("").join(escape(child) for child in children if child is not None)
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(tag), given, inner)


def _rounded(value: Any) -> Any:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else value
