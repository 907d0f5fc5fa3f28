"""A second, slow interpreter on exact rationals: loops over elements, shares no code with the package."""

from fractions import Fraction
from itertools import product
from math import floor

import numpy as np

from hgqify.fixed import Overflow, Rounding
from hgqify.precision import ops


def constant(c):
    """Object array of Fractions."""
    out = np.empty(np.shape(c.codes), dtype=object)
    for index in np.ndindex(out.shape):
        out[index] = Fraction(int(np.asarray(c.codes)[index])) / Fraction(2) ** c.frac
    return out


def round_to(value, mode):
    """One of the deterministic modes on a Fraction in units of the LSB."""
    low = floor(value)
    rest = value - low
    if mode is Rounding.TRN or rest == 0:
        return low
    if mode is Rounding.TRN_ZERO:
        return low if value > 0 else low + 1
    if rest != Fraction(1, 2):
        return low + (rest > Fraction(1, 2))
    up = {
        Rounding.RND: True,
        Rounding.RND_CONV: low % 2 == 1,
        Rounding.RND_ZERO: value < 0,
        Rounding.RND_INF: value > 0,
        Rounding.RND_MIN_INF: False,
    }[mode]
    return low + up


def quantize_one(value, k, i, f, rounding, overflow, digits=None):
    """Round, then overflow, on one Fraction."""
    if k + i + f <= 0:
        return Fraction(0)
    if digits is not None:
        # The LSB grows with the number until its digits end there.
        while abs(value) >= Fraction(2) ** (digits - f):
            f -= 1
        top = Fraction(2) ** i - Fraction(2) ** (i - digits)
        return min(max(round_to(value * Fraction(2) ** f, rounding) / Fraction(2) ** f, -k * top), top)
    code = round_to(value * Fraction(2) ** f, rounding)
    high = 2 ** (i + f) - 1
    low = -k * 2 ** (i + f)
    if overflow is Overflow.WRAP_SM:
        width = k + i + f
        if not low <= code <= high:
            sign = floor(value * Fraction(2) ** f) >> width & 1
            code = code % 2**width
            code = code if code >> (width - 1) == sign else 2**width - 1 - code
            code -= sign * 2**width
    elif overflow is Overflow.WRAP:
        code = (code - low) % 2 ** (k + i + f) + low
    else:
        if overflow is Overflow.SAT_SYM and k and i + f > 0:
            low = -high
        code = min(max(code, low), high)
    return Fraction(code) / Fraction(2) ** f


def evaluate(op, xs, shape):
    """Result of one operation on one sample: object arrays of Fractions (floats for a real input)."""
    return _RULES[type(op)](op, xs, shape)


def _rational(x):
    return x if isinstance(x, Fraction) else Fraction(float(x))


def _quantize(op, xs, shape):
    out = np.empty(shape, dtype=object)
    k, i, f = (np.broadcast_to(a, shape) for a in (op.k, op.i, op.f))
    digits = None if op.digits is None else np.broadcast_to(op.digits, shape)
    for n in np.ndindex(*shape):
        parts = int(k[n]), int(i[n]), int(f[n]), op.rounding, op.overflow
        out[n] = quantize_one(_rational(xs[0][n]), *parts, None if digits is None else int(digits[n]))
    return out


def _dense(op, xs, shape):
    kernel, out = constant(op.kernel), np.empty(shape, dtype=object)
    bias = constant(op.bias) if op.bias else [Fraction(0)] * shape[-1]
    for n in np.ndindex(*shape):
        out[n] = bias[n[-1]] + sum(xs[0][(*n[:-1], c)] * kernel[c, n[-1]] for c in range(kernel.shape[0]))
    return out


def _at(x, place, fill):
    inside = all(0 <= p < s for p, s in zip(place, x.shape, strict=True))
    return x[place] if inside else fill


def _conv(op, xs, shape):
    kernel, out = constant(op.kernel), np.empty(shape, dtype=object)
    bias = constant(op.bias) if op.bias else [Fraction(0)] * shape[-1]
    per_group, per_filter = kernel.shape[-2], kernel.shape[-1] // op.groups
    for n in np.ndindex(*shape):
        *place, o = n
        total = bias[o]
        for tap in product(*map(range, kernel.shape[:-2])):
            at = [
                p * s + t * d - b
                for p, s, t, d, (b, _) in zip(place, op.strides, tap, op.dilation, op.padding, strict=True)
            ]
            for c in range(per_group):
                channel = o // per_filter * per_group + c
                total += _at(xs[0], (*at, channel), Fraction(0)) * kernel[(*tap, c, o)]
        out[n] = total
    return out


