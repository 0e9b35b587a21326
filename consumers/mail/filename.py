"""The name an attachment gets: the last part of the path, and nothing that is not text."""

import mimetypes
import unicodedata

MAX_BYTES = 150
NAMELESS = "attachment"
OCTETS = "application/octet-stream"
_SEPARATORS = str.maketrans({"\\": "/", ":": "_", '"': "_", "<": "_", ">": "_", "|": "_"})
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Controls, format characters (those that turn the direction of text among them), surrogates."""


def safe_filename(given: str) -> str:
    """At most 150 bytes in NFC (EM-8); `attachment` when nothing is left."""
    name = unicodedata.normalize("NFC", given).translate(_SEPARATORS).rpartition("/")[2]
    name = "".join(char for char in name if unicodedata.category(char) not in _INVISIBLE)
    name = _shortened(name.strip())
    return NAMELESS if name.strip(". ") == "" else name


def _shortened(name: str) -> str:
    """Cut in the stem, because the extension says what the file is."""
    if len(name.encode()) <= MAX_BYTES:
        return name
    stem, dot, extension = name.rpartition(".")
    if not stem or len(extension.encode()) > 20:
        stem, dot, extension = name, "", ""
    room = MAX_BYTES - len((dot + extension).encode())
    return stem.encode()[:room].decode(errors="ignore").rstrip() + dot + extension


def media_type(name: str) -> tuple[str, str]:
    """Main and subtype by the extension, from the table that is part of Python."""
    guessed, encoding = _TYPES.guess_type(name)
    kind = OCTETS if guessed is None or encoding is not None else guessed
    main, _, sub = kind.partition("/")
    # These two are no files but structures of a message: their content would be read as such.
    return ("application", "octet-stream") if main in ("message", "multipart") else (main, sub)


_TYPES = mimetypes.MimeTypes()  # not the system's: a message must not depend on the machine
