"""From a matplotlib figure to an SVG element that can stand inside the page.

Matplotlib writes fixed colours and ids. Here colours become CSS variables, so that one drawing serves light and dark;
ids get a prefix, so that several drawings share a page; what would name another host is dropped.
"""

import io
import re
import xml.etree.ElementTree as ElementTree

SVG = "http://www.w3.org/2000/svg"
XLINK = "http://www.w3.org/1999/xlink"

# Stand-ins in the drawing: the CSS variable each becomes.
COLOURS = {
    "fg": "#010101",
    "muted": "#020202",
    "grid": "#030303",
    "bg": "#040404",
    "decode": "#050505",
    "prefill": "#060606",
    "cpu": "#070707",
    "matrix": "#080808",
    "coop": "#090909",
    "L1": "#0a0a0a",
    "L2": "#0b0b0b",
    "LLC": "#0c0c0c",
    "DRAM": "#0d0d0d",
}
_VARIABLES = {colour: f"var(--{name.lower()})" for name, colour in COLOURS.items()}


def inline(figure, prefix, title, description, tips=None):
    """The figure as text. `tips` maps gids of artists to the text shown when hovered."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    root = ElementTree.fromstring(buffer.getvalue())
    for element in list(root):
        if element.tag == f"{{{SVG}}}metadata":
            root.remove(element)
    ids = {element.get("id"): f"{prefix}-{element.get('id')}" for element in root.iter() if element.get("id")}
    for element in root.iter():
        tip = (tips or {}).get(element.get("id"))
        for name, value in list(element.attrib.items()):
            if name == "id":
                value = ids[value]
            elif name == f"{{{XLINK}}}href":
                # SVG 2 needs no prefix, and all of them point into the same drawing.
                del element.attrib[name]
                name, value = "href", "#" + ids[value[1:]]
            else:
                value = re.sub(r"url\(#([^)]+)\)", lambda match: f"url(#{ids[match[1]]})", value)
                value = re.sub(r"#[0-9a-f]{6}\b", lambda match: _VARIABLES.get(match[0], match[0]), value)
            element.set(name, value)
        if tip is not None:
            _first(element, "title", tip)
    for name in ("width", "height"):
        root.attrib.pop(name, None)
    root.set("role", "img")
    root.set("aria-labelledby", f"{prefix}-title {prefix}-desc")
    _first(root, "desc", description).set("id", f"{prefix}-desc")
    _first(root, "title", title).set("id", f"{prefix}-title")
    ElementTree.register_namespace("", SVG)
    return ElementTree.tostring(root, encoding="unicode")


def _first(parent, tag, text):
    element = ElementTree.Element(f"{{{SVG}}}{tag}")
    element.text = text
    parent.insert(0, element)
    return element
