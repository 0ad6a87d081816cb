cimport cython

from edge_agent.spool cimport Spool, Waiting
from gateway_kernel.chain cimport Chain

@cython.final
cdef class Text:
    cdef char* start
    cdef Py_ssize_t size, room

    cdef int reserve(self, Py_ssize_t more) except -1
    cdef int put(self, const char* data, Py_ssize_t size) except -1
    cdef int add(self, bytes data) except -1
    cdef int number(self, long long value) except -1
    cdef int base64(self, const unsigned char* data, Py_ssize_t size) except -1

@cython.final
cdef class Tally:
    cdef public long long sent, completed

@cython.final
cdef class Course:
    cdef public object judgement, policy
    cdef object verdict
    cdef str text
    cdef list compared
    cdef bint comparable, capped
    cdef long long like

cdef enum Sent:
    FAILED = -1
    NOT, NOW, QUEUED

@cython.final
cdef class Repeats:
    cdef object _driver, _bundles, _recorder, _usage, _session, _pair, _entry
    cdef Chain _chain
    cdef Spool _spool
    cdef str _agent, _resource
    cdef bytes _opening, _name, _kind
    cdef long long _largest, _sequence, _queued_at
    cdef str _head
    cdef Course _course
    cdef dict _owed
    cdef public long long number  # of the operation that is on the short way, 0 if none is

    cdef Sent send(self, Course course, long long number, str text, Waiting turn, bint secret, Py_ssize_t size, long long now) except FAILED
    cdef int take_back(self) except -1
    cdef bint _judged_alike(self, Course course, str text, Waiting turn, Py_ssize_t size, long long now) except -1
    cdef bint _within_limits(self, Py_ssize_t size, long long now) except -1
    cdef Sent _record(self, Course course, long long number, str text, Waiting turn, Py_ssize_t size, long long now) except FAILED
    cdef int _identifier(self, long long number) except -1
    cdef int _begin_line(self, long long now) except -1
    cdef int _end_line(self) except -1
    cdef bint completed(
        self, Course course, long long number, const char* tag, Py_ssize_t tag_size, const char* response, Py_ssize_t size, Py_ssize_t recorded,
        long long rows, long long micros, long long now
    ) except -1

cdef long long instant() noexcept
cdef Text values_text()
