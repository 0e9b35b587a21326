"""Where one message of the Redis protocol ends: enough of RESP2 and RESP3 to count replies."""

CRLF = b"\r\n"
LINES = b"+-:_,#("
BULKS = b"$=!"
AGGREGATES = {ord("*"): 1, ord("~"): 1, ord(">"): 1, ord("%"): 2, ord("|"): 2}
PUSH = ord(">")


def message_end(data: bytes | bytearray, start: int = 0) -> int | None:
    """The index behind the message that begins at `start`; None when it is not complete yet.

    ValueError for what is not RESP.
    """
    wanted = 1
    while wanted:
        line = data.find(CRLF, start)
        if line < 0:
            return None
        kind, head, start = data[start], data[start + 1 : line], line + 2
        wanted -= 1
        if kind in AGGREGATES:
            wanted += max(int(head), 0) * AGGREGATES[kind]
            wanted += kind == ord("|")  # attributes stand in front of the message proper
        elif kind in BULKS:
            start += int(head) + 2 if int(head) >= 0 else 0
            if start > len(data):
                return None
        elif kind not in LINES:
            raise ValueError(f"not RESP: {bytes(data[line - 20 : line])!r}")
    return start


def words_of(request: bytes) -> tuple[bytes, ...]:
    """The words of a complete request (an array of bulk strings)."""
    words = []
    line = request.index(CRLF)
    at = line + 2
    for _ in range(int(request[1:line])):
        line = request.index(CRLF, at)
        length = int(request[at + 1 : line])
        words.append(request[line + 2 : line + 2 + length])
        at = line + 4 + length
    return tuple(words)
