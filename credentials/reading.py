"""From a parsed token to what it says: which data model it follows, its header decides (C2, B1)."""

from typing import Any

from credentials import claims11, claims20
from credentials.datamodel import FIRST_CONTEXT
from credentials.envelopes import not_accepted
from credentials.statements import Kind, Statement
from credentials.token import Token


def read(token: Token, kind: Kind) -> Statement:
    """What the token says, as a credential or as a presentation.

    Any other type is refused, whatever is in it, so that a token made for one purpose never
    serves another: Invalid TYPE_NOT_ACCEPTED. Else as `claims11` and `claims20` raise.
    """
    media_type = token.media_type
    if media_type is None:
        media_type = _guess(token.payload)
    wanted = {"credential": ("vc+jwt", "vc"), "presentation": ("vp+jwt", "vp")}
    type_20, member_11 = wanted[kind]
    _check_content_type(token, kind)
    if media_type == type_20:
        if kind == "credential":
            return claims20.credential(token.payload)
        return claims20.presentation(token.payload, token.kid)
    if media_type == "jwt" and (member_11 in token.payload or not _other(token.payload)):
        read_11 = claims11.credential if kind == "credential" else claims11.presentation
        return read_11(token.payload)
    raise not_accepted(
        f"This token is not a {kind}: typ must be {type_20} (data model 2.0), "
        f"or JWT with a member {member_11} (1.1)."
    )


def _check_content_type(token: Token, kind: Kind) -> None:
    """`cty` says what the payload is: `vc` or `vp` (VC-JOSE-COSE 3.1), or only that it is JSON.
    Another one, as `JWT` for a token in the token (RFC 7519, 5.2), is another thing. Raises
    Invalid TYPE_NOT_ACCEPTED."""
    expected = {"credential": "vc", "presentation": "vp"}[kind]
    if token.content_type not in (None, expected, "json"):
        raise not_accepted(
            f"The payload is not a {kind}: cty, if there is one, must be {expected} or json."
        )


def _other(payload: dict[str, Any]) -> bool:
    """A 1.1 token that holds the other kind."""
    return "vc" in payload or "vp" in payload


def _guess(payload: dict[str, Any]) -> str:
    """The type of a token without `typ`: by the place of its context, if that is clear."""
    contexts = payload.get("@context")
    if not isinstance(contexts, list) or contexts[:1] != [FIRST_CONTEXT["2.0"]]:
        return "jwt"
    if _other(payload):
        return "ambiguous"
    types = payload.get("type")
    is_presentation = "VerifiablePresentation" in (types if isinstance(types, list) else [types])
    return "vp+jwt" if is_presentation else "vc+jwt"
