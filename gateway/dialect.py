"""JSON Schema as clients understand it, where pydantic says it in its own words."""

from typing import Any, Final

_BOUNDS: Final = {
    "ge": "minimum",
    "le": "maximum",
    "gt": "exclusiveMinimum",
    "lt": "exclusiveMaximum",
}


def speak(node: Any) -> None:
    """Change a schema, or a document with schemas in it.

    Patterns are those of ECMA-262, which spells the end of a text `$`. Bounds of a number whose
    type is checked by a function of ours come out under the names of Python's comparisons."""
    for child in node.values() if isinstance(node, dict) else node:
        if isinstance(child, dict | list):
            speak(child)
    if not isinstance(node, dict):
        return
    if isinstance(node.get("pattern"), str):
        node["pattern"] = node["pattern"].replace(r"\z", "$")
    if node.get("type") in ("integer", "number"):
        for name in _BOUNDS.keys() & node.keys():
            node[_BOUNDS[name]] = node.pop(name)
