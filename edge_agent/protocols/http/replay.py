"""Recorded responses read back: the head and body that the agent got, as masked, with the chunks taken apart.

A body that was cut short (`record: head`) gives what is there, unpacked if it went to the agent compressed. Nothing is unmasked here.
"""

import codecs

from edge_agent.protocols.http.codec import ResponseCodec
from edge_agent.protocols.http.content import PIECE, ContentError, Decoder, codings, known
from edge_agent.protocols.http.messages import PeerError, ResponseHead
from edge_agent.protocols.replay import Passage

LONGEST = 1 << 20  # bytes of a compressed body that are told; a recording keeps less of any other
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
    names = codings(coding)
    if not body or not names:
        return Passage("\n".join(lines), *_told(body, media_type))
    text, _ = _told(_unpacked(body, names), media_type) if known(names) else ("", "")
    return Passage("\n".join(lines), text, f"{len(body)} bytes, {coding}")


def _unpacked(body: bytes, names: tuple[str, ...]) -> bytes:
    """The beginning of the body before it was compressed, as far as the recording goes."""
    pieces: list[bytes] = []
    try:
        for piece in Decoder(names).feed(body):
            pieces.append(piece)
            if len(pieces) * PIECE > LONGEST:
                break
    except ContentError:
        return b"".join(pieces)  # cut or damaged: what could be read before is told
    return b"".join(pieces)


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
