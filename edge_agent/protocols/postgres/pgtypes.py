"""What masking must know of PostgreSQL's built-in types (pg_type.dat): which are text, which cannot hold what detectors find.

Types made by users have oids from 16384 on and are not here; `values` says how those are treated. Domains need no entry:
RowDescription gives their base type.
"""

BOOL, BYTEA, INT8, TEXT, JSON, XML, XID8 = 16, 17, 20, 25, 114, 142, 5069
NUMERIC, RECORD, JSONB, INET, CIDR = 1700, 2249, 3802, 869, 650
INT8RANGE, NUMRANGE = 3926, 3906
INT8MULTIRANGE, NUMMULTIRANGE = 4536, 4532

# "char", name, text, bpchar, varchar, unknown, cstring, refcursor, xml: what a driver reads as a string.
TEXTS = frozenset({18, 19, TEXT, 1042, 1043, 705, 2275, 1790, XML})

# Fixed or formatted content in which no detector can find anything: numbers too short, times, places, identifiers of the server,
# uuid. Ranges of these too. They are never looked at, in either format.
NEVER = frozenset(
    {BOOL, 21, 22, 23, 24, 26, 27, 28, 29, 30}  # bool, int2, int2vector, int4, regproc, oid, tid, xid, cid, oidvector
    | {600, 601, 602, 603, 604, 628, 718}  # geometric
    | {700, 701, 790, 774, 829}  # float4, float8, money, macaddr8, macaddr
    | {1082, 1083, 1114, 1184, 1186, 1266}  # date and time
    | {1560, 1562, 2950, 2278}  # bit, varbit, uuid, void
    | {2202, 2203, 2204, 2205, 2206, 3734, 3769, 4089, 4096, 4191}  # reg*
    | {2970, 3220, 5038, XID8}  # snapshots, pg_lsn, xid8
    | {3904, 3908, 3910, 3912, 4451, 4533, 4534, 4535}  # ranges and multiranges of int4 and times
)

RANGES = {INT8RANGE: INT8, NUMRANGE: NUMERIC}
MULTIRANGES = {INT8MULTIRANGE: INT8RANGE, NUMMULTIRANGE: NUMRANGE}

ARRAYS = {
    1000: BOOL,
    1001: BYTEA,
    1002: 18,
    1003: 19,
    1005: 21,
    1006: 22,
    1007: 23,
    1008: 24,
    1009: TEXT,
    1010: 27,
    1011: 28,
    1012: 29,
    1013: 30,
    1014: 1042,
    1015: 1043,
    1016: INT8,
    1017: 600,
    1018: 601,
    1019: 602,
    1020: 603,
    1021: 700,
    1022: 701,
    1027: 604,
    1028: 26,
    1040: 829,
    1041: INET,
    651: CIDR,
    719: 718,
    629: 628,
    775: 774,
    791: 790,
    1115: 1114,
    1182: 1082,
    1183: 1083,
    1185: 1184,
    1187: 1186,
    1270: 1266,
    1231: NUMERIC,
    1263: 2275,
    1561: 1560,
    1563: 1562,
    2951: 2950,
    2201: 1790,
    2207: 2202,
    2208: 2203,
    2209: 2204,
    2210: 2205,
    2211: 2206,
    3735: 3734,
    3770: 3769,
    4090: 4089,
    4097: 4096,
    4192: 4191,
    2287: RECORD,
    199: JSON,
    3807: JSONB,
    143: XML,
    2949: 2970,
    3221: 3220,
    5039: 5038,
    271: XID8,
    3905: 3904,
    3907: NUMRANGE,
    3909: 3908,
    3911: 3910,
    3913: 3912,
    3927: INT8RANGE,
    6150: 4451,
    6151: NUMMULTIRANGE,
    6152: 4533,
    6153: 4534,
    6155: 4535,
    6157: INT8MULTIRANGE,
}
