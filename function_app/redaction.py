"""Text of an operation as it may be shown: credentials that detectors find are hidden (invariant 5). What is stored stays whole, encrypted.

Best effort by nature: see `gateway_kernel.masking.detectors`.
"""

from gateway_kernel.masking.detectors import FAMILY, resolve

HIDDEN = "[secret hidden]"
_DETECTORS = resolve([FAMILY])


def redact(text: str) -> str:
    """Return `text` with every credential found replaced by `HIDDEN`."""
    data = text.encode("utf-8", "surrogatepass")
    spans = sorted(span for detector in _DETECTORS for span in detector.find(data))
    if not spans:
        return text
    parts: list[bytes] = []
    at = 0
    for start, end in spans:
        if end <= at:
            continue
        if start >= at:
            parts += (data[at:start], HIDDEN.encode())
        at = end
    parts.append(data[at:])
    return b"".join(parts).decode("utf-8", "replace")
