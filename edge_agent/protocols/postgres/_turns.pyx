# cython: language_level=3, boundscheck=False, wraparound=False
"""A whole turn of a client at once, where its statement was led through the gate before and only values differ.

A turn is one Query, or Bind, Describe, Execute and Sync of the unnamed portal, sent while nothing else is under way. It is judged and recorded by
`edge_agent._repeat`; its bytes go on as they came. The server's answer is taken at once, too, if it arrives whole and is what such a turn is answered with.
Everything else, on either side, is `unfold`ed into the session's ordinary state, which then goes on as if it had been handled message by message: what is
right is defined there, and here is only its short form. Compiled only, and optional: see `_repeat`.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t
from libc.string cimport memchr, memcmp

from edge_agent._repeat cimport NOT, QUEUED, Course, Repeats, Sent, Text, instant, values_text
from edge_agent._way cimport Way
from edge_agent.spool cimport Waiting

from asyncio import get_running_loop

from edge_agent.protocols.postgres import messages as m
from edge_agent.protocols.postgres.expect import Expect
from edge_agent.kept import recorded_of_response
from edge_agent.protocols.postgres.run import Run, parameters
from edge_agent.protocols.postgres.states import READY
from edge_agent.secrets import SHORTEST
from gateway_kernel.model import SqlFacts

cdef enum:
    LONGEST = 30_000  # bytes of a turn, and of an answer, that are taken at once; what is longer gains nothing here
    MAX_KNOWN = 1000  # texts of one session

cdef enum Form:
    NONE, QUERY, BOUND, DESCRIBED

cdef bytes _EXECUTE_SYNC = m.execute(b"") + m.SYNC_MESSAGE
cdef bytes _DESCRIBE_EXECUTE_SYNC = m.describe(b"P", b"") + _EXECUTE_SYNC
cdef Py_ssize_t _SECRET = SHORTEST


@cython.final
cdef class Side:
    """One end's protocol: its bytes are offered to the turns first."""
    cdef Turns _turns
    cdef bint _client
    cdef readonly object eof_received, connection_lost, pause_writing, resume_writing, connection_made
    cdef object _data_received

    def __init__(self, turns, protocol, client):
        self._turns, self._client = turns, client
        self._data_received = protocol.data_received
        self.eof_received, self.connection_lost, self.connection_made = protocol.eof_received, protocol.connection_lost, protocol.connection_made
        self.pause_writing, self.resume_writing = protocol.pause_writing, protocol.resume_writing

    def data_received(self, bytes data):
        if not (self._turns.client(data) if self._client else self._turns.server(data)):
            self._data_received(data)


@cython.final
cdef class Known:
    """A statement that may be repeated while the session's `generation` is this one, and `until` its catalogue is no longer believed.

    `types` are the statement's parameter types as JSON; `recorded` is how many bytes of a response are recorded.
    """
    cdef Course course
    cdef str text
    cdef object statement
    cdef tuple types
    cdef long long generation, until
    cdef Py_ssize_t recorded

    def __init__(self, course, text, statement, believed, recorded):
        self.course, self.text, self.statement, self.recorded = course, text, statement, recorded
        self.generation, self.until = believed
        self.types = () if statement is None else tuple([b"%d" % oid for oid in statement.types])


