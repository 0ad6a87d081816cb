cimport cython

@cython.final
cdef class Way:
    cdef object _transport, _closing, _unsent
    cdef int _socket

    cdef int write(self, bytes data) except -1
