# cython: language_level=3, boundscheck=False, wraparound=False
"""The short way of a statement that was led through the gate before in the same session and differs only in its values.

Most of what agents send repeats. `gate.repeats` says what may go this way: it was allowed without asking anybody, only reads, and nothing in it or its
response is changed. Each repetition is still judged by the policy in force, counted against every limit and recorded before it is sent, as `gate.admit`
orders it; whatever is not exactly as before goes through `Driver.admit`, which decides anew.

Compiled only, and optional: without this module everything goes the ordinary way, slower and with the same results. The lines it writes are those that
`audit` would encode, byte for byte.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_AsUTF8AndSize, PyUnicode_DecodeASCII
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport realloc
from libc.string cimport memcpy
from posix.time cimport CLOCK_REALTIME, clock_gettime, timespec

from edge_agent.spool cimport Spool, Waiting
from gateway_kernel.chain cimport Chain

from hashlib import sha256

from msgspec.json import Encoder

from edge_agent import failpoints
from edge_agent.ledger import OpenOperation
from edge_agent.spool import SpoolError
from gateway_kernel.audit import Finished, Outcome, ResponseRecord, Sending, operation_record, verdict_record
from gateway_kernel.gate import repeats
from gateway_kernel.model import Operation
from gateway_kernel.policy.quick import Comparison

cdef extern from "dlfcn.h" nogil:
    void* dlopen(const char* name, int mode)
    void* dlsym(void* library, const char* name)
    int RTLD_NOW

# OpenSSL's SHA-256 without its lookups, which cost as much as the digest of a short line; hashlib's where that is not there.
ctypedef int (*Begin)(void*) noexcept nogil
ctypedef int (*Update)(void*, const void*, size_t) noexcept nogil
ctypedef int (*End)(unsigned char*, void*) noexcept nogil
cdef Begin _begin = NULL
cdef Update _update = NULL
cdef End _end = NULL


cdef void _find_sha256() noexcept:
    global _begin, _update, _end
    cdef void* library = dlopen(b"libcrypto.so.3", RTLD_NOW)
    if library == NULL:
        library = dlopen(b"libcrypto.so.1.1", RTLD_NOW)
    if library != NULL:
        _begin, _update, _end = <Begin>dlsym(library, b"SHA256_Init"), <Update>dlsym(library, b"SHA256_Update"), <End>dlsym(library, b"SHA256_Final")


_find_sha256()

cdef bint _armed = failpoints.armed  # settled when the process starts
cdef object _encode = Encoder().encode
cdef const char* _HEX = b"0123456789abcdef"
cdef const char* _BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


cdef long long instant() noexcept:
    """Now, in microseconds since 1970 (`model.Instant`)."""
    cdef timespec now
    clock_gettime(CLOCK_REALTIME, &now)
    return <long long>now.tv_sec * 1000000 + now.tv_nsec // 1000


cdef int _hexadecimal(const char* data, Py_ssize_t size, char* out) except -1:
    """The SHA-256 of `data` as 64 hexadecimal digits."""
    cdef uint64_t context[64]  # SHA256_CTX has 112 bytes
    cdef unsigned char digest[32]
    cdef int at
    if _begin == NULL or _update == NULL or _end == NULL:
        memcpy(out, PyBytes_AS_STRING(sha256(data[:size]).hexdigest().encode()), 64)
        return 0
    _begin(context)
    _update(context, data, size)
    _end(digest, context)
    for at in range(32):
        out[2 * at], out[2 * at + 1] = _HEX[digest[at] >> 4], _HEX[digest[at] & 15]
    return 0


cdef class Text:
    """Bytes that are being written; emptied, not given back, so that its room lasts."""

    cdef int reserve(self, Py_ssize_t more) except -1:
        cdef char* larger
        if self.size + more > self.room:
            larger = <char*>realloc(self.start, 2 * (self.size + more))
            if larger == NULL:
                raise MemoryError
            self.start, self.room = larger, 2 * (self.size + more)
        return 0

    cdef int put(self, const char* data, Py_ssize_t size) except -1:
        self.reserve(size)
        memcpy(self.start + self.size, data, size)
        self.size += size
        return 0

    cdef int add(self, bytes data) except -1:
        return self.put(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))

    cdef int number(self, long long value) except -1:
        """A number that is not negative."""
        cdef char digits[24]
        cdef int at = 24
        while True:
            at -= 1
            digits[at] = <char>(0x30 + value % 10)
            value //= 10
            if not value:
                return self.put(digits + at, 24 - at)

    cdef int base64(self, const unsigned char* data, Py_ssize_t size) except -1:
        """RFC 4648, with padding, as JSON carries bytes."""
        cdef Py_ssize_t at = 0
        cdef uint32_t three
        self.reserve((size + 2) // 3 * 4)
        cdef char* to = self.start + self.size
        self.size += (size + 2) // 3 * 4
        while at + 2 < size:
            three = <uint32_t>data[at] << 16 | <uint32_t>data[at + 1] << 8 | data[at + 2]
            to[0], to[1], to[2], to[3] = _BASE64[three >> 18], _BASE64[three >> 12 & 63], _BASE64[three >> 6 & 63], _BASE64[three & 63]
            to += 4
            at += 3
        if at < size:
            three = <uint32_t>data[at] << 16 | (<uint32_t>data[at + 1] << 8 if at + 1 < size else 0)
            to[0], to[1], to[3] = _BASE64[three >> 18], _BASE64[three >> 12 & 63], 0x3D
            to[2] = _BASE64[three >> 6 & 63] if at + 1 < size else 0x3D
        return 0


cdef Text _line = Text()  # of the event that is being written
cdef Text _values = Text()  # of the operation that is being judged


cdef Text values_text():
    """Where a room writes the values of an operation, as JSON, before it calls `Repeats.send`."""
    return _values


cdef enum:
    SIZE, OPERATIONS, ROWS_READ, BYTES_READ, ROWS_WRITTEN, REVIEWS, HOUR, WEEKDAY
    EQUAL, UNEQUAL, LESS, AT_MOST, MORE, AT_LEAST

_SOURCES = {
    "operation.size": SIZE, "session.operations": OPERATIONS, "session.rows_read": ROWS_READ, "session.bytes_read": BYTES_READ,
    "session.rows_written": ROWS_WRITTEN, "session.reviews": REVIEWS, "time.hour": HOUR, "time.weekday": WEEKDAY,
}
_SYMBOLS = {"_==_": EQUAL, "_!=_": UNEQUAL, "_<_": LESS, "_<=_": AT_MOST, "_>_": MORE, "_>=_": AT_LEAST}


@cython.final
cdef class Compared:
    """A `quick.Comparison` and what it said."""
    cdef int source, symbol
    cdef long long value
    cdef bint said

    def __init__(self, comparison, said):
        self.source, self.symbol = _SOURCES[comparison.source], _SYMBOLS[comparison.symbol]
        self.value = comparison.value
        self.said = said

    cdef bint as_before(self, object session, Py_ssize_t size, long long now) except -1:
        cdef long long number
        if self.source == SIZE: number = size
        elif self.source == OPERATIONS: number = session.operations
        elif self.source == ROWS_READ: number = session.rows_read
        elif self.source == BYTES_READ: number = session.bytes_read
        elif self.source == ROWS_WRITTEN: number = session.rows_written
        elif self.source == REVIEWS: number = session.reviews
        elif self.source == HOUR: number = now % 86_400_000_000 // 3_600_000_000
        else: number = (now // 86_400_000_000 + 3) % 7 + 1
        if self.symbol == EQUAL: return (number == self.value) == self.said
        if self.symbol == UNEQUAL: return (number != self.value) == self.said
        if self.symbol == LESS: return (number < self.value) == self.said
        if self.symbol == AT_MOST: return (number <= self.value) == self.said
        if self.symbol == MORE: return (number > self.value) == self.said
        return (number >= self.value) == self.said


cdef class Tally:
    """What this worker sent in the short way, and what of it completed; each is an event of the recording as well."""


tally = Tally()
cdef Tally _tally = tally


cdef class Course:
    """A statement that was forwarded in this session: how it was judged, by which policy, and what may not have changed since.

    `like` is the event that records it whole, below 0 until there is one. `compared` is what has to be asked at each execution; where the
    policy asks more than comparisons, `comparable` is false and the policy itself is asked.
    """

    def __init__(self, judgement, policy, session, now):
        self.judgement = judgement
        self.policy = policy
        self.verdict = judgement.verdict
        self.text = judgement.operation.text
        self.like = -1
        watched = policy.watched(judgement.operation, session, now)
        self.capped = bool(policy.caps)
        self.comparable = watched is not None and all(isinstance(quick, Comparison) for quick, _ in watched)
        self.compared = [Compared(quick, said) for quick, said in watched] if self.comparable else []


cdef class Repeats:
    """The short way of one session. `send` and `completed` are for a room's compiled part, which keeps to what `gateway.Channel` asks."""

    def __init__(self, driver, session):
        self._driver = driver
        self._bundles = driver.bundles
        self._recorder = driver.recorder
        self._session = session
        self._agent = session.agent.name
        self._resource = session.resource.name
        self._pair = None
        self._spool, self._entry, self._owed = driver.recorder.short_way(session.id)
        self._entry.repeats = self
        self._chain = self._entry.chain
        self._usage = driver.usage
        self._name = _encode(session.id).strip(b'"')
        self._kind = session.resource.protocol.encode("ascii")
        self._opening = b'{"v":1,"session":"' + self._name + b'","sequence":'

    def learn(self, judgement):
        """What it takes to send this statement again; None if it has to be led through the gate each time."""
        policy, operation, session = self._bundles.policy, judgement.operation, self._session
        if policy is None or policy.digest != judgement.verdict.policy or not repeats(judgement, session):
            return None
        now = instant()
        if not self._recorder.plain(operation.text, ()) or policy.evaluate(operation, session, now) is not judgement.verdict:
            return None
        return Course(judgement, policy, session, now)

    cdef Sent send(self, Course course, long long number, str text, Waiting turn, bint secret, Py_ssize_t size, long long now) except FAILED:
        """Judge, count and record operation `number` of this session, whose facts and context are those of `course`.

        `values_text` holds its parameters as JSON, nothing if it has none, and `turn.parameters()` gives them as objects; `secret`: they, or the text, may
        hold one. NOT: nothing has happened. NOW: it must be sent now, QUEUED: when the spool settles `turn` as written; either way `completed`, or `close`
        with another outcome, be called once. If the spool settles it as refused `take_back` must be called, and nothing has happened.
        """
        cdef object session = self._session
        cdef Sent sent
        if self.number or course.policy is not self._bundles.policy or now >= <long long>self._bundles.fresh_until or self._owed:
            return NOT  # one at a time of a session, whose line may be taken back
        if secret and not self._recorder.plain(text, turn.parameters()):
            return NOT
        if not self._judged_alike(course, text, turn, size, now) or not self._within_limits(size, now):
            return NOT
        sent = self._record(course, number, text, turn, size, now)
        if sent == NOT:
            if self._largest < 0:
                self._driver.counters.give_back(self._agent, self._resource)
            return NOT
        if course.capped:
            self._usage.add(session, "operations", 1, now)
        session.operations += 1
        _tally.sent += 1
        if _armed:
            failpoints.reach("forward:before")
        return sent

    cdef int take_back(self) except -1:
        """The line of the operation that was queued could not be written."""
        cdef object session = self._session
        self._chain.sequence, self._chain.head = self._sequence, self._head
        self.number = 0
        session.operations -= 1
        _tally.sent -= 1
        if self._course.capped:
            self._usage.add(session, "operations", -1, self._queued_at)
        if self._largest < 0:
            self._driver.counters.give_back(self._agent, self._resource)
        return 0

    cdef bint _judged_alike(self, Course course, str text, Waiting turn, Py_ssize_t size, long long now) except -1:
        cdef Compared each
        if course.comparable:
            for each in course.compared:
                if not each.as_before(self._session, size, now):
                    return False
            return True
        asked = operation_like(course, "", text, turn.parameters(), size)
        self._usage.fill(self._session, now)
        return course.policy.evaluate(asked, self._session, now) is course.verdict

    cdef bint _within_limits(self, Py_ssize_t size, long long now) except -1:
        cdef object pair = self._pair
        if pair is None or pair.replaced:
            pair = self._pair = self._driver.counters.pair(self._agent, self._resource)
            self._largest = -1 if pair.rated else pair.statement or 0x7FFFFFFFFFFFFFFF
        if size <= self._largest:
            return True
        return self._driver.counters.operate(self._agent, self._resource, size, now) is None

    cdef Sent _record(self, Course course, long long number, str text, Waiting turn, Py_ssize_t size, long long now) except FAILED:
        """Write, or queue, the event that says it is being sent; NOT if the recording refuses."""
        cdef Chain chain = self._chain
        cdef bint at_once = _armed or course.like < 0
        self._sequence, self._head, self._course, self._queued_at = chain.sequence, chain.head, course, now
        self._begin_line(now)
        if course.like >= 0:
            _line.put(b'{"type":"repeated","id":"', 25)
            self._identifier(number)
            _line.put(b'","like":', 9)
            _line.number(course.like)
            if text is not course.text and text != course.text:
                _line.put(b',"text":', 8)
                _line.add(_encode(text))
            if _values.size:
                _line.put(b',"parameters":', 14)
                _line.put(_values.start, _values.size)
            _line.put(b',"size":', 8)
            _line.number(size)
            _line.put(b"}", 1)
        else:
            operation = operation_like(course, f"{self._session.id}-{number}", text, turn.parameters(), size)
            body = _encode(Sending(operation.id, operation_record(operation), verdict_record(course.verdict)))
            _line.add(body)
        self._end_line()
        if not at_once:
            if self._spool.queue(PyBytes_FromStringAndSize(_line.start, _line.size), turn):
                self.number = number
                return QUEUED
            chain.sequence, chain.head = self._sequence, self._head
            return NOT
        if _armed:
            failpoints.reach("record:sending:before")
        try:
            self._spool.add(PyBytes_FromStringAndSize(_line.start, _line.size), False)
        except BaseException as error:  # the chain stands where the last written line left it, whatever went wrong
            chain.sequence, chain.head = self._sequence, self._head
            if isinstance(error, SpoolError):
                return NOT
            raise
        if course.like < 0:
            course.like, course.text = self._sequence, text
        if _armed:
            failpoints.reach("record:sending:after")
        self.number = number
        if self._spool.due:
            self._spool.rotate()
        return NOW

    cdef int _identifier(self, long long number) except -1:
        _line.add(self._name)
        _line.put(b"-", 1)
        return _line.number(number)

    cdef int _begin_line(self, long long now) except -1:
        """Begin the next line of the recording, as `chain.Chain` writes it."""
        cdef Py_ssize_t size
        cdef const char* head = PyUnicode_AsUTF8AndSize(self._chain.head, &size)
        _line.size = 0
        _line.add(self._opening)
        _line.number(self._chain.sequence)
        _line.put(b',"at":', 6)
        _line.number(now)
        _line.put(b',"previous":"', 13)
        _line.put(head, size)
        return _line.put(b'","body":', 9)

    cdef int _end_line(self) except -1:
        cdef char digest[64]
        _line.put(b"}", 1)
        _hexadecimal(_line.start, _line.size, digest)
        self._chain.head = PyUnicode_DecodeASCII(digest, 64, NULL)
        self._chain.sequence += 1
        return _line.put(b"\n", 1)

    cdef bint completed(
        self, Course course, long long number, const char* tag, Py_ssize_t tag_size, const char* response, Py_ssize_t size, Py_ssize_t recorded,
        long long rows, long long micros, long long now
    ) except -1:
        """Record and count that the operation came to its end. `response` is what the agent gets, of which `recorded` bytes are kept."""
        cdef bint cut = size > recorded
        cdef Py_ssize_t kept = recorded if cut else size
        cdef char digest[64]
        if cut:
            _hexadecimal(response, size, digest)
        if _armed or self._owed:
            record = ResponseRecord(self._kind.decode(), response[:kept], digest[:64].decode() if cut else "", rows, size, truncated=cut)
            self.close(course, number, Finished(f"{self._session.id}-{number}", Outcome.COMPLETED, tag[:tag_size].decode(), record, micros), now)
            return True
        self._begin_line(now)
        _line.put(b'{"type":"finished","id":"', 25)
        self._identifier(number)
        _line.put(b'","outcome":"completed","detail":"', 34)
        _line.put(tag, tag_size)
        _line.put(b'","response":{"kind":"', 22)
        _line.add(self._kind)
        if kept:
            _line.put(b'","body":"', 10)
            _line.base64(<const unsigned char*>response, kept)
        if cut:
            _line.put(b'","digest":"', 12)
            _line.put(digest, 64)
        _line.put(b'"', 1)
        if rows:
            _line.put(b',"rows":', 8)
            _line.number(rows)
        _line.put(b',"bytes":', 9)
        _line.number(size)
        if cut:
            _line.put(b',"truncated":true', 17)
        _line.put(b"}", 1)
        if micros > 0:
            _line.put(b',"micros":', 10)
            _line.number(micros)
        _line.put(b"}", 1)
        self._end_line()
        self._spool.defer(PyBytes_FromStringAndSize(_line.start, _line.size))
        self.number = 0
        _tally.completed += 1
        cdef object session = self._session
        session.rows_read += rows
        session.bytes_read += size
        if course.capped:
            self._usage.add(session, "rows_read", rows, now)
            self._usage.add(session, "bytes_read", size, now)
        return True

    def operation(self, Course course, number, text, parameters, size):
        """Operation `number` as `Driver.admit` would know it."""
        return operation_like(course, f"{self._session.id}-{number}", text, parameters, size)

    def close(self, Course course, number, finished, now):
        """Record and count any other end, in the ordinary way."""
        if _armed:
            failpoints.reach("outcome:before")
        self._driver.finished(course.judgement.operation, self._session, finished, now)
        self.number = 0
        self._entry.operations[finished.id] = OpenOperation(finished.id, "sending")
        self._recorder.owe(self._session.id, finished)
        if _armed:
            failpoints.reach("outcome:after")


def operation_like(Course course, identifier, text, parameters, size):
    """The operation that differs from the course's own in these."""
    operation = course.judgement.operation
    return Operation(identifier, operation.protocol, text, parameters, operation.context, "", size, operation.facts)
