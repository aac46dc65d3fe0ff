"""Just enough of docs/wire.md to throw well-sealed nonsense at a deployment: the seed, the checksum of a frame
and the digest of a batch. XXH3 comes from the library that the programs use."""

import ctypes
import struct

BATCH = 1
xxhash = ctypes.CDLL("libxxhash.so.0")


class Digest(ctypes.Structure):
    _fields_ = [("low", ctypes.c_uint64), ("high", ctypes.c_uint64)]


xxhash.XXH3_64bits_withSeed.restype = ctypes.c_uint64
xxhash.XXH3_64bits_withSeed.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint64]
xxhash.XXH3_128bits_withSeed.restype = Digest
xxhash.XXH3_128bits_withSeed.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint64]


def seed(datagram):
    a, b = struct.unpack_from("<QQ", datagram)
    return a ^ (b * 0x9e3779b97f4a7c15 & 0xffffffffffffffff)


def seal(datagram):
    """The datagram with its length field and its checksum or digest made right."""
    datagram = bytearray(datagram)
    struct.pack_into("<H", datagram, 4, len(datagram))
    if datagram[3] == BATCH and len(datagram) >= 32:
        rest = bytes(datagram[32:])
        d = xxhash.XXH3_128bits_withSeed(rest, len(rest), seed(datagram))
        struct.pack_into("<QQ", datagram, 16, d.low, d.high)
    elif len(datagram) >= 24:
        rest = bytes(datagram[24:])
        struct.pack_into("<Q", datagram, 16, xxhash.XXH3_64bits_withSeed(rest, len(rest), seed(datagram)))
    return bytes(datagram)


def frame(type, stream, body, version=1, count=0):
    return seal(struct.pack("<HBBHHQQ", 0x7443, version, type, 0, count, stream, 0) + body)
