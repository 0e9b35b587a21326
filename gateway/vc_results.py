"""Results of vc-verification jobs in the words of the VC API."""

from typing import Any, Final

from gateway.errors import TYPE_PREFIX

CHECKS: Final = ("proof", "validity", "credentialStatus", "credentialSchema")
_DATA_MODEL_ERRORS = {
    *("PARSING_ERROR", "CRYPTOGRAPHIC_SECURITY_ERROR", "MALFORMED_VALUE_ERROR", "RANGE_ERROR")
}
_STATUS_ERRORS = ("RETRIEVAL", "VERIFICATION", "LIST_LENGTH")
_STATUS_LIST_ERRORS = {f"STATUS_{name}_ERROR" for name in _STATUS_ERRORS}
Json = dict[str, Any]


def verification(result: Json) -> Json:
    """What became of a verification, in the words of the VC API."""
    errors, details = [], []
    if not result["valid"]:
        code, _, sentence = result["error"].partition(": ")
        errors = [result["error"]]
        details = [{"type": _problem_type(code), "title": code, "detail": sentence}]
    return {
        "verified": result["valid"],
        "checks": list(CHECKS),
        "warnings": _warnings(result),
        "errors": errors,
        "problemDetails": details,
    }


def _warnings(result: Json) -> list[str]:
    warnings: list[str] = list(result.get("warnings", []))
    if result.get("indeterminate"):
        warnings.append("It could not be told whether it is valid: try again later.")
    return warnings


def _problem_type(code: str) -> str:
    if code in _DATA_MODEL_ERRORS:
        return f"https://www.w3.org/TR/vc-data-model#{code}"
    if code in _STATUS_LIST_ERRORS:
        return f"https://www.w3.org/ns/credentials/status-list#{code}"
    return TYPE_PREFIX + code.lower()
