r"""Absolute URLs of the upstream inside a body, made URLs of the edge: an agent that follows one stays on the edge.

A URL is found by its origin, scheme and authority without regard to case, also with its slashes escaped as JSON may write them (`https:\/\/host`)
and with the default port written out. Another host that begins the same (`https://host.example.evil`), another port or a user name before the host
is another origin. Relative URLs need nothing; URLs that are encoded in any other way are left alone.

The result does not depend on chunks: only an end of a chunk that may be the beginning of such a URL is held back.
"""

import re
from urllib.parse import urlsplit

_DEFAULT_PORTS = {"http": 80, "https": 443}


class Links:
    """From one origin to one base, such as `https://billing.internal` to `https://edge.example/billing`."""

    __slots__ = ("_base", "_escaped", "_first", "_forms", "_host", "_leads", "_longest", "_pattern", "same")

    def __init__(self, upstream_origin: str, edge_base: str) -> None:
        split = urlsplit(upstream_origin.lower())
        host = (f"[{split.hostname}]" if ":" in (split.hostname or "") else split.hostname or "").encode("ascii")
        default = str(_DEFAULT_PORTS.get(split.scheme, "")).encode()
        port = str(split.port or "").encode()
        scheme = split.scheme.encode()
        ports = (b"", b":" + default) if port in (b"", default) else (b":" + port,)
        authority = re.escape(host) + (
            rb"(?::%b(?![0-9])|(?!:[0-9]))" % default if len(ports) > 1 else re.escape(ports[0])
        )
        # Behind it no host goes on, and what stands there is no user name; a full stop may end a sentence.
        self._pattern = re.compile(
            rb"(?i)(?<![A-Za-z0-9+.-])%b:(\\?)/\1/%b(?![A-Za-z0-9_@-]|\.[A-Za-z0-9_-]|:[A-Za-z0-9])"
            % (scheme, authority)
        )
        self._leads = (len(scheme) + 3, len(scheme) + 5)  # from the scheme to the host, plain and escaped
        self._host = host
        self._forms = tuple(
            scheme + b":" + slash * 2 + host + each + end
            for slash in (b"/", b"\\/")
            for each in ports
            for end in (b".", b":")
        )
        self._base = edge_base.rstrip("/").encode("latin-1")
        self._escaped = self._base.replace(b"/", b"\\/")
        self._first = scheme[:1]
        self._longest = max(map(len, self._forms))
        self.same = self._base.lower() == upstream_origin.lower().rstrip("/").encode()

    def replaced(self, text: bytes, start: int = 0, end: int | None = None) -> bytes:
        """`text[start:end]` with the origin replaced wherever a URL begins with it; what stands beside that is looked at."""
        end = len(text) if end is None else end
        low = text.lower()
        out: list[bytes] = []
        at = start
        host = low.find(self._host, start)
        while host >= 0:
            for lead in self._leads:
                if at <= host - lead < end and (found := self._pattern.match(text, host - lead)) is not None:
                    out += (text[at : host - lead], self._escaped if found[1] else self._base)
                    at = found.end()
            host = low.find(self._host, host + 1)
        if not out:
            return text if end - start == len(text) else text[start:end]
        out.append(text[at:end])
        return b"".join(out)

    def undecided(self, text: bytes) -> int:
        """Where the end of `text` begins that may still become such a URL, or is one of which the next byte decides."""
        low = text[-self._longest :].lower()
        at = low.find(self._first)
        while at >= 0:
            if any(form.startswith(low[at:]) for form in self._forms):
                return len(text) - len(low) + at
            at = low.find(self._first, at + 1)
        return len(text)


class LinkSink:
    """Replaces in one body as it passes."""

    __slots__ = ("_before", "_held", "_links")

    def __init__(self, links: Links) -> None:
        self._links = links
        self._held = b""
        self._before = b""  # the byte before `_held`: a URL does not begin inside a word

    @property
    def held(self) -> int:
        """Bytes taken in and not yet given out."""
        return len(self._held)

    def feed(self, data: bytes) -> bytes:
        """Take in the next bytes and give out what can no longer change."""
        text = self._held + data
        return self._give(text, self._links.undecided(text))

    def finish(self) -> bytes:
        """The body has ended: give out all that is held."""
        return self._give(self._held, len(self._held))

    def _give(self, text: bytes, end: int) -> bytes:
        self._held = text[end:]
        if not end:
            return b""
        lead = self._before
        self._before = text[end - 1 : end]
        return self._links.replaced(lead + text, len(lead), len(lead) + end)
