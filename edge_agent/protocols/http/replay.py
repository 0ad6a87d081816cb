"""Recorded responses read back: the head and body that the agent got, as masked, with the chunks taken apart.

A body that was cut short (`record: head`) gives what is there. Nothing is unmasked here, and nothing of a body is decoded but its letters: what was
passed on compressed is told by its length.
"""

import codecs

from edge_agent.protocols.http.codec import ResponseCodec
from edge_agent.protocols.http.messages import PeerError, ResponseHead
from edge_agent.protocols.replay import Passage

_WHITE = "\t\n\r"
_LATIN = ("iso-8859-1", "latin1", "latin-1")


def http_passages(body: bytes) -> tuple[Passage, ...]:
    """One passage for each head in `body`: interim responses, then the one that answers."""
    codec = ResponseCodec()
    codec.expect("GET")  # an answer to HEAD looks like one that was cut behind its head
    codec.feed(body)
    found: list[tuple[ResponseHead, list[bytes]]] = []
    try:
        while (event := codec.next()) is not None:
            if isinstance(event, ResponseHead):
                found.append((event, []))
            elif isinstance(event, bytes):
                found[-1][1].append(event)
            else:
                break
    except PeerError:
        return (*_passages(found), Passage("", *_told(codec.leftover or body, "")))
    if found and found[-1][0].status == 101 and codec.leftover:
        return (
            *_passages(found),
            Passage("", note=f"{len(codec.leftover)} bytes of {found[-1][0].upgrade or 'frames'}"),
        )
    return _passages(found) if found else (Passage("", *_told(body, "")),)


def _passages(found: list[tuple[ResponseHead, list[bytes]]]) -> tuple[Passage, ...]:
    return tuple(_passage(head, b"".join(pieces)) for head, pieces in found)


def _passage(head: ResponseHead, body: bytes) -> Passage:
    lines = [f"{head.status} {head.reason}".rstrip(), *(f"{name}: {value}" for name, value in head.headers)]
    values = {name.lower(): value.lower() for name, value in head.headers}
    coding, media_type = values.get("content-encoding", "identity"), values.get("content-type", "")
    if body and coding != "identity":
        return Passage("\n".join(lines), note=f"{len(body)} bytes, {coding}")
    return Passage("\n".join(lines), *_told(body, media_type))


def _told(body: bytes, media_type: str) -> tuple[str, str]:
    """The body as text, or a note where it is none. A letter that was cut in half at the end is left out."""
    if any(name in media_type for name in _LATIN):
        text = body.decode("latin-1")
    else:
        try:
            text = codecs.getincrementaldecoder("utf-8")().decode(body)
        except UnicodeDecodeError:
            text = "\0"
    if any(each < " " and each not in _WHITE for each in text):
        return "", f"{len(body)} bytes of {media_type.partition(';')[0].strip() or 'something that is no text'}"
    return text, ""
