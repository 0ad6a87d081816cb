# The chain's state as C, for `edge_agent._repeat`: compiled from the same source, which also runs as it is.
cdef class Chain:
    cdef public str session, head
    cdef public long long sequence
    cdef bytes _opening

    cpdef bytes link(self, object body, long long now)
    cpdef bytes append(self, bytes body, long long now)
