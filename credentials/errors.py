"""What can be wrong with a credential operation for good: trying again would not help.

CredentialError           `code` is a stable word, the message is for people
├── DidError              a DID that cannot be resolved, `code` as DID Resolution names it
│   ├── Deactivated       it is no more                            (resolver)
│   └── RetrievalError    its document cannot be had now: the one error here that may pass
├── KeyTypeRefused        a type of key nothing is signed with     (keys)
├── SealError             a stored key that cannot be opened       (keyring)
└── KeyRefused            a DID this organization cannot sign with (custody)

KeyringError stands apart: the process is set up wrongly and must not start.
"""


class CredentialError(Exception):
    """Base of the permanent errors. Messages never hold key material."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class DidError(CredentialError):
    """A DID that cannot be resolved. `code` is what DID Resolution or the method calls it:
    invalidDid, methodNotSupported, notFound, deactivated, invalidDidDocument, invalidPublicKey,
    invalidPublicKeyLength, unsupportedPublicKeyType, and of our own blocked.
    """

    transient = False
    """Whether trying again may help."""


class Deactivated(DidError):
    """The DID was deactivated by its controller, for good."""

    def __init__(self, message: str = "This DID was deactivated.") -> None:
        super().__init__("deactivated", message)


class RetrievalError(DidError):
    """The document could not be fetched this time: try again (A5). Catch it before DidError."""

    transient = True

    def __init__(self, message: str, *, after_s: float = 0) -> None:
        super().__init__("DID_RETRIEVAL_ERROR", message)
        self.after_s = after_s
        """Not before this many seconds, if it is known."""
