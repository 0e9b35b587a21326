"""Contexts: pinned, never fetched, and what they leave without a meaning."""

import hashlib
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from pyld import jsonld

from credentials import contexts
from credentials.contexts import UNDEFINED_TERMS, V1, V2, ContextRefused, Contexts, ContextsError

DEGREE = "https://issuer.example/degree/v1"
DEGREE_CONTEXT = {
    "@context": {
        "@protected": True,
        "UniversityDegreeCredential": "https://issuer.example/vocabulary#UniversityDegree",
        "degree": "https://issuer.example/vocabulary#degree",
    }
}


def credential(*more: Any, **claims: Any) -> dict[str, Any]:
    return {
        "@context": [V2, *more],
        "id": "urn:uuid:6c3a7a4e-2f4d-5d53-8a6f-0a6e6c1f7d11",
        "type": ["VerifiableCredential"],
        "issuer": "did:example:issuer",
        "credentialSubject": {"id": "did:example:subject", **claims},
    }


def write(folder: Path, lines: Any, **files: bytes) -> Path:
    for name, content in files.items():
        (folder / name).write_bytes(content)
    (folder / "contexts.json").write_text(json.dumps(lines))
    return folder


@pytest.fixture
def operators(tmp_path: Path) -> Path:
    """A folder with one context, used for one type of credential."""
    raw = json.dumps(DEGREE_CONTEXT).encode()
    line = {
        "url": DEGREE,
        "file": "degree.jsonld",
        "sha256": hashlib.sha256(raw).hexdigest(),
        "types": ["UniversityDegreeCredential"],
    }
    return write(tmp_path, [line], **{"degree.jsonld": raw})


@pytest.fixture
def store() -> Contexts:
    return Contexts.load()


@pytest.mark.parametrize(
    ("file", "digest"),
    [
        (
            "credentials-v2.jsonld",
            "59955ced6697d61e03f2b2556febe5308ab16842846f5b586d7f1f7adec92734",
        ),
        (
            "credentials-v1.jsonld",
            "ab4ddd9a531758807a79a5b450510d61ae8d147eab966cc9a200c07095b0cdcc",
        ),
    ],
)
def test_the_base_contexts_are_those_that_w3c_published(file: str, digest: str) -> None:
    folder = Path(contexts.__file__).parent / "context_documents"
    assert hashlib.sha256((folder / file).read_bytes()).hexdigest() == digest


@pytest.mark.parametrize(
    ("document", "undefined"),
    [
        (credential(), False),
        (credential(name="A name", description="schema.org has these"), False),
        (credential(degree="BSc"), True),
        (credential(degree=None), False),  # null says nothing: JSON-LD drops the member
        (credential(**{"https://issuer.example/#degree": "BSc"}), False),
        (credential({"degree": "https://issuer.example/#degree"}, degree="BSc"), False),
        (credential({"degree": "https://issuer.example/#degree"}, degree={"kind": 1}), True),
        (credential({"@vocab": "https://issuer.example/#"}, degree={"kind": [[1]]}), False),
        (credential(UNDEFINED_TERMS, degree="BSc"), False),
        (credential({"@vocab": None, "degree": "urn:x:degree"}, degree="BSc"), False),
        (credential("https://www.w3.org/ns/credentials/examples/v2", alumniOf="U"), False),
        (credential() | {"type": ["VerifiableCredential", "DegreeCredential"]}, True),
        (credential() | {"type": ["VerifiableCredential", "https://a.example/T"]}, False),
        (credential() | {"evidence": {"id": "urn:x:y", "type": "Interview"}}, True),
    ],
)
def test_terms_without_a_meaning(store: Contexts, document: Any, undefined: bool) -> None:
    before = json.dumps(document)
    assert store.remembered(document) is None
    assert store.leaves_undefined(document) is undefined
    assert store.remembered(document) is undefined
    assert json.dumps(document) == before


def test_undefined_terms_last_gives_every_term_a_meaning(store: Contexts) -> None:
    document = credential(UNDEFINED_TERMS, degree="BSc", nested=[{"type": "Deep", "deeper": [[1]]}])
    document["type"].append("DegreeCredential")
    (expanded,) = jsonld.expand(document, {"documentLoader": store._load})
    assert all(":" in name for name in expanded["@type"])
    (subject,) = expanded["https://www.w3.org/2018/credentials#credentialSubject"]
    term = "https://www.w3.org/ns/credentials/undefined-term#"
    assert {"@id", f"{term}degree", f"{term}nested"} == set(subject)
    (nested,) = subject[f"{term}nested"]
    assert nested["@type"] == [f"{term}Deep"]
    assert f"{term}deeper" in nested


@pytest.mark.parametrize(
    ("document", "code"),
    [
        (credential("https://evil.example/context"), "context_unknown"),
        (credential("file:///etc/passwd"), "context_unknown"),
        (credential({"@import": "https://evil.example/context"}), "context_unknown"),
        (credential(a={"@context": "https://evil.example/context", "b": 1}), "context_unknown"),
        (
            credential({"a": {"@id": "urn:x:a", "@context": "https://evil.example/c"}}, a={"b": 1}),
            "context_unknown",
        ),
        (credential({"VerifiableCredential": "https://evil.example/#VC"}), "context_conflict"),
        (credential({"name": "https://evil.example/#name"}), "context_conflict"),
        (credential({"type": "urn:x:type"}), "context_conflict"),
        (credential(None), "context_conflict"),
        (credential(a={"@context": {"id": "urn:x:id"}, "b": 1}), "context_conflict"),
        (credential(a={"id": 7}), "credential_not_json_ld"),
        (credential(a={"type": 7}), "credential_not_json_ld"),
        (credential(a={"@value": {"b": 1}}), "credential_not_json_ld"),
        (credential(a={"@list": [1], "b": 1}), "credential_not_json_ld"),
        (credential({"term": 7}), "credential_not_json_ld"),
        (credential({"@vocab": None}, degree="BSc"), "credential_not_json_ld"),
        (credential({"@vocab": None}, a={"b": 1}), "credential_not_json_ld"),
        (
            credential({"@vocab": None}) | {"type": ["VerifiableCredential", "Degree"]},
            "credential_not_json_ld",
        ),
    ],
)
def test_what_json_ld_refuses(store: Contexts, document: Any, code: str) -> None:
    for _ in range(2):
        with pytest.raises(ContextRefused) as caught:
            store.leaves_undefined(document)
        assert caught.value.code == code
    assert store.remembered(document) is None


