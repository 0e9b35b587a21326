"""Templates: what ships, what an operator adds, and what is refused before the first message."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema.validators import Draft202012Validator

from consumers.mail.settings import MailError
from consumers.mail.templates import MailTemplate, load_templates, payload_schema, safe_url
from consumers.processor import Reject

CONTEXTS: dict[str, dict[str, Any]] = {
    "credential-issued": {
        "name": "Jäne",
        "issuer_name": "Uni & Co",
        "credential_name": "BSc",
        "accept_url": "https://wallet.example/add?x=1&y=2",
        "credential_id": "urn:uuid:1",
        "expires": "1 May 2030",
    },
    "credential-revoked": {
        "name": "Jäne",
        "issuer_name": "Uni & Co",
        "credential_name": "BSc",
        "reason": "Superseded",
        "contact_url": "mailto:help@example.com",
    },
    "notice": {
        "name": "Jäne",
        "message": "Line one\nLine <two>",
        "action_url": "https://example.com/a",
        "action_text": "Look",
    },
}
HTML = '<p class="x">{{ a }}</p>'
Make = Callable[..., MailTemplate]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """make(html=..., text=..., schema=..., subject=...): the template `t` with these parts."""

    def make(
        html: str = HTML, text: str = "{{ a }}", schema: Any = None, **more: str
    ) -> MailTemplate:
        place = tmp_path / "templates" / "t"
        place.mkdir(parents=True, exist_ok=True)
        (place / "body.html").write_text(html)
        (place / "body.txt").write_text(text)
        said = schema if isinstance(schema, str) else json.dumps(schema or {"type": "object"})
        (place / "schema.json").write_text(said)
        for name, source in more.items():
            (place / f"{name}.txt").write_text(source)
        return load_templates(place.parent)["t"]

    return make


def test_three_ship() -> None:
    assert sorted(load_templates(None)) == sorted(CONTEXTS)


@pytest.mark.parametrize("name", CONTEXTS)
def test_those_that_ship_take_everything_they_say_and_little(name: str) -> None:
    template = load_templates(None)[name]
    assert set(template.schema["properties"]) == set(CONTEXTS[name])
    link = "https://example.com/mail/unsubscribe/x"
    full = template.render(CONTEXTS[name], link)
    for text in (full.text, full.html):
        assert link in text
        assert "{{" not in text
        assert "{%" not in text
    for value in CONTEXTS[name].values():
        assert value in full.text or name == "notice"
    assert "&amp;" in full.html or name == "notice"
    assert "<two>" not in full.html
    least = dict.fromkeys(template.schema["required"], "x")
    bare = template.render(least, None)
    assert "unsubscribe" not in bare.text + bare.html
    assert "href" not in bare.html
    if name == "notice":
        assert bare.subject is None
    else:
        assert bare.subject is not None
        assert "x" in bare.subject


def test_an_operators_template_wins_over_one_that_ships(tmp_path: Path) -> None:
    place = tmp_path / "notice"
    place.mkdir()
    (place / "body.txt").write_text("ours")
    (place / "body.html").write_text("<p>ours</p>")
    (place / "schema.json").write_text("{}")
    (tmp_path / ".git").mkdir()
    (tmp_path / "README").write_text("no template")
    templates = load_templates(tmp_path)
    assert templates["notice"].render({}, None).text == "ours"
    assert len(templates) == 3


@pytest.mark.parametrize(
    ("html", "fault"),
    [
        ("<a href={{ u }}>x</a>", "not quoted"),
        ("<a href=https://x>x</a>", "not quoted"),
        ("<p class={{ a }}>x</p>", "not quoted"),
        ('<a href="{{ u }}">x</a>', "safe_url"),
        ("<a href='{{ u }}'>x</a>", "safe_url"),
        ('<img src="{{ u }}">', "safe_url"),
        ('<IMG SRC="{{ u }}">', "safe_url"),
        ('<a href="https://x/{{ u }}">x</a>', "safe_url"),
        ('<a href="{{ u | upper }}">x</a>', "safe_url"),
        ('<a href="{{ u | safe_url | upper }}">x</a>', "safe_url"),
        ('<a href="{{ u if u else v | safe_url }}">x</a>', "safe_url"),
        ('<a href="{{ u | safe_url }}{{ v }}">x</a>', "safe_url"),
        ('<a href="{% if x %}{{ u }}{% endif %}">x</a>', "safe_url"),
        ('<form action="{{ u }}"></form>', "safe_url"),
        ('<p onclick="f({{ a }})">x</p>', "code"),
        ('<p style="color: {{ a }}">x</p>', "code"),
        ("<style>p { color: {{ a }} }</style>", "<style>"),
        ("<script>{{ a }}</script>", "<script>"),
        ("<p {{ a }}>x</p>", "name of an attribute"),
        ("<p {{ a }}='x'>x</p>", "name of an attribute"),
        ('<p x{{ a }}y="x">x</p>', "name of an attribute"),
        ("<h{{ a }}>x", "name of a tag"),
        ('<p class="x', "does not end"),
        ("{{ a | safe }}", "No filter named 'safe'"),
        ("{{ a | tojson }}", "No filter named 'tojson'"),
        ("<p {{ a | xmlattr }}>", "name of an attribute"),
        ("{% autoescape false %}{{ a }}{% endautoescape %}", "not supported"),
        ('{% include "x" %}', "not supported"),
        ('{% extends "x" %}', "not supported"),
        ('{% import "x" as y %}', "not supported"),
        ("{{ a", "line 1"),
        ("{% for %}", "line 1"),
        ("{{ a | nope }}", "nope"),
    ],
)
def test_html_that_does_not_protect_is_found_at_start(make: Make, html: str, fault: str) -> None:
    with pytest.raises(MailError) as caught:
        make(html=html)
    assert "t/body.html: " in str(caught.value)
    assert fault in str(caught.value)


@pytest.mark.parametrize(
    "html",
    [
        '<a href="{{ u | safe_url }}">x</a>',
        '<a href="https://example.com">x</a>',
        '<a href="{% if x %}{{ u | safe_url }}{% else %}https://x{% endif %}">x</a>',
        '<p class="{{ a }}" id=\'{{ a }}\' title="a > b">{{ a }}</p>',
        '<p{% if a %} class="x"{% endif %}>{{ a }}</p>',
        "<!-- <a href={{ a }}> --><p>1 < 2</p><br/>",
        '{# <a href={{ a }}> #}<p style="color: red">{{ a }}</p>',
        "<style>p { color: red }</style>",
    ],
)
def test_html_that_protects(make: Make, html: str) -> None:
    make(html=html)


def test_every_fault_of_every_template_is_told_at_once(make: Make, tmp_path: Path) -> None:
    with pytest.raises(MailError) as caught:
        make(html="<a href={{ u }}>", text="{{ a", schema="{", subject="{% include 'x' %}")
    for part in ("t/body.html", "t/body.txt", "t/schema.json", "t/subject.txt"):
        assert part in str(caught.value)
    (tmp_path / "templates" / "Bad Name").mkdir()
    with pytest.raises(MailError, match="Bad Name"):
        make()
    (tmp_path / "templates" / "Bad Name").rmdir()
    (tmp_path / "templates" / "empty").mkdir()
    with pytest.raises(MailError) as caught:
        make()
    for part in ("empty/body.html", "empty/body.txt", "empty/schema.json"):
        assert f"{part}: is missing" in str(caught.value)
    with pytest.raises(MailError, match="MAIL_TEMPLATES_DIR"):
        load_templates(tmp_path / "nothing")


@pytest.mark.parametrize(
    "schema",
    [
        "{", "[]", "1", '{"type": "no-type"}', '{"properties": []}', '{"$ref": "https://x/y"}',
        '{"properties": {"unsubscribe_url": {}}}', '{"allOf": [{"$ref": "other.json"}]}',
    ],
)  # fmt: skip
def test_a_schema_that_is_none(make: Make, schema: str) -> None:
    with pytest.raises(MailError, match=r"schema\.json"):
        make(schema=schema)


@pytest.mark.parametrize(
    ("text", "context", "code", "named"),
    [
        ("{{ b }}", {"a": 1}, "template_variable_missing", "'b' is undefined"),
        ("{{ a.b.c }}", {"a": {}}, "template_variable_missing", "'b'"),
        ("{{ a[0].x }}", {"a": [1]}, "template_variable_missing", "x"),
        ("{{ a + 1 }}", {"a": "x"}, "template_render_failed", "TypeError"),
        ("{{ 1 / a }}", {"a": 0}, "template_render_failed", "ZeroDivisionError"),
        ("{{ ''.__class__ }}", {"a": 0}, "template_render_failed", "SecurityError"),
        ("{{ a.append(1) }}", {"a": []}, "template_render_failed", "SecurityError"),
        ("{% for x in range(10**9) %}{% endfor %}", {"a": 0}, "template_render_failed", "Range"),
        ("{{ a | safe_url }}", {"a": "javascript:x"}, "template_render_failed", "safe_url"),
        ("{% for x in range(50000) %}{{ a }}{% endfor %}", {"a": "x" * 99},
         "template_output_too_large", "1 MiB"),
    ],
)  # fmt: skip
def test_failures_name_template_and_cause(
    make: Make, text: str, context: dict[str, Any], code: str, named: str
) -> None:
    with pytest.raises(Reject) as caught:
        make(text=text).render(context, None)
    assert caught.value.code == code
    assert "template t, body.txt" in str(caught.value)
    assert named in str(caught.value)


def test_tenants_values_are_text_whatever_they_hold(make: Make) -> None:
    evil = "<script>{{ 7 * 7 }}{% raw %}</script>\" onload='x' {{ config }}"
    made = make(html='<p title="{{ a }}">{{ a }}</p>').render({"a": evil}, None)
    assert made.text == evil
    assert "<script>" not in made.html
    assert "49" not in made.html
    assert made.html.count('"') == 2
    assert "'" not in made.html


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)", "JavaScript:x", "data:text/html,x", "//x", "/x", "x", "", "http:",
        "https://a b", "https://a\nb", 'https://a"b', "https://a'b\x00", "vbscript:x", "https://a<b",
        " https://a", "https://ü",
    ],
)  # fmt: skip
def test_addresses_that_are_not_safe(url: str) -> None:
    with pytest.raises(ValueError, match="safe_url"):
        safe_url(url)


@pytest.mark.parametrize("url", ["https://a.b/c?d=e&f#g", "HTTP://a", "mailto:a@b.com"])
def test_addresses_that_are_safe(url: str) -> None:
    assert safe_url(url) == url


def test_gateways_learn_what_templates_take(make: Make, tmp_path: Path) -> None:
    inner = {
        "$defs": {"text": {"type": "string"}},
        "properties": {"a": {"$ref": "#/$defs/text"}},
        "required": ["a"],
    }
    make(schema=inner, subject="{{ a }}")
    checker = Draft202012Validator(payload_schema(load_templates(tmp_path / "templates")))
    for payload, fits in [
        ({"template": "t", "context": {"a": "x"}}, True),
        ({"template": "t", "context": {"a": 1}}, False),
        ({"template": "t", "context": {}}, False),
        ({"template": "nope", "context": {"a": "x"}}, False),
        ({"template": "notice", "context": {"message": "x"}, "subject": "x"}, True),
        ({"template": "notice", "context": {"message": "x"}}, False),
    ]:
        assert checker.is_valid(payload) is fits, payload