@cython.final
cdef class Turns(Waiting):
    """The turns of one session. Whoever sets something under way in another way takes `resting` back."""
    cdef object _session, _lookup
    cdef Way _to_server, _to_client
    cdef Repeats _repeats
    cdef dict _by_text, _by_shape, _by_statement
    cdef set _ran
    cdef tuple _types
    cdef public bint resting
    cdef public long long generation  # counts whatever a text may mean something else after
    cdef public long long operations  # of the session
    cdef Form _form
    cdef Known _known
    cdef str _text
    cdef bytes _raw
    cdef Py_ssize_t _size
    cdef long long _number, _started
    cdef bint _queued  # the turn under way is not sent yet, for its line is not written yet
    cdef bytes _again  # what was queued and taken back: it goes the ordinary way before anything else happens in this session

    def __init__(self, session, repeats):
        self._session = session
        self._lookup = session.lookup
        self._repeats = repeats
        self._by_text = {}
        self._by_shape = {}
        self._by_statement = {}
        self._ran = set()  # texts that were carried out in the ordinary way: once is no repetition yet
        self._form = NONE

    def sides(self, frontend, backend):
        """What the transports hand their bytes to: here first, and then where they belong."""
        return Side(self, frontend, True), Side(self, backend, False)

    # What may be repeated

    def learn(self, run):
        """This operation was carried out in the ordinary way, and the session is at rest behind it."""
        session, judgement, bound = self._session, run.judgement, run.bound
        if judgement is None or run.error or not run.executed or run.max_rows is not None or run.savepoint:
            return
        operation = judgement.operation
        text = self._lookup.representative(operation.text)
        if text not in self._ran:
            if len(self._ran) >= MAX_KNOWN:
                self._ran.clear()
            self._ran.add(text)
            return
        believed = self._lookup.believed(operation)
        if believed is None or not isinstance(operation.facts.family, SqlFacts) or operation.facts.family.statements != 1:
            return
        course = self._repeats.learn(judgement)
        if course is None:
            return
        statement = None if bound is None else session.statements.get(bound.statement)
        known = Known(course, operation.text, statement, believed, recorded_of_response(judgement, session.kernel))
        if len(self._by_text) + len(self._by_shape) + len(self._by_statement) >= MAX_KNOWN:
            self._by_text.clear()
            self._by_shape.clear()
            self._by_statement.clear()
        shape = None if bound is not None else self._lookup.shape(operation.text)
        if shape is not None:
            self._by_shape[shape.encode()] = known
        elif bound is None:
            self._by_text[operation.text.encode()] = known
        elif statement is not None and statement.text == statement.upstream == operation.text:
            self._by_statement[bound.statement] = known

    def forget(self, bytes name):
        """The prepared statement of this name is another one now, or none."""
        self._by_statement.pop(name, None)

    # The client's side

    cpdef bint client(self, bytes data) except -1:
        """Take bytes of the client if they are a turn that may be repeated; False: nothing has happened."""
        cdef const unsigned char* p = <const unsigned char*>PyBytes_AS_STRING(data)
        cdef Py_ssize_t size = PyBytes_GET_SIZE(data), end
        if self._form != NONE or self._again is not None:
            self.unfold()
        if not (self.resting or self._session.resting()):
            return False
        self.resting = False
        if not 6 <= size <= LONGEST:
            return False
        end = <Py_ssize_t>be32(p + 1) + 1
        if p[0] == 0x51:  # Query
            return end == size and self._query(data, p, size)
        return p[0] == 0x42 and p[5] == 0 and 12 <= end < size and self._bind(data, p, end, size)

    cdef bint _query(self, bytes data, const unsigned char* p, Py_ssize_t size) except -1:
        if memchr(p + 5, 0, size - 5) != p + size - 1:
            return False
        cdef int numbers = write_shape(p + 5, size - 6)
        cdef bytes key
        cdef Known known = None
        if numbers != 0:
            known = self._by_shape.get(PyBytes_FromStringAndSize(_shape.start, _shape.size))
        _values.size = 0
        if known is not None:
            return self._send(data, known, QUERY, data[5 : size - 1].decode("ascii"), numbers == JOINED, size)
        key = data[5 : size - 1]
        known = self._by_text.get(key)
        return known is not None and self._send(data, known, QUERY, known.text, False, size)

    cdef bint _bind(self, bytes data, const unsigned char* p, Py_ssize_t end, Py_ssize_t size) except -1:
        cdef Form form = NONE
        if size - end == PyBytes_GET_SIZE(_DESCRIBE_EXECUTE_SYNC) and not memcmp(p + end, PyBytes_AS_STRING(_DESCRIBE_EXECUTE_SYNC), size - end):
            form = DESCRIBED
        elif size - end == PyBytes_GET_SIZE(_EXECUTE_SYNC) and not memcmp(p + end, PyBytes_AS_STRING(_EXECUTE_SYNC), size - end):
            form = BOUND
        cdef const unsigned char* stop = <const unsigned char*>memchr(p + 6, 0, end - 6)
        if form == NONE or stop == NULL:
            return False
        cdef Known known = self._by_statement.get(PyBytes_FromStringAndSize(<const char*>p + 6, stop - p - 6))
        if known is None:
            return False
        cdef int secret = write_values(p, stop - p + 1, end, known.types)
        return secret >= 0 and self._send(data, known, form, known.text, secret > 0, end)

    cdef bint _send(self, bytes data, Known known, Form form, str text, bint secret, Py_ssize_t size) except -1:
        cdef long long now = instant()
        if known.generation != self.generation or now >= known.until:
            return False
        cdef long long number = self.operations + 1
        self._raw, self._size = data, 0 if form == QUERY else size
        self._types = () if known.statement is None else known.statement.types
        cdef Sent sent = self._repeats.send(known.course, number, text, self, secret, size, now)
        if sent == NOT:
            return False
        self.operations = number
        self._form, self._known, self._text, self._number, self._started, self._size = form, known, text, number, now, size
        if self._to_server is None:
            self._to_server, self._to_client = Way(self._session.backend.transport), Way(self._session.frontend.transport)
        if sent == QUEUED:
            self._queued = True
        else:
            self._to_server.write(data)
        return True

    cpdef settle(self, bint written):
        """The line of the turn under way is written, so it is sent; or it is refused, and nothing of it has happened."""
        self._queued = False
        if written:
            self._to_server.write(self._raw)
            return
        self._repeats.take_back()
        self.operations -= 1
        self._again = self._raw
        self._form, self._known, self._raw = NONE, None, None
        get_running_loop().call_soon(self._lead)  # not here: the spool is about to settle others

    def _lead(self):
        """Let what was taken back go the ordinary way."""
        again, self._again = self._again, None
        if again is None:
            return
        frontend = self._session.frontend
        try:
            frontend.data_received(again)
        except BaseException:
            frontend.transport.abort()  # as the event loop does: its client would wait for ever
            raise

    def parameters(self):
        """The values of the turn that is being sent."""
        return parameters(m.read_bind(self._raw[: self._size]), self._types) if self._size else ()

    # The server's side

    cpdef bint server(self, bytes data) except -1:
        """Take bytes of the server if they are the whole answer to the turn under way; False: nothing has happened."""
        if self._form == NONE or self._queued:
            self.unfold()
            return False
        cdef const unsigned char* p = <const unsigned char*>PyBytes_AS_STRING(data)
        cdef Py_ssize_t size = PyBytes_GET_SIZE(data), tag = 0
        cdef long long rows = rows_of(p, size, self._form, &tag)
        if rows < 0:
            self.unfold()
            return False
        cdef long long now = instant()
        cdef Known known = self._known
        cdef Py_ssize_t shown = size if self._form == QUERY else size - 6
        self._form, self._known, self._raw = NONE, None, None
        self._repeats.completed(
            known.course, self._number, <const char*>p + tag, size - 7 - tag, <const char*>p, shown, known.recorded, rows, now - self._started, now
        )
        self._to_client.write(data)
        self.resting = True
        return True

    cpdef unfold(self):
        """Turn what is under way into the session's ordinary state: sent, and not answered."""
        self.resting = False
        if self._queued:
            self._repeats._spool.flush()  # it is sent now, or taken back
        if self._again is not None:
            self._lead()
        if self._form == NONE:
            return
        session, course, form, number = self._session, self._known.course, self._form, self._number
        raw = self._raw[: self._size]
        bound = None if form == QUERY else m.read_bind(raw)
        values = () if bound is None else parameters(bound, self._known.statement.types)
        operation = self._repeats.operation(course, number, self._text, values, self._size)
        self._form, self._known, self._raw = NONE, None, None
        run = Run(session, operation, raw, bound)
        run.resume(course.judgement, self._started, Closing(self._repeats, course, number))
        session.runs.append(run)
        session.preceding.add(operation)
        session.sent = True
        session.blocked = READY
        owed = session.backend.owed
        if form == QUERY:
            run.barrier = True
            owed.append(Expect(m.QUERY, run))
            return
        session.portals[b""] = run
        owed.append(Expect(m.BIND, run))
        if form == DESCRIBED:
            owed.append(Expect(m.DESCRIBE, run))
        owed.append(Expect(m.EXECUTE, run))
        owed.append(Expect(m.SYNC))


