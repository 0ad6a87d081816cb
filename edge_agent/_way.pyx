# cython: language_level=3, boundscheck=False, wraparound=False
"""Writing at once what is small, for the short ways of the protocols. Compiled only: see `_repeat`."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE

cdef extern from "sys/socket.h":
    ssize_t send(int socket, const void* data, size_t size, int flags)
    int MSG_DONTWAIT, MSG_NOSIGNAL


cdef class Way:
    """A transport that is written to at once where nothing waits in it: the event loop would write only after all that it has read was handled."""

    def __init__(self, transport):
        self._transport = transport
        self._closing, self._unsent = transport.is_closing, transport.get_write_buffer_size
        socket = None if transport.get_extra_info("ssl_object") is not None else transport.get_extra_info("socket")
        self._socket = -1 if socket is None else socket.fileno()

    cdef int write(self, bytes data) except -1:
        cdef Py_ssize_t size = PyBytes_GET_SIZE(data), sent
        if self._closing():
            return 0
        if self._socket < 0 or self._unsent():
            self._transport.write(data)
            return 0
        sent = send(self._socket, PyBytes_AS_STRING(data), size, MSG_DONTWAIT | MSG_NOSIGNAL)
        if sent < size:  # the rest waits its turn; what went wrong, if anything did, the transport finds as well
            self._transport.write(data[max(sent, 0):])
        return 0
