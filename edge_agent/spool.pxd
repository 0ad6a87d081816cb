# The spool's state as C, for `_repeat`: compiled from the same source (tools/build_extensions.py), which also runs as it is.
cdef class _Segment:
    cdef public long long number, size, header, base

cdef class Spool:
    cdef public object _directory, _durability, _lock, found, _cursor, _waiters, _thread, _timer, _grown, snapshot, on_writable
    cdef public list _segments, _retired
    cdef public bytearray _deferred
    cdef public long long _quota, _open_quota, _segment_size, _old, _written, _sealed, _acknowledged
    cdef public int _active
    cdef public bint _closed, _syncing, _torn, _flushing
    cdef public str _failure

    cpdef add(self, bytes data, bint closing)
    cdef _write(self, bytes data)