cdef class Closing:
    """What ends an operation that was sent in the short way and unfolded since."""
    cdef Repeats _repeats
    cdef Course _course
    cdef long long _number

    def __init__(self, repeats, course, number):
        self._repeats, self._course, self._number = repeats, course, number

    def __call__(self, result):
        self._repeats.close(self._course, self._number, result.finished, instant())


cdef inline uint32_t be32(const unsigned char* p) noexcept nogil:
    return (<uint32_t>p[0] << 24) | (<uint32_t>p[1] << 16) | (<uint32_t>p[2] << 8) | p[3]


cdef inline int be16(const unsigned char* p) noexcept nogil:
    return (<int>p[0] << 8) | p[1]


cdef Text _values = values_text()
cdef Text _shape = Text()

cdef enum:
    APART = 1
    JOINED = 2
    TOKEN = 16  # bytes; no secret that a detector finds by its length is shorter

cdef unsigned char _CLASS[256]  # of a byte in a text that may share its shape: 0 none, 1 between tokens, 2 joins tokens, 3 word, 4 digit
for _byte in range(256):
    _CLASS[_byte] = 0
for _byte in tuple(b" ,*<>()\n\t;"):
    _CLASS[_byte] = 1
for _byte in tuple(b".=+-"):
    _CLASS[_byte] = 2
