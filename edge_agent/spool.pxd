# The spool's state as C, for `_repeat`: compiled from the same source (tools/build_extensions.py), which also runs as it is.
cimport cython

cdef class Waiting:
    cpdef settle(self, bint written)

cdef class _Segment:
    cdef public long long number, size, header, base

cdef class Spool:
    cdef public object _directory, _durability, _lock, found, _cursor, _waiters, _thread, _timer, _grown, snapshot, on_writable
    cdef public list _segments, _retired, _deferred, _queued, _waiting
    cdef public long long _quota, _open_quota, _segment_size, _old, _written, _sealed, _acknowledged, _queued_size
    cdef public int _active
    cdef public bint _closed, _syncing, _torn, _flushing
    cdef public str _failure

    cpdef add(self, bytes data, bint closing)
    cpdef defer(self, bytes data)
    cpdef bint queue(self, bytes data, Waiting waiting)
    @cython.locals(each=Waiting)
    cpdef flush(self)
    cdef _put(self, bytes data)
    cdef bint _put_together(self, list queued)
    cdef _write(self, bytes data)
