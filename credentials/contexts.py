"""JSON-LD contexts from a local store, pinned by digest; none is ever fetched (E11).

A folder of contexts has a `contexts.json`: a list of `{url, file, sha256, types?}`. `types` are the
credential types for which an operator's context is used without anybody asking for it.
"""

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, StringConstraints, TypeAdapter, ValidationError
from pyld import jsonld
from pyld.context_resolver import ContextResolver

from credentials.errors import CredentialError
from credentials.strict_json import NotJson, loads
from schemas.fields import first_fault

V1 = "https://www.w3.org/2018/credentials/v1"
V2 = "https://www.w3.org/ns/credentials/v2"
UNDEFINED_TERMS = "https://www.w3.org/ns/credentials/undefined-terms/v2"

MANIFEST = "contexts.json"
MAX_FILE_BYTES = 1024 * 1024
MAX_REMEMBERED = 1_024
MAX_REMEMBERED_CHARS = 8_192
"""Shapes longer than this are judged anew each time: memory stays below 8 MiB."""

_OURS = Path(__file__).parent / "context_documents"
_NOWHERE = "urn:undefined:"
"""What a term expands into when no context says anything about it."""
_NO_VOCAB, _VOCAB = '"@vocab":null', f'"@vocab":"{_NOWHERE}"'
"""In a shape. JSON-LD drops what such a context leaves undefined, without a word."""
_KEPT = frozenset({"type", "@type", "@language", "@direction"})
"""Members whose values JSON-LD looks into, beside the contexts themselves."""
_SOME_TEXT = "urn:x"
"""Stands for every other string, also for an id: what it says makes no difference to a term."""

Json = dict[str, Any]


class ContextsError(Exception):
    """The operator's folder of contexts is not what its manifest says; nothing may start."""


class ContextRefused(CredentialError):
    """`context_unknown`, `context_conflict` or `credential_not_json_ld`."""


class _Pinned(BaseModel):
    """One line of a manifest."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9+.-]*:[!-~]+\z")]
    file: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]*\z")]
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}\z")]
    types: tuple[str, ...] = ()


_MANIFEST = TypeAdapter(list[_Pinned])


class _Resolved(dict[str, Any]):
    """PyLD's cache of resolved contexts, for pinned ones only: inline ones come from anybody."""

    def __init__(self, urls: frozenset[str]) -> None:
        super().__init__()
        self._urls = urls

    def __setitem__(self, key: str, value: Any) -> None:
        if key in self._urls:
            super().__setitem__(key, value)


class Contexts:
    """A store of contexts, and what they say about a credential."""

    def __init__(self, documents: Mapping[str, Json], by_type: Mapping[str, list[str]]) -> None:
        self._documents = documents
        self._by_type = by_type
        self._resolved = _Resolved(frozenset(documents))
        self._remembered: dict[str, bool] = {}
        # PyLD's caches are not made for threads.
        self._expanding = threading.Lock()

    @classmethod
    def load(cls, folder: Path | None = None) -> Self:
        """The contexts that come along and an operator's in `folder`. Raises ContextsError."""
        documents: dict[str, Json] = {}
        by_type: dict[str, list[str]] = {}
        for place in (_OURS, *([folder] if folder else [])):
            for pinned, document in _read(place):
                if pinned.url in documents:
                    raise ContextsError(f"{place / MANIFEST}: {pinned.url} is there already.")
                documents[pinned.url] = document
                for name in pinned.types:
                    by_type.setdefault(name, []).append(pinned.url)
        return cls(documents, by_type)

    def __contains__(self, url: object) -> bool:
        return url in self._documents

    def of_type(self, name: str) -> list[str]:
        """The operator's contexts for credentials of this type."""
        return self._by_type.get(name, [])

    def remembered(self, document: Json) -> bool | None:
        """What `leaves_undefined` said of a document of the same shape, if it did; costs little."""
        return self._remembered.get(shape(document))

    def leaves_undefined(self, document: Json) -> bool:
        """Whether the document uses terms that its contexts give no meaning (C5).

        A millisecond of processor time and more for a large document: call it in a thread. Raises
        ContextRefused: `context_unknown`, not in the store; `context_conflict`, a protected term is
        defined anew (E9); `credential_not_json_ld`, a value or a name that JSON-LD cannot say and
        would leave out.
        """
        key = shape(document)
        known = self._remembered.get(key)
        if known is None:
            known = any(_undefined(self._expand(json.loads(key.replace(_NO_VOCAB, _VOCAB)))))
            if known and _NO_VOCAB in key:
                raise ContextRefused(
                    "credential_not_json_ld",
                    "A context says that terms without a definition have no meaning (@vocab: "
                    "null), and the credential uses some.",
                )
            self._remember(key, known)
        return known

    def _remember(self, key: str, known: bool) -> None:
        if len(key) > MAX_REMEMBERED_CHARS:
            return
        if len(self._remembered) >= MAX_REMEMBERED:
            self._remembered.clear()
        self._remembered[key] = known

    def _expand(self, document: Json) -> Any:
        options = {
            "base": "",
            "documentLoader": self._load,
            "contextResolver": ContextResolver(self._resolved, self._load),
            # First, so that any context may say better.
            "expandContext": {"@vocab": _NOWHERE},
        }
        dropped: list[str] = []
        try:
            with self._expanding:
                expanded = jsonld.expand(
                    document, options, on_property_dropped=lambda name: dropped.append(name or "@…")
                )
        except jsonld.JsonLdError as error:
            raise _refusal(error) from None
        except (TypeError, ValueError, AttributeError, KeyError, RecursionError):
            raise ContextRefused(
                "credential_not_json_ld", "The credential cannot be read as JSON-LD."
            ) from None
        if dropped:
            name = min(dropped).removeprefix(_NOWHERE)
            raise ContextRefused(
                "credential_not_json_ld",
                f"JSON-LD cannot say {name[:64]!r}: the name of a member becomes part of an "
                "address. Take one without spaces, or define it in a context.",
            )
        return expanded

    def _load(self, url: str, _options: Any) -> Json:
        document = self._documents.get(url)
        if document is None:
            raise ContextRefused(
                "context_unknown",
                f"The context {url[:200]} is not in the store. Contexts are never fetched: an "
                "operator adds it to VC_CONTEXTS_DIR.",
            )
        # PyLD writes into what it gets.
        copy = json.loads(json.dumps(document))
        return {
            "contentType": "application/ld+json",
            "contextUrl": None,
            "documentUrl": url,
            "document": copy,
            "tag": "static",
        }