for _byte in tuple(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_"):
    _CLASS[_byte] = 3
for _byte in tuple(b"0123456789"):
    _CLASS[_byte] = 4


cdef int write_shape(const unsigned char* p, Py_ssize_t size) except -1:
    """Write the shape of a text, as `parse.sql.shape` defines it, into `_shape`; 0 if it has none.

    APART: where a number stands, so little stands beside it that whether a secret detector finds something cannot depend on the number. JOINED: it may.
    """
    cdef Py_ssize_t at = 0, stop, begin = 0, token = 0
    cdef int found = 0
    cdef bint numbered = False  # the stretch from `token` on, without a space in it, holds a number
    if size > 8192:
        return 0
    _shape.size = 0
    while at < size:
        if _CLASS[p[at]] == 0 or (p[at] == 0x2D and at + 1 < size and p[at + 1] == 0x2D):
            return 0
        if _CLASS[p[at]] == 1:
            if numbered and at - token >= TOKEN:
                found = JOINED
            token, numbered = at + 1, False
        elif _CLASS[p[at]] == 4 and (at == 0 or (_CLASS[p[at - 1]] < 3 and p[at - 1] != 0x2E)):
            stop = at + 1
            while stop < size and _CLASS[p[stop]] == 4:
                stop += 1
            if stop - at <= 9 and (stop == size or (_CLASS[p[stop]] != 3 and p[stop] != 0x2E)):
                _shape.put(<const char*>p + begin, at - begin)
                _shape.put(b"0", 1)
                begin, numbered = stop, True
                found = found or APART
            at = stop
            continue
        at += 1
    if numbered and size - token >= TOKEN:
        found = JOINED
    _shape.put(<const char*>p + begin, size - begin)
    return found


cdef int write_values(const unsigned char* p, Py_ssize_t at, Py_ssize_t end, tuple types) except -2:
    """Write the values of a Bind whose formats begin at `at` into `_values`, as `OperationRecord.parameters` has them in JSON; nothing if there are none.

    1 if one is long enough to hold a secret, else 0; -1 unless the Bind is well formed from there to `end`, as `messages.read_bind` demands.
    """
    cdef Py_ssize_t first = at + 2, size
    cdef int formats, count, number, form, secret = 0, known = len(types)
    _values.size = 0
    if at + 4 > end:
        return -1
    formats = be16(p + at)
    at = first + 2 * formats
    if at + 2 > end:
        return -1
    count = be16(p + at)
    at += 2
    if formats > 1 and formats != count:
        return -1
    for number in range(count):
        if at + 4 > end:
            return -1
        form = 0 if formats == 0 else be16(p + first + (2 * number if formats > 1 else 0))
        size = <Py_ssize_t>be32(p + at)
        at += 4
        if form > 1 or (size < 0x80000000 and size > end - at):
            return -1
        _values.put(b'[{"type":"' if number == 0 else b',{"type":"', 10)
        _values.add(<bytes>types[number] if number < known else b"0")
        if size >= 0x80000000:
            _values.put(b'","value":null,"form":', 22)
        else:
            secret |= size >= _SECRET
            _values.put(b'","value":"', 11)
            _values.base64(p + at, size)
            _values.put(b'","form":', 9)
            at += size
        if form:
            _values.put(b'"binary"}', 9)
        else:
            _values.put(b'"text"}', 7)
    if count:
        _values.put(b"]", 1)
    if at + 2 > end:
        return -1
    formats = be16(p + at)
    if at + 2 + 2 * formats != end:
        return -1
    for number in range(formats):
        if be16(p + at + 2 + 2 * number) > 1:
            return -1
    return secret


cdef long long rows_of(const unsigned char* p, Py_ssize_t size, Form form, Py_ssize_t* tag) noexcept:
    """How many rows, if this is one whole result with ReadyForQuery outside of a transaction behind it; below 0 if not.

    `tag` is where the command tag begins, which is `SELECT` and a number.
    """
    cdef Py_ssize_t at = 0, last = size - 6 - 14  # where CommandComplete may begin at the latest: "SELECT n" and its header
    cdef long long rows = 0
    if size > LONGEST or last < 0 or memcmp(p + size - 6, b"Z\0\0\0\x05I", 6):
        return -1
    if form != QUERY:
        if memcmp(p, b"2\0\0\0\x04", 5):
            return -1
        at = 5
    if form != BOUND:
        if at > last or p[at] != 0x54:  # RowDescription
            return -1
        at += 1 + <Py_ssize_t>be32(p + at + 1)
    while at <= last and p[at] == 0x44:  # DataRow
        rows += 1
        at += 1 + <Py_ssize_t>be32(p + at + 1)
    if at > last or p[at] != 0x43 or at + 1 + <Py_ssize_t>be32(p + at + 1) != size - 6:  # CommandComplete
        return -1
    if memcmp(p + at + 5, b"SELECT ", 7) or p[size - 7] != 0:
        return -1
    tag[0] = at + 5
    for at in range(at + 12, size - 7):
        if not 0x30 <= p[at] <= 0x39:
            return -1
    return rows


def shape(bytes text):
    """The shape of a text as `Turns` looks it up, and whether its numbers may be part of a secret; None if it has none."""
    cdef int numbers = write_shape(<const unsigned char*>PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))
    return None if numbers == 0 else (_shape.start[:_shape.size], numbers == JOINED)
