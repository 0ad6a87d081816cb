# cython: language_level=3, boundscheck=False, wraparound=False
"""A whole GET and its whole response at once, where the same bytes were led through the gate before on the same connection.

A request is judged and recorded by `edge_agent._repeat` each time; what goes upstream differs from before in the request's id alone. The response is
taken at once, too, if it arrives whole and nothing of it is hidden. Everything else, on either side, is `unfold`ed into an `Exchange`, which then goes on as
if it had sent the request: what is right is defined there, and here is only its short form. Compiled only, and optional: see `_repeat`.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.string cimport memcpy
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from edge_agent._repeat cimport NOT, QUEUED, Course, Repeats, Sent, instant, values_text
from edge_agent._repeat cimport Text
from edge_agent._way cimport Way
from edge_agent.spool cimport Waiting

from asyncio import get_running_loop

from edge_agent.kept import recorded_of_response
from edge_agent.protocols.http.delivery import relayed

cdef enum:
    LONGEST = 30_000  # bytes of a request, and of a response, that are taken at once; what is longer gains nothing here
    MAX_SEEN = 64  # requests of one connection
    MAX_HEADS = 64  # heads of responses to one request: most differ each second, by their date

cdef bytes _ID = b"\0id\0"  # stands for a request's id while its bytes are taken apart
cdef Text _values = values_text()


cdef class Seen:
    """A request that may be repeated: its bytes as they go upstream, before and behind its id, and what must be as it was."""
    cdef Course course
    cdef Repeats repeats
    cdef str text
    cdef bytes before, behind, name
    cdef object exchange, guarded, credential, conversation, pool
    cdef Py_ssize_t recorded
    cdef dict heads

    def __init__(self, course, exchange, credential, wire):
        self.course = course
        self.exchange = exchange
        self.text = exchange.prepared.text
        self.guarded, self.credential, self.conversation = exchange.guarded, credential, exchange.conversation
        self.repeats = exchange.conversation.repeats
        self.pool = exchange.room.pool(exchange.guarded)
        self.before, _, self.behind = wire.partition(_ID)
        self.name = exchange.session.id.encode()
        self.recorded = recorded_of_response(course.judgement, exchange.session)
        self.heads = {}


cdef class Rounds(Waiting):
    """The rounds of one agent's connection."""
    cdef object _frontend, _room, _connection
    cdef dict _seen
    cdef set _ran
    cdef Way _to_agent
    cdef Seen _now  # the round that is under way
    cdef bytes _raw, _again, _part  # of the response: as much of it as has come
    cdef bint _queued
    cdef long long _number, _started
    cdef readonly long long taken  # rounds so far

    def __init__(self, frontend):
        self._frontend = frontend
        self._room = frontend.room
        self._seen = {}
        self._ran = set()  # requests that were carried out in the ordinary way: once is no repetition yet

    def learn(self, bytes raw, exchange):
        """This request was answered in the ordinary way, and the connection is at rest behind it."""
        judgement, conversation = exchange.judgement, exchange.conversation
        if conversation.repeats is None or len(raw) > LONGEST or exchange.head.method != "GET":
            return
        if raw not in self._ran:
            if len(self._ran) >= MAX_SEEN:
                self._ran.clear()
            self._ran.add(raw)
            return
        credential = self._room.known_credential(exchange.guarded)
        if credential is None or judgement.operation.text != exchange.prepared.text:
            return
        course = conversation.repeats.learn(judgement)
        if course is None:
            return
        if len(self._seen) >= MAX_SEEN:
            self._seen.clear()
        self._seen[raw] = Seen(course, exchange, credential, exchange.wired(credential, _ID.decode()))

    # The agent's side

    cpdef bint client(self, bytes data) except -1:
        """Take bytes of the agent if they are a request that may be repeated; False: nothing has happened."""
        if self._now is not None or self._again is not None:
            self.unfold()
        cdef Seen seen = self._seen.get(data)
        if seen is None or not self._frontend.rests(seen.exchange.identity, monotonic()):
            return False
        credential = self._room.known_credential(seen.guarded)
        if credential is None:
            return False
        if credential is not seen.credential or self._room.gateway.guarded(seen.exchange.place.resource) is not seen.guarded:
            del self._seen[data]
            return False
        connection = seen.pool.take()
        if connection is None:
            return False
        cdef long long now = instant(), number = <long long>seen.conversation.operations + 1
        _values.size = 0
        cdef Sent sent = seen.repeats.send(seen.course, number, seen.text, self, False, len(seen.text), now)
        if sent == NOT:
            seen.pool.give_back(connection)
            return False
        seen.conversation.operations = number
        self._now, self._raw, self._number, self._started, self._connection = seen, data, number, now, connection
        connection.round = self
        if sent == QUEUED:
            self._queued = True
        else:
            self._send()
        return True

    cdef int _send(self) except -1:
        cdef Seen seen = self._now
        if self._connection.way is None:
            self._connection.way = Way(self._connection.transport)
        return (<Way>self._connection.way).write(b"%b%b-%d%b" % (seen.before, seen.name, self._number, seen.behind))

    cpdef settle(self, bint written):
        """The line of the round under way is written, so it is sent; or it is refused, and nothing of it has happened."""
        self._queued = False
        if written:
            self._send()
            return
        cdef Seen seen = self._now
        seen.repeats.take_back()
        seen.conversation.operations -= 1
        self._again = self._raw
        self._rest()
        get_running_loop().call_soon(self._lead)  # not here: the spool is about to settle others

    def _lead(self):
        """Let what was taken back go the ordinary way."""
        again, self._again = self._again, None
        if again is None:
            return
        try:
            self._frontend.ordinary(again)
        except BaseException:
            self._frontend.transport.abort()  # as the event loop does: its client would wait for ever
            raise

    cdef int _rest(self) except -1:
        """Nothing is under way."""
        connection = self._connection
        connection.round = None
        self._now.pool.give_back(connection)
        self._now, self._raw, self._connection, self._part = None, None, None, None
        return 0

    def parameters(self):
        """A GET without a body has none."""
        return ()

    # The upstream's side

    cpdef bint server(self, bytes data) except -1:
        """Take bytes of the upstream if they are of a response that is soon whole; False: it goes on as an exchange, and they are its next."""
        cdef Seen seen = self._now
        cdef bytes whole = data if self._part is None else self._part + data
        cdef Py_ssize_t size = PyBytes_GET_SIZE(whole), end = whole.find(b"\r\n\r\n") + 4, length
        if self._queued or end < 4 or size > LONGEST:
            self.unfold()
            return False
        cdef bytes head = whole[:end]
        known = seen.heads.get(head)
        if known is None:
            if len(seen.heads) >= MAX_HEADS:
                seen.heads.clear()
            known = seen.heads[head] = relayed(head, seen.exchange)
        before, length, links, tag = known
        if size - end < length <= LONGEST:  # many servers write head and body apart
            self._part = whole
            return True
        if length != size - end:
            self.unfold()
            return False
        body = whole[end:]
        if links is not None:
            body = links.replaced(body)
        cdef bytes response = b"%b%d\r\n\r\n%b" % (before, len(body), body)
        cdef long long now = instant()
        seen.repeats.completed(
            seen.course, self._number, PyBytes_AS_STRING(tag), PyBytes_GET_SIZE(tag), PyBytes_AS_STRING(response), PyBytes_GET_SIZE(response),
            seen.recorded, 0, now - self._started, now
        )
        self.taken += 1
        self._rest()
        if self._to_agent is None:
            self._to_agent = Way(self._frontend.transport)
        self._to_agent.write(response)
        return True

    cpdef unfold(self):
        """Turn the round under way into an exchange: sent, and not answered."""
        if self._queued:
            self._now.repeats._spool.flush()  # it is sent now, or taken back
        if self._again is not None:
            self._lead()
        cdef Seen seen = self._now
        if seen is None:
            return
        connection, number = self._connection, self._number
        connection.round = None
        part = self._part
        self._now, self._raw, self._connection, self._part = None, None, None, None
        done = Closing(seen.repeats, seen.course, number)
        self._frontend.resume(seen.exchange, number, seen.course.judgement, self._started, connection, done)
        if part is not None:
            connection.ordinary(part)

    @property
    def busy(self):
        """True while a round is under way."""
        return self._now is not None


cdef class Closing:
    """What ends an operation that was sent in the short way and unfolded since."""
    cdef Repeats _repeats
    cdef Course _course
    cdef long long _number

    def __init__(self, repeats, course, number):
        self._repeats, self._course, self._number = repeats, course, number

    def __call__(self, result):
        self._repeats.close(self._course, self._number, result.finished, instant())


cdef double monotonic() noexcept:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return now.tv_sec + now.tv_nsec / 1e9
