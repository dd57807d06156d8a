"""
The draws that test/search/space.test.ts expects: Philox4x32-10 as in Random123, key (seed, FNV-1a of the purpose),
counter (0, 0, draw, 0); written without Graft, standard library only. Prints them.
"""


def product(a, b):
    return (a * b) >> 32, (a * b) & 0xFFFFFFFF


def philox(counter, key):
    c, k = list(counter), list(key)
    for _ in range(10):
        high0, low0 = product(0xD2511F53, c[0])
        high1, low1 = product(0xCD9E8D57, c[2])
        c = [high1 ^ c[1] ^ k[0], low1, high0 ^ c[3] ^ k[1], low0]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


def fnv1a(text):
    value = 0x811C9DC5
    for letter in text:
        value = ((value ^ ord(letter)) * 0x01000193) & 0xFFFFFFFF
    return value


def draw(seed, option, number, low, high):
    word = philox([0, 0, number, 0], [seed, fnv1a(f"search/{option}")])[0]
    return float("%.3g" % (low * (high / low) ** ((word >> 8) / 2**24)))


print([draw(7, "learning-rate", number, 1e-4, 1e-1) for number in range(5)])
