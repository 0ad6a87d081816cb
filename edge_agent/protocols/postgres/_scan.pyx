# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The inner loops over backend frames, in C: the same functions as `scan`, which says what they do. Optional, never required."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memchr, memcpy

cdef enum:
    PASS = 0
    NULL_ = 1
    REDACT = 2
    PARTIAL = 3
    CALL = 4
    SUSPECT = 5
    ESCAPED = 6
    WIDE = 7
    PARTIAL_UNLESS = 8

cdef int64_t FEWEST_DIGITS = 1000000000000


cdef struct Buffer:
    unsigned char* bytes
    Py_ssize_t size
    Py_ssize_t room


cdef inline int put(Buffer* out, const unsigned char* piece, Py_ssize_t size) except -1:
    cdef Py_ssize_t room
    cdef unsigned char* grown
    if out.size + size > out.room:
        room = (out.size + size) * 3 // 2 + 256
        grown = <unsigned char*>realloc(out.bytes, room)
        if grown == NULL:
            raise MemoryError()
        out.bytes = grown
        out.room = room
    memcpy(out.bytes + out.size, piece, size)
    out.size += size
    return 0


cdef inline uint32_t be32(const unsigned char* p) noexcept nogil:
    return (<uint32_t>p[0] << 24) | (<uint32_t>p[1] << 16) | (<uint32_t>p[2] << 8) | p[3]


cdef inline void to_be32(unsigned char* p, uint32_t value) noexcept nogil:
    p[0] = value >> 24
    p[1] = (value >> 16) & 0xFF
    p[2] = (value >> 8) & 0xFF
    p[3] = value & 0xFF


cdef inline bint is_clean(const unsigned char* p, Py_ssize_t size) noexcept nogil:
    """Valid UTF-8 (RFC 3629) without NUL."""
    cdef Py_ssize_t i = 0
    cdef unsigned char c, low, high
    cdef int more
    while i < size:
        c = p[i]
        i += 1
        if c < 0x80:
            if c == 0:
                return False
            continue
        low = 0x80
        high = 0xBF
        if 0xC2 <= c <= 0xDF:
            more = 1
        elif 0xE0 <= c <= 0xEF:
            more = 2
            if c == 0xE0:
                low = 0xA0
            elif c == 0xED:
                high = 0x9F
        elif 0xF0 <= c <= 0xF4:
            more = 3
            if c == 0xF0:
                low = 0x90
            elif c == 0xF4:
                high = 0x8F
        else:
            return False
        while more:
            if i >= size or p[i] < low or p[i] > high:
                return False
            low = 0x80
            high = 0xBF
            i += 1
            more -= 1
    return True


cdef inline bint escaped(const unsigned char* p, Py_ssize_t size) noexcept nogil:
    cdef const unsigned char* quote = p
    cdef const unsigned char* end = p + size
    if memchr(p, 0x5C, size) != NULL:
        return True
    while quote < end:
        quote = <const unsigned char*>memchr(quote, 0x22, end - quote)
        if quote == NULL or quote + 1 >= end:
            return False
        if quote[1] == 0x22:
            return True
        quote += 1
    return False


cdef inline Py_ssize_t kept_from(const unsigned char* p, Py_ssize_t size) noexcept nogil:
    """Where the part that `partial` keeps begins; `size` if it keeps nothing."""
    cdef Py_ssize_t at = size - 1, i, characters = 0
    cdef bint dot = False, domain = True
    while at >= 0 and p[at] != 0x40:
        at -= 1
    if at > 0 and size - at - 1 <= 253:
        for i in range(at + 1, size):
            if p[i] == 0x2E:
                dot = True
            elif not (0x30 <= p[i] <= 0x39 or 0x41 <= p[i] <= 0x5A or 0x61 <= p[i] <= 0x7A or p[i] == 0x2D):
                domain = False
                break
        if dot and domain:
            return at
    for i in range(size):
        characters += (p[i] & 0xC0) != 0x80
        if characters >= 8:
            break
    if characters < 8:
        return size
    at = size
    characters = 0
    while characters < 4:
        at -= 1
        characters += (p[at] & 0xC0) != 0x80
    return at


def scan_frames(bytes data not None, Py_ssize_t start):
    cdef const unsigned char* p = <const unsigned char*>PyBytes_AS_STRING(data)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(data), stop, rows = 0
    cdef uint32_t length
    cdef list others = []
    while size - start >= 5:
        length = be32(p + start + 1)
        if length < 4:
            raise ValueError("a frame announces a length below 4")
        stop = start + 1 + <Py_ssize_t>length
        if stop > size:
            break
        if p[start] == 0x44:
            rows += 1
        else:
            others.append((p[start], start))
        start = stop
    return start, rows, others


