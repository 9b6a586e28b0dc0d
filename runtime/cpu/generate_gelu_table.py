#!/usr/bin/env python3
"""Writes runtime/cpu/gelu_table.inc: pieces of d(a) = a * (1 - Phi(a)) for a >= 0.

gelu(x) = max(x, 0) - d(|x|), and d is smooth and vanishes beyond END. Piece i interpolates d at the Chebyshev nodes
of [i - 1/2, i + 1/2] * STEP, in the variable u = a / STEP - i. The largest error of the pieces is printed; beyond the
last one d is taken as its value there, 1.8e-7.

usage: generate_gelu_table.py > gelu_table.inc
"""
import math
import sys

PIECES = 16  # one vector of floats
DEGREE = 4
END = 5.4
STEP = END / (PIECES - 0.5)


def d(a):
    return a * 0.5 * math.erfc(a / math.sqrt(2.0))


def piece(i):
    """Coefficients of u^0..u^DEGREE of the interpolating polynomial, by Newton's divided differences."""
    count = DEGREE + 1
    nodes = [0.5 * math.cos(math.pi * (2 * k + 1) / (2 * count)) for k in range(count)]
    table = [d((i + u) * STEP) for u in nodes]
    for order in range(1, count):
        for k in range(DEGREE, order - 1, -1):
            table[k] = (table[k] - table[k - 1]) / (nodes[k] - nodes[k - order])
    coefficients = [0.0] * count
    for k in range(DEGREE, -1, -1):  # Horner: p = p * (u - nodes[k]) + table[k]
        shifted = [0.0] + coefficients[:DEGREE]
        coefficients = [s - nodes[k] * c for s, c in zip(shifted, coefficients)]
        coefficients[0] += table[k]
    return coefficients


def main():
    pieces = [piece(i) for i in range(PIECES)]
    worst = 0.0
    for k in range(200001):
        a = END * k / 200000
        i = min(PIECES - 1, int(a / STEP + 0.5))
        u = a / STEP - i
        value = 0.0
        for coefficient in reversed(pieces[i]):
            value = value * u + coefficient
        worst = max(worst, abs(value - d(a)))
    print(f"// Made by generate_gelu_table.py: pieces of a * (1 - Phi(a)), a in [0, {END}].")
    print(f"// Largest error {worst:.1e}. Coefficient of u^0 of all pieces first, then u^1 to u^{DEGREE}.")
    for k in range(DEGREE + 1):
        row = [f"{coefficients[k]:.9e}f," for coefficients in pieces]
        for at in range(0, PIECES, 4):
            print(" ".join(row[at : at + 4]))
    print(f"worst {worst:.2e}, step {STEP!r}", file=sys.stderr)


main()