def _pool(op, xs, shape, combine, fill):
    out = np.empty(shape, dtype=object)
    for n in np.ndindex(*shape):
        *place, c = n
        values = []
        for tap in product(*map(range, op.window)):
            at = [p * s + t - b for p, s, t, (b, _) in zip(place, op.strides, tap, op.padding, strict=True)]
            values.append(_at(xs[0], (*at, c), fill))
        out[n] = combine([v for v in values if v is not None])
    return out


def _scale_shift(op, xs, shape):
    y = xs[0] * constant(op.scale)
    return y if op.shift is None else y + constant(op.shift)


def _map(fn):
    def rule(op, xs, shape):
        out = np.empty(shape, dtype=object)
        for n in np.ndindex(*shape):
            out[n] = fn(op, xs[0][n])
        return out

    return rule


def _clip(op, x):
    if op.low is not None:
        x = max(x, constant(op.low)[()])
    return x if op.high is None else min(x, constant(op.high)[()])


def _table(op, x):
    code = x * Fraction(2) ** op.in_frac
    assert code.denominator == 1
    return constant(op.entries)[int(code) - op.first]


def _edge_tables(op, xs, shape):
    entries, out = constant(op.entries), np.empty(shape, dtype=object)
    for n in np.ndindex(*shape):
        edge = n[-2:]
        code = xs[0][n] * Fraction(2) ** int(op.in_frac[edge])
        assert code.denominator == 1
        place = int(code) - int(op.first[edge])
        assert place >= 0
        out[n] = entries[edge][place]
    return out


def _binary(fn):
    def rule(op, xs, shape):
        a, b = (np.broadcast_to(x, shape) for x in xs)
        out = np.empty(shape, dtype=object)
        for n in np.ndindex(*shape):
            out[n] = fn(a[n], b[n])
        return out

    return rule


def _matmul(op, xs, shape):
    a, b = xs
    out = np.empty(shape, dtype=object)
    for g, m, n in np.ndindex(*shape):
        out[g, m, n] = sum(a[g, m, c] * b[g, n, c] for c in range(a.shape[2]))
    return out


def _pad(op, xs, shape):
    out = np.empty(shape, dtype=object)
    for n in np.ndindex(*shape):
        out[n] = _at(xs[0], tuple(p - b for p, (b, _) in zip(n, op.padding, strict=True)), Fraction(0))
    return out


def _crop(op, xs, shape):
    out = np.empty(shape, dtype=object)
    for n in np.ndindex(*shape):
        out[n] = xs[0][tuple(p + b for p, (b, _) in zip(n, op.cropping, strict=True))]
    return out


def _repeat(op, xs, shape):
    out = np.empty(shape, dtype=object)
    for n in np.ndindex(*shape):
        out[n] = xs[0][tuple(p // r for p, r in zip(n, op.repeats, strict=True))]
    return out


_RULES = {
    ops.Quantize: _quantize,
    ops.Dense: _dense,
    ops.Conv: _conv,
    ops.ScaleShift: _scale_shift,
    ops.Add: _binary(lambda a, b: a + b),
    ops.Subtract: _binary(lambda a, b: a - b),
    ops.Multiply: _binary(lambda a, b: a * b),
    ops.Matmul: _matmul,
    ops.Maximum: _binary(max),
    ops.Minimum: _binary(min),
    ops.Clip: _map(_clip),
    ops.LeakyRelu: _map(lambda op, x: x if x >= 0 else x * constant(op.slope)[()]),
    ops.Table: _map(_table),
    ops.EdgeTables: _edge_tables,
    ops.MaxPool: lambda op, xs, shape: _pool(op, xs, shape, max, None),
    ops.SumPool: lambda op, xs, shape: _pool(op, xs, shape, sum, Fraction(0)),
    ops.Reshape: lambda op, xs, shape: xs[0].reshape(shape),
    ops.Transpose: lambda op, xs, shape: xs[0].transpose(op.perm),
    ops.Concatenate: lambda op, xs, shape: np.concatenate(xs, axis=op.axis),
    ops.Pad: _pad,
    ops.Crop: _crop,
    ops.Repeat: _repeat,
}


def run(program, inputs):
    """All tensors of all samples: dict of name -> list of object arrays."""
    results = {name: [] for name in program.by_name}
    for sample in range(len(inputs[0])):
        tensors = {name: x[sample] for name, x in zip(program.inputs, inputs, strict=True)}
        for node in program.nodes:
            if not isinstance(node.op, ops.Input):
                tensors[node.name] = evaluate(node.op, [tensors[s] for s in node.inputs], node.shape)
            results[node.name].append(tensors[node.name])
    return results