def mask_rows(bytes data not None, Py_ssize_t start, Py_ssize_t end, bytes actions not None, list suspects not None, callback):
    cdef const unsigned char* p = <const unsigned char*>PyBytes_AS_STRING(data)
    cdef const unsigned char* act = <const unsigned char*>PyBytes_AS_STRING(actions)
    cdef const unsigned char* mask = <const unsigned char*>b"***"
    cdef Py_ssize_t columns = PyBytes_GET_SIZE(actions), rows = 0, masked = 0
    cdef Py_ssize_t copied = start, at = start, stop, place, begin, row_at, cut
    cdef Py_ssize_t suspect = 0, spans = len(suspects), low = 0, high = -1
    cdef uint32_t length
    cdef int32_t size, column
    cdef int action
    cdef int64_t wide
    cdef bint ask
    cdef unsigned char number[4]
    cdef bytes value, other
    cdef object replaced
    cdef Buffer out
    out.bytes = NULL
    out.size = 0
    out.room = 0
    if start < 0 or end > PyBytes_GET_SIZE(data):
        raise ValueError("the range is outside the data")
    if spans:
        low, high = suspects[0]
    try:
        while at < end:
            if end - at < 7:
                raise ValueError("a DataRow is cut short")
            length = be32(p + at + 1)
            stop = at + 1 + <Py_ssize_t>length
            if p[at] != 0x44 or length < 6 or stop > end or ((<Py_ssize_t>p[at + 5] << 8) | p[at + 6]) != columns:
                raise ValueError("not a complete DataRow with the columns that were described")
            rows += 1
            place = at + 7
            row_at = -1  # where this row's frame begins in `out`, once something in it has changed
            for column in range(<int32_t>columns):
                if place + 4 > stop:
                    raise ValueError("a DataRow ends inside a column")
                size = <int32_t>be32(p + place)
                begin = place + 4
                place = begin + size if size >= 0 else begin
                if size < -1 or place > stop:
                    raise ValueError("a DataRow ends inside a column")
                action = act[column]
                if action == PASS or size < 0:
                    continue
                ask = action == CALL
                if action == WIDE:
                    ask = True
                    if size == 8:
                        wide = <int64_t>((<uint64_t>be32(p + begin) << 32) | be32(p + begin + 4))
                        ask = wide >= FEWEST_DIGITS or wide <= -FEWEST_DIGITS
                elif action > CALL:
                    while high >= 0 and high <= begin:
                        suspect += 1
                        if suspect < spans:
                            low, high = suspects[suspect]
                        else:
                            high = -1
                    ask = high >= 0 and low < place
                    if not ask and action == ESCAPED:
                        ask = escaped(p + begin, size)
                    if not ask:
                        ask = not is_clean(p + begin, size)
                if not ask and (action < CALL or action == PARTIAL_UNLESS):
                    masked += 1
                    if row_at < 0:
                        row_at = out.size + (at - copied)
                    put(&out, p + copied, begin - 4 - copied)
                    copied = place
                    if action == NULL_:
                        put(&out, <const unsigned char*>b"\xff\xff\xff\xff", 4)
                        continue
                    cut = size if action == REDACT else kept_from(p + begin, size)
                    to_be32(number, <uint32_t>(3 + size - cut))
                    put(&out, number, 4)
                    put(&out, mask, 3)
                    if cut < size:
                        put(&out, p + begin + cut, size - cut)
                    continue
                if not ask:
                    continue
                value = PyBytes_FromStringAndSize(<const char*>(p + begin), size)
                replaced = callback(column, value)
                if replaced is value:
                    continue
                if row_at < 0:
                    row_at = out.size + (at - copied)
                put(&out, p + copied, begin - 4 - copied)
                copied = place
                if replaced is None:
                    put(&out, <const unsigned char*>b"\xff\xff\xff\xff", 4)
                else:
                    other = replaced
                    to_be32(number, <uint32_t>PyBytes_GET_SIZE(other))
                    put(&out, number, 4)
                    put(&out, <const unsigned char*>PyBytes_AS_STRING(other), PyBytes_GET_SIZE(other))
            if place != stop:
                raise ValueError("a DataRow holds more than its columns")
            if row_at >= 0:
                put(&out, p + copied, stop - copied)
                copied = stop
                to_be32(out.bytes + row_at + 1, <uint32_t>(out.size - row_at - 1))
            at = stop
        if out.size == 0 and copied == start:
            return None, rows, masked
        put(&out, p + copied, end - copied)
        return PyBytes_FromStringAndSize(<const char*>out.bytes, out.size), rows, masked
    finally:
        free(out.bytes)
