cdef class Way:
    cdef object _transport
    cdef int _socket

    cdef int write(self, bytes data) except -1