def shape(document: Json) -> str:
    """The document with every value JSON-LD does not look into replaced, as JSON.

    Documents of one shape use the same terms, so one answer serves them all.
    """
    return json.dumps(_skeleton(document), sort_keys=True, separators=(",", ":"))


def _skeleton(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: member
            if name == "@context" or (name in _KEPT and _names(member))
            else _skeleton(member)
            for name, member in value.items()
        }
    if isinstance(value, list):
        # Items of one shape say the same; an item that is a list stays where it is.
        kinds = {json.dumps(kind, sort_keys=True): kind for kind in map(_skeleton, value)}
        return list(kinds.values())
    if isinstance(value, str):
        return _SOME_TEXT
    return value if value is None or isinstance(value, bool) else 0


def _names(member: Any) -> bool:
    """Whether these are names; in claims, `type` may also be an object."""
    items = member if isinstance(member, list) else [member]
    return all(isinstance(item, str) for item in items)


def _undefined(value: Any) -> Iterator[str]:
    """The undefined terms and types in an expanded document."""
    if isinstance(value, list):
        for item in value:
            yield from _undefined(item)
    elif isinstance(value, dict):
        types = value.get("@type", [])
        for name in (*value, *(types if isinstance(types, list) else [types])):
            if name.startswith(_NOWHERE):
                yield name
        for member in value.values():
            if isinstance(member, list | dict):
                yield from _undefined(member)


def _refusal(error: jsonld.JsonLdError) -> ContextRefused:
    """The cause for people: PyLD wraps what a loader raised."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ContextRefused):
            return cause
        code = getattr(cause, "code", None)
        if code in ("protected term redefinition", "invalid context nullification"):
            return ContextRefused(
                "context_conflict", "A context redefines a protected term, which is an error."
            )
        cause = cause.__cause__
    reason = error.code or "invalid"
    return ContextRefused(
        "credential_not_json_ld", f"The credential cannot be read as JSON-LD: {reason}."
    )


def _read(folder: Path) -> Iterator[tuple[_Pinned, Json]]:
    manifest = folder / MANIFEST
    try:
        lines = _MANIFEST.validate_python(_json(manifest))
    except ValidationError as error:
        raise ContextsError(f"{manifest}{first_fault(error)}") from None
    for pinned in lines:
        path = folder / pinned.file
        digest = hashlib.sha256(_bytes(path)).hexdigest()
        if digest != pinned.sha256:
            raise ContextsError(
                f"{path} has the SHA-256 {digest}, but {manifest} pins {pinned.sha256}."
            )
        document = _json(path)
        if not isinstance(document, dict) or "@context" not in document:
            raise ContextsError(f"{path} is not a JSON-LD context: it has no @context.")
        yield pinned, document


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ContextsError(f"{path} cannot be read: {error.strerror}.") from None
    if len(raw) > MAX_FILE_BYTES:
        raise ContextsError(f"{path} has more than {MAX_FILE_BYTES} bytes.")
    return raw


def _json(path: Path) -> Any:
    try:
        return loads(_bytes(path))
    except NotJson as error:
        raise ContextsError(f"{path} {error}.") from None
