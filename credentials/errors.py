"""What can be wrong with a credential operation for good: trying again would not help.

CredentialError           `code` is a stable word, the message is for people
├── DidError              a DID that cannot be resolved            (did_key)
├── SealError             a stored key that cannot be opened       (keyring)
└── KeyRefused            a DID this organization cannot sign with (custody)

KeyringError stands apart: the process is set up wrongly and must not start.
"""


class CredentialError(Exception):
    """Base of the permanent errors. Messages never hold key material."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