def test_an_unknown_context_is_named(store: Contexts) -> None:
    with pytest.raises(ContextRefused, match=r"https://a\.example/c .*VC_CONTEXTS_DIR"):
        store.leaves_undefined(credential("https://a.example/c"))


def test_documents_of_one_shape_share_an_answer(store: Contexts) -> None:
    assert store.leaves_undefined(credential(degree="BSc", marks=[1, 2, 3]))
    other = credential(degree="MSc", marks=[4.5] * 100)
    other |= {"id": "urn:uuid:other", "issuer": "did:example:other"}
    assert store.remembered(other) is True
    assert store.remembered(credential(degree=7, marks=[1])) is None
    assert store.remembered(credential(degree="BSc", marks=[1, "x"])) is None
    assert store.remembered(other | {"type": ["VerifiableCredential", "T"]}) is None


def test_the_memory_is_bounded(store: Contexts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contexts, "MAX_REMEMBERED", 3)
    for count in range(8):
        store.leaves_undefined(credential(**{f"claim{count}": 1}))
        assert len(store._remembered) <= 3
    long = credential(**{"x" * contexts.MAX_REMEMBERED_CHARS: 1})
    assert store.leaves_undefined(long)
    assert store.remembered(long) is None


def test_inline_contexts_are_not_kept(store: Contexts) -> None:
    for count in range(5):
        store.leaves_undefined(credential({"a": f"urn:x:{count}"}, a=1))
    assert set(store._resolved) <= {V2, V1}


def test_threads_may_ask_at_once(store: Contexts) -> None:
    answers: list[bool] = []

    def ask(number: int) -> None:
        answers.extend(
            store.leaves_undefined(credential(**{f"claim{number}": 1})) for _ in range(5)
        )

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [True] * 30


def test_an_operators_context_defines_terms(operators: Path) -> None:
    store = Contexts.load(operators)
    assert DEGREE in store
    assert store.of_type("UniversityDegreeCredential") == [DEGREE]
    assert store.of_type("Other") == []
    document = credential(DEGREE, degree="BSc")
    document["type"].append("UniversityDegreeCredential")
    assert store.leaves_undefined(document) is False
    assert store.leaves_undefined(credential(DEGREE, degree="BSc", honours=True)) is True
    with pytest.raises(ContextRefused) as caught:
        store.leaves_undefined(credential(DEGREE, {"degree": "urn:x:degree"}, degree="BSc"))
    assert caught.value.code == "context_conflict"
    assert DEGREE not in Contexts.load()


RAW = json.dumps(DEGREE_CONTEXT).encode()
LINE = {"url": DEGREE, "file": "c.jsonld", "sha256": hashlib.sha256(RAW).hexdigest()}


def pinned(raw: bytes) -> dict[str, str]:
    return LINE | {"sha256": hashlib.sha256(raw).hexdigest()}


@pytest.mark.parametrize(
    ("lines", "raw", "message"),
    [
        ([LINE | {"sha256": "0" * 64}], RAW, "pins 0000"),
        ([LINE], RAW + b"\n", "has the SHA-256"),
        ([LINE | {"file": "absent.jsonld"}], RAW, "cannot be read"),
        ([LINE | {"file": "../c.jsonld"}], RAW, "/0/file"),
        ([LINE | {"file": "/etc/passwd"}], RAW, "/0/file"),
        ([LINE | {"surprise": 1}], RAW, "/0/surprise"),
        ([LINE | {"url": "relative"}], RAW, "/0/url"),
        ([LINE | {"url": V2}], RAW, "is there already"),
        ([LINE, LINE], RAW, "is there already"),
        ({}, RAW, "must be an array"),
        ([pinned(b"[]")], b"[]", "has no @context"),
        ([pinned(b"{}")], b"{}", "has no @context"),
        ([pinned(b'{"@context": NaN}')], b'{"@context": NaN}', "NaN"),
    ],
)
def test_a_folder_that_does_not_hold(tmp_path: Path, lines: Any, raw: bytes, message: str) -> None:
    write(tmp_path, lines, **{"c.jsonld": raw})
    with pytest.raises(ContextsError, match=message):
        Contexts.load(tmp_path)


def test_a_folder_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ContextsError, match="cannot be read"):
        Contexts.load(tmp_path / "absent")
    monkeypatch.setattr(contexts, "MAX_FILE_BYTES", 100)
    with pytest.raises(ContextsError, match="more than 100 bytes"):
        Contexts.load()


def test_a_name_that_json_ld_would_leave_out_is_refused(store: Contexts) -> None:
    for name in ("full name", "tab\there", "@unheard"):
        with pytest.raises(ContextRefused) as refused:
            store.leaves_undefined(credential(**{name: 1}))
        assert refused.value.code == "credential_not_json_ld"
    defined = {"full name": "https://issuer.example/vocabulary#name"}
    assert not store.leaves_undefined(credential(defined, **{"full name": 1}))
