"""Secrets that agents send inside their commands: redacted in the recording, the original kept encrypted beside it.

Detection is best effort: the kernel's `secret` detectors, and quoted literals behind a word such as PASSWORD. The key
lies in the edge's data_dir, readable by its account only, and never leaves the machine; `unseal` is for whoever holds
that file.
"""

import os
import re
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from gateway_kernel.audit import (
    Body,
    Decided,
    Finished,
    Noted,
    OperationRecord,
    Pending,
    Prepared,
    Repeated,
    Sending,
    SessionClosed,
    SessionOpened,
)
from gateway_kernel.masking.detectors import FAMILY, Screen, compile_set, resolve
from gateway_kernel.masking.masker import Detection
from gateway_kernel.masking.strategies import MaskingKeys
from gateway_kernel.model import Parameter

_LITERAL = re.compile(
    rb"\b((?:password|passwd|pwd|passphrase|secret|identified\s+by)\s*(?:=>|:=|[=:(])?\s*(?:e|u&|n)?)"
    rb"('(?:[^'\\]|''|\\.)*'|\"(?:[^\"\\]|\\.)+\"|\$(\w*)\$.*?\$\3\$)",
    re.IGNORECASE | re.DOTALL,
)
_WORDS = rb"(?i)password|passwd|pwd|passphrase|secret|identified\s+by"  # without one of them `_LITERAL` finds nothing
SHORTEST = 8  # bytes; no detector of the family matches less
_CONTEXT = b"sallyport sealed 1"
_CACHED = 4096  # statements whose redaction is remembered
_CACHED_LENGTH = 16 << 10  # bytes; longer ones are looked at each time


# Looked at for every event, so one set look-up where an isinstance of a union costs ten.
_WITH_OPERATION = (Sending, Decided, Pending, Prepared)
_WITHOUT_OPERATION = frozenset({Finished, Repeated, Noted, SessionOpened, SessionClosed})


class Original(msgspec.Struct, frozen=True):
    """What was replaced: the fields of an operation as the agent sent them."""

    text: str
    parameters: tuple[Parameter, ...] = ()


class Vault:
    """Seals what must not be read in a recording. Shows nothing of its key."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)
        self._detection = Detection({FAMILY: "redact"})
        self._screen = Screen(resolve((FAMILY,)))
        self._loose = compile_set([_WORDS, *(detector.pattern for detector in resolve((FAMILY,)))])
        self._texts: dict[str, str] = {}

    @classmethod
    def in_directory(cls, directory: Path) -> "Vault":
        """The vault whose key is `directory/secrets.key`, made (mode 0600) if it is missing."""
        path = directory / "secrets.key"
        draft = directory / f"secrets.key.{os.getpid()}.tmp"
        if not path.exists():
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                os.write(descriptor, AESGCM.generate_key(256))
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            try:
                os.link(draft, path)  # several workers may start at once: the first one's key holds
            except FileExistsError:
                pass
            finally:
                draft.unlink()
        return cls(path.read_bytes())

    @staticmethod
    def masking_keys(directory: Path) -> MaskingKeys:
        """The keys of the masking strategies, derived from the key of this directory's vault."""
        derived = _derived(directory, "masking", 96)
        return MaskingKeys(derived[:32], derived[32:])

    @staticmethod
    def derived_key(directory: Path, purpose: str) -> bytes:
        """256 bits for another purpose, derived from the same key."""
        return _derived(directory, purpose, 32)

    def __repr__(self) -> str:
        return "Vault(hidden)"

    def redacted(self, body: Body) -> Body:
        """`body` with secrets replaced and the originals sealed; the same object if it holds none."""
        if type(body) in _WITHOUT_OPERATION:
            return body
        if not isinstance(body, _WITH_OPERATION) or body.operation is None:
            return body
        operation = self._operation(body.operation)
        before = "" if isinstance(body, Prepared) else body.rewritten_from
        after = self._text(before) if before else before
        if operation is body.operation and after == before:
            return body
        if isinstance(body, Prepared):
            return msgspec.structs.replace(body, operation=operation)
        return msgspec.structs.replace(body, operation=operation, rewritten_from=after)

    def hides_nothing(self, text: str, parameters: tuple[Parameter, ...]) -> bool:
        """True if `redacted` would leave an operation with this text and these parameters as it is."""
        return self._text(text) is text and not (parameters and self._suspicious(parameters))

    def unseal(self, sealed: bytes) -> Original:
        """What `sealed` hides; raises `cryptography.exceptions.InvalidTag` if this is not its key or it was altered."""
        return msgspec.json.decode(self._cipher.decrypt(sealed[:12], sealed[12:], _CONTEXT), type=Original)

    def _operation(self, operation: OperationRecord) -> OperationRecord:
        text = self._text(operation.text)
        parameters = operation.parameters
        if parameters and self._suspicious(parameters):
            parameters = tuple(self._parameter(each) for each in parameters)
            if parameters == operation.parameters:
                parameters = operation.parameters
        if text is operation.text and parameters is operation.parameters:
            return operation
        nonce = os.urandom(12)
        original = msgspec.json.encode(Original(operation.text, operation.parameters))
        sealed = nonce + self._cipher.encrypt(nonce, original, _CONTEXT)
        return msgspec.structs.replace(operation, text=text, parameters=parameters, sealed=sealed)

    def _text(self, text: str) -> str:
        known = self._texts.get(text)
        if known is not None:
            return text if known == text else known
        data = text.encode("utf-8", "surrogatepass")
        hidden = self._hidden(data) if self._loose.Match(data) else data
        redacted = text if hidden == data else hidden.decode("utf-8", "replace")
        if len(data) <= _CACHED_LENGTH:
            if len(self._texts) >= _CACHED:
                self._texts.clear()
            self._texts[text] = redacted
        return redacted

    def _hidden(self, data: bytes) -> bytes:
        return self._detection.mask_value(_LITERAL.sub(rb"\1'***'", data)) or b""

    def _suspicious(self, parameters: tuple[Parameter, ...]) -> bool:
        long = [value for each in parameters if (value := each.value) is not None and len(value) >= SHORTEST]
        return long != [] and bool(self._screen.spans(b"\n".join(long)))

    def _parameter(self, parameter: Parameter) -> Parameter:
        if parameter.value is None:
            return parameter
        hidden = self._hidden(parameter.value)
        return parameter if hidden == parameter.value else msgspec.structs.replace(parameter, value=hidden)


def _derived(directory: Path, purpose: str, size: int) -> bytes:
    Vault.in_directory(directory)
    key = (directory / "secrets.key").read_bytes()
    return HKDF(hashes.SHA256(), size, None, f"sallyport {purpose}".encode()).derive(key)
