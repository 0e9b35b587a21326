"""What a template may not do, found before the first message (EM-7).

Autoescape makes text safe between tags and inside quoted attributes, and nowhere else: an unquoted
attribute ends at the first space of a value, and `javascript:` needs no special character.
"""

import re
from collections.abc import Iterator

from jinja2 import Environment, TemplateSyntaxError, nodes

URL_ATTRIBUTES = frozenset(
    {
        "action", "background", "cite", "classid", "codebase", "data", "formaction", "href", "icon",
        "longdesc", "manifest", "ping", "poster", "profile", "src", "srcset", "usemap",
        "xlink:href",
    }
)  # fmt: skip
CODE_ATTRIBUTES = frozenset({"style", "srcdoc"})
SAFE_URL = "safe_url"
_FORBIDDEN = (
    nodes.Include,
    nodes.Import,
    nodes.FromImport,
    nodes.Extends,
    nodes.EvalContextModifier,
)

_MARK = re.compile("\ue000([0-9]+)\ue001")
"""Stands for an expression, by its number, where the template has it."""
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_STYLE = re.compile(r"<style\b[^>]*>(.*?)</style\s*>", re.DOTALL | re.IGNORECASE)
_TAG = re.compile(r"""<(/?)([a-zA-Z][^\s/>]*)((?:"[^"]*"|'[^']*'|[^'">])*)>""")
_OPEN_TAG = re.compile(r"<[a-zA-Z/]")
_ATTRIBUTE = re.compile(r"""([^\s=/>"']+)(?:\s*=\s*("[^"]*"|'[^']*'|[^\s>]+))?""")


def faults_of_template(env: Environment, source: str) -> list[str]:
    """What no template may do, of whatever kind. TemplateSyntaxError is told as a fault."""
    try:
        tree = env.parse(source)
    except TemplateSyntaxError as error:
        return [f"line {error.lineno}: {error.message}"]
    return [
        f"line {node.lineno}: {type(node).__name__.lower()} is not supported; a template is whole"
        for node in tree.find_all(_FORBIDDEN)
    ]


def faults_of_html(env: Environment, source: str) -> list[str]:
    """Places of an HTML template in which escaping does not protect. It must parse as Jinja."""
    skeleton, trusted = _skeleton(env, source)
    skeleton = _COMMENT.sub("", skeleton)
    faults = []
    if any(_MARK.search(style.group(1)) for style in _STYLE.finditer(skeleton)):
        faults.append("an expression inside <style>")
    for tag in _TAG.finditer(skeleton):
        faults += _faults_of_tag(tag.group(2), tag.group(3), trusted)
    if _OPEN_TAG.search(_TAG.sub("", skeleton)):
        faults.append("a tag that does not end")
    return faults


def _skeleton(env: Environment, source: str) -> tuple[str, set[str]]:
    """The HTML with a mark for each expression; and the marks of those that are safe_url."""
    parts: list[str] = []
    trusted: set[str] = set()
    expression: list[str] | None = None
    hidden = False
    count = 0
    for _, kind, value in env.lex(source):
        if kind == "variable_begin":
            expression = []
        elif kind == "variable_end":
            parts.append(f"\ue000{count}\ue001")
            if _ends_in_safe_url(env, "".join(expression or ())):
                trusted.add(str(count))
            expression, count = None, count + 1
        elif expression is not None:
            expression.append(value)
        elif kind in ("block_begin", "comment_begin"):
            hidden = True
        elif kind in ("block_end", "comment_end"):
            hidden = False
        elif not hidden:
            parts.append(value)
    return "".join(parts), trusted


def _ends_in_safe_url(env: Environment, expression: str) -> bool:
    """Whether all of the expression goes through the filter, not only one branch of it."""
    output = env.parse("{{" + expression + "}}").body[0]
    whole = output.nodes[0] if isinstance(output, nodes.Output) else None
    return isinstance(whole, nodes.Filter) and whole.name == SAFE_URL


def _faults_of_tag(name: str, rest: str, trusted: set[str]) -> Iterator[str]:
    if _MARK.search(name):
        yield "an expression as the name of a tag"
    if name.lower() == "script":
        yield "<script>, which no mail program runs"
    for attribute in _ATTRIBUTE.finditer(rest):
        fault = _fault_of_attribute(attribute.group(1), attribute.group(2), trusted)
        if fault:
            yield f"<{_MARK.sub('', name)} {_MARK.sub('…', attribute.group(1))}>: {fault}"


def _fault_of_attribute(name: str, value: str | None, trusted: set[str]) -> str | None:
    if _MARK.search(name):
        return "an expression as the name of an attribute"
    if value is None:
        return None
    if value[0] not in "\"'":
        return "the value of the attribute is not quoted"
    marks = _MARK.findall(value)
    if not marks:
        return None
    if name.lower() in CODE_ATTRIBUTES or name.lower().startswith("on"):
        return "an expression in an attribute that is code"
    if name.lower() in URL_ATTRIBUTES and not trusted.issuperset(marks):
        return f"an address without the filter {SAFE_URL}"
    return None
