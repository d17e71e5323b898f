"""BLAKE3-256, plain and keyed, from its specification: slow, and short enough to be read."""

import struct

MASK = 0xFFFFFFFF
IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A,
      0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
PERMUTATION = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
MIXES = ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
         (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14))
CHUNK_START, CHUNK_END, PARENT, ROOT, KEYED = 1, 2, 4, 8, 16
CHUNK_LEN, BLOCK_LEN = 1024, 64


def _rounds():
    order = list(range(16))
    for _ in range(7):
        yield tuple(order)
        order = [order[at] for at in PERMUTATION]


ROUNDS = tuple(_rounds())


def _compress(chaining, block, counter, length, flags):
    words = struct.unpack("<16I", block.ljust(BLOCK_LEN, b"\0"))
    state = [*chaining, *IV[:4], counter & MASK, counter >> 32, length, flags]
    for order in ROUNDS:
        for at, (ia, ib, ic, id_) in enumerate(MIXES):
            a, b, c, d = state[ia], state[ib], state[ic], state[id_]
            a = a + b + words[order[2 * at]] & MASK
            d ^= a
            d = (d >> 16 | d << 16) & MASK
            c = c + d & MASK
            b ^= c
            b = (b >> 12 | b << 20) & MASK
            a = a + b + words[order[2 * at + 1]] & MASK
            d ^= a
            d = (d >> 8 | d << 24) & MASK
            c = c + d & MASK
            b ^= c
            b = (b >> 7 | b << 25) & MASK
            state[ia], state[ib], state[ic], state[id_] = a, b, c, d
    return [state[at] ^ state[at + 8] for at in range(8)]


def blake3(data, key=None):
    """The 32 bytes of BLAKE3 over `data`, keyed if there is a key of 32 bytes."""
    mode = 0 if key is None else KEYED
    start = IV if key is None else struct.unpack("<8I", key)

    def chunk(at, root):
        chaining, piece = start, data[at:at + CHUNK_LEN]
        last = max(0, (len(piece) - 1) // BLOCK_LEN)
        for number in range(last + 1):
            block = piece[BLOCK_LEN * number:BLOCK_LEN * (number + 1)]
            flags = mode | CHUNK_START * (number == 0)
            if number == last:
                flags |= CHUNK_END | root
            chaining = _compress(chaining, block, at // CHUNK_LEN, len(block), flags)
        return chaining

    def tree(at, length, root):
        if length <= CHUNK_LEN:
            return chunk(at, root)
        left = CHUNK_LEN
        while 2 * left < length:
            left *= 2
        children = *tree(at, left, 0), *tree(at + left, length - left, 0)
        return _compress(start, struct.pack("<16I", *children), 0, BLOCK_LEN, mode | PARENT | root)

    return struct.pack("<8I", *tree(0, len(data), ROOT))
