"""credentialSchema: VC JSON Schema's JsonSchema and JsonSchemaCredential (J1-J3).

Entries of other types are passed over (E8). A schema that cannot be had or understood is no
permission: the credential is then not valid.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from credentials.authentic import Reader
from credentials.datamodel import Json, entries, types_of
from credentials.integrity import check, fits
from credentials.references import schema_entries
from credentials.requester import current_requester
from credentials.retrieval import NotRetrieved, Retrieve
from credentials.schema_validation import validate
from credentials.statements import Statement
from credentials.strict_json import NotJson, load_object
from credentials.verdict import CouldNotTell, Invalid

MAX_SCHEMA_BYTES = 128 * 1024
CACHE_S = 300.0
CACHE_SCHEMAS = 64
KNOWN_SCHEMAS = 1_024
"""Digests that are remembered of what was found to be a schema."""

MEDIA_TYPES = {
    "JsonSchema": "application/schema+json, application/json;q=0.9",
    "JsonSchemaCredential": "application/vc+jwt, application/jwt;q=0.9",
}

Check = Callable[[Statement], Awaitable[object]]


@dataclass(slots=True)
class SchemaCheck:
    """Fetches schemas, keeps them for a short while, and validates credentials against them.

    `status` says whether the credential that a schema comes in still stands.
    """

    reader: Reader
    retrieve: Retrieve
    status: Check
    _bodies: OrderedDict[str, tuple[float, bytes]] = field(default_factory=OrderedDict)
    _well_formed: OrderedDict[bytes, None] = field(default_factory=OrderedDict)

    async def check(self, statement: Statement) -> None:
        """Return when the whole credential conforms to each of its schemas.

        Raises Invalid: SCHEMA_VALIDATION_ERROR, SCHEMA_RETRIEVAL_ERROR, SCHEMA_VERIFICATION_ERROR,
        SCHEMA_MALFORMED, SCHEMA_INDETERMINATE, RELATED_RESOURCE_MISMATCH, MALFORMED_VALUE_ERROR;
        CouldNotTell SCHEMA_RETRIEVAL_ERROR; CapacityError.
        """
        for kind, entry in schema_entries(statement.document):
            body = await self._body(entry, MEDIA_TYPES[kind])
            if not fits(entry, body):
                raise _unverified("it is not what its digest says")
            check(statement.document, str(entry["id"]), body)
            await self._validate(await self._schema(kind, body), statement.document, body)

    async def _validate(self, schema: Json, document: Json, body: bytes) -> None:
        """Within what the requester may still spend; that a text is a schema is found out once."""
        requester = current_requester()
        requester.occupy()
        digest = hashlib.sha256(body).digest()
        requester.steps -= await self.reader.keys.compute_long(
            validate, schema, document, requester.steps, digest in self._well_formed
        )
        self._well_formed[digest] = None
        while len(self._well_formed) > KNOWN_SCHEMAS:
            self._well_formed.popitem(last=False)

    async def _schema(self, kind: str, body: bytes) -> Json:
        if kind == "JsonSchema":
            try:
                return load_object(body)
            except NotJson as error:
                raise Invalid("SCHEMA_MALFORMED", f"The schema {error}.") from None
        return await self._enclosed(body)

    async def _body(self, entry: Json, media_type: str) -> bytes:
        url = str(entry["id"])
        body = self._recall(url)
        if body is None:
            current_requester().occupy()
            try:
                body = await self.retrieve(url, MAX_SCHEMA_BYTES, media_type)
            except NotRetrieved as error:
                code, message = "SCHEMA_RETRIEVAL_ERROR", f"The schema: {error}"
                if error.transient:
                    raise CouldNotTell(code, message, after_s=error.after_s) from error
                raise Invalid(code, message) from None
            self._keep(url, body)
        return body

    def _recall(self, url: str) -> bytes | None:
        until_s, body = self._bodies.get(url, (0.0, b""))
        return body if self.reader.clock() < until_s else None

    def _keep(self, url: str, body: bytes) -> None:
        self._bodies.pop(url, None)
        self._bodies[url] = (self.reader.clock() + CACHE_S, body)
        while len(self._bodies) > CACHE_SCHEMAS:
            self._bodies.popitem(last=False)

    async def _enclosed(self, body: bytes) -> Json:
        """The schema in a credential, which is verified like any other."""
        token = body.decode("ascii", errors="replace").strip(" \t\r\n")
        try:
            statement = await self.reader.authentic(token)
            await self.status(statement)
        except Invalid as error:
            raise _unverified(f"{error.code}, {error}") from None
        if "JsonSchemaCredential" not in types_of(statement.document):
            raise _unverified("its type does not include JsonSchemaCredential")
        subjects = entries(statement.document, "credentialSubject")
        schema = subjects[0].get("jsonSchema")
        if len(subjects) != 1 or subjects[0].get("type") not in ("JsonSchema", ["JsonSchema"]):
            raise _unverified("its subject is not of type JsonSchema")
        if not isinstance(schema, dict):
            raise _unverified("it has no jsonSchema, an object")
        return schema


def _unverified(why: str) -> Invalid:
    return Invalid(
        "SCHEMA_VERIFICATION_ERROR", f"The schema cannot be accepted: {why.removesuffix('.')}."
    )
