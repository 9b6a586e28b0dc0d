#!/usr/bin/env python3
"""Writes runtime/cpu/gelu_table.inc: cubic pieces of d(a) = a * (1 - Phi(a)) for a >= 0.

gelu(x) = max(x, 0) - d(|x|), and d is smooth and vanishes beyond 5. Piece i interpolates d at the four
Chebyshev nodes of [i - 1/2, i + 1/2] * STEP, in the variable u = a / STEP - i. The largest error of the
pieces is printed; beyond the last one d is taken as its value there, 1.4e-6.

usage: generate_gelu_table.py > gelu_table.inc
"""
import math
import sys

PIECES = 32
STEP = 5.0 / (PIECES - 0.5)


def d(a):
    return a * 0.5 * math.erfc(a / math.sqrt(2.0))


def cubic(i):
    """Coefficients c0..c3 of the interpolating polynomial in u, by Newton's divided differences."""
    nodes = [0.5 * math.cos(math.pi * (2 * k + 1) / 8.0) for k in range(4)]
    table = [d((i + u) * STEP) for u in nodes]
    for order in range(1, 4):
        for k in range(3, order - 1, -1):
            table[k] = (table[k] - table[k - 1]) / (nodes[k] - nodes[k - order])
    coefficients = [0.0] * 4
    for k in range(3, -1, -1):  # Horner: p = p * (u - nodes[k]) + table[k]
        shifted = [0.0] + coefficients[:3]
        coefficients = [s - nodes[k] * c for s, c in zip(shifted, coefficients)]
        coefficients[0] += table[k]
    return coefficients


def main():
    pieces = [cubic(i) for i in range(PIECES)]
    worst = 0.0
    for k in range(200001):
        a = 5.0 * k / 200000
        i = min(PIECES - 1, int(a / STEP + 0.5))
        u = a / STEP - i
        c = pieces[i]
        worst = max(worst, abs(((c[3] * u + c[2]) * u + c[1]) * u + c[0] - d(a)))
    print("// Made by generate_gelu_table.py: cubic pieces of a * (1 - Phi(a)), a in [0, 5].")
    print(f"// Largest error {worst:.1e}. Coefficient of u^0 of all pieces first, then u^1, u^2, u^3.")
    for k in range(4):
        row = [f"{piece[k]:.9e}f," for piece in pieces]
        for at in range(0, PIECES, 4):
            print(" ".join(row[at : at + 4]))
    print(f"worst {worst:.2e}, step {STEP!r}", file=sys.stderr)


main()
