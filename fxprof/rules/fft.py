"""Fourier transforms: 5 n log2 n operations for n complex points, half of that for real ones.

The usual count of a radix-2 transform (Cooley and Tukey 1965; the convention of benchFFT,
http://www.fftw.org/speed/method.html): n / 2 * log2 n butterflies of one complex product (6) and
two complex sums (4). log2 is rounded up to an integer for other lengths.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from fxprof.report import Cost, Shape
from fxprof.rules.registry import arithmetic, ceil_log2, lines, rule


def transform(x: Shape, dim: int) -> int:
    """Complex transforms of all lines of ``x`` along ``dim``."""
    return 5 * prod(x) * ceil_log2(x[dim])


def real_transform(x: Shape, dim: int) -> int:
    """Real transforms of all lines of ``x`` along ``dim``: half a complex one each, rounded down."""
    return lines(x, dim) * (5 * x[dim] * ceil_log2(x[dim]) // 2)


def dims_of(x: Shape, dim: Any, size: Any, default: int | None = None) -> list[int]:
    """The transformed dimensions: as given, else the last ones that ``size`` names, else the default or all."""
    if dim is not None:
        return [dim] if isinstance(dim, int) else list(dim)
    count = len(size) if isinstance(size, (tuple, list)) else default if default is not None else len(x)
    return list(range(-count, 0))


def spectrum(real: Shape, dims: Sequence[int]) -> Cost:
    """A real transform along the last of ``dims`` and complex ones of its half spectrum along the others."""
    if not dims:
        return Cost()
    *others, last = dims
    half = list(real)
    half[last] = real[last] // 2 + 1
    return arithmetic(real_transform(real, last) + sum(transform(tuple(half), d) for d in others))


@rule("fft_fft", "fft_ifft")
def fft(x: Shape, n: Any = None, dim: Any = -1, *, out: Shape) -> Cost:
    """x (*, k, *) -> out (*, n, *): complex transforms of n points along ``dim`` (one or several)."""
    return arithmetic(sum(transform(out, d) for d in dims_of(out, dim, n)))


@rule("fft_fft2", "fft_ifft2")
def fft2(x: Shape, s: Any = None, dim: Any = (-2, -1), *, out: Shape) -> Cost:
    """x (*, h, w) -> out (*, h, w): complex transforms along both dimensions."""
    return fft(x, s, dim, out=out)


@rule("fft_fftn", "fft_ifftn")
def fftn(x: Shape, s: Any = None, dim: Any = None, *, out: Shape) -> Cost:
    """x (*) -> out (*): complex transforms along every dimension named, all by default."""
    return fft(x, s, dim, out=out)


def grown(x: Shape, dims: Sequence[int], sizes: Any) -> Shape:
    """``x`` cut or padded to ``sizes`` along ``dims``."""
    result = list(x)
    for d, size in zip(dims, (sizes,) if isinstance(sizes, int) else sizes or ()):
        result[d] = size
    return tuple(result)


@rule("fft_rfft", "fft_ihfft")
def rfft(x: Shape, n: int | None = None, dim: int = -1, *, out: Shape) -> Cost:
    """x (*, k, *), real -> out (*, n // 2 + 1, *): real transforms of n points along ``dim``."""
    return spectrum(grown(x, [dim], n), [dim])


@rule("fft_rfft2", "fft_ihfft2")
def rfft2(x: Shape, s: Any = None, dim: Any = (-2, -1), *, out: Shape) -> Cost:
    """x (*, h, w), real -> out (*, h, w // 2 + 1): real along the width, then complex along the height."""
    return rfftn(x, s, dim, out=out)


@rule("fft_rfftn", "fft_ihfftn")
def rfftn(x: Shape, s: Any = None, dim: Any = None, *, out: Shape) -> Cost:
    """x (*, w), real -> out (*, w // 2 + 1): real along the last dimension named, then complex along the others."""
    dims = dims_of(x, dim, s)
    return spectrum(grown(x, dims, s), dims)


@rule("fft_irfft", "fft_hfft")
def irfft(x: Shape, n: int | None = None, dim: int = -1, *, out: Shape) -> Cost:
    """x (*, n // 2 + 1, *) -> out (*, n, *), real: the inverse of rfft, at its cost."""
    return spectrum(out, [dim])


@rule("fft_irfft2", "fft_hfft2")
def irfft2(x: Shape, s: Any = None, dim: Any = (-2, -1), *, out: Shape) -> Cost:
    """x (*, h, w // 2 + 1) -> out (*, h, w), real: the inverse of rfft2, at its cost."""
    return irfftn(x, s, dim, out=out)


@rule("fft_irfftn", "fft_hfftn")
def irfftn(x: Shape, s: Any = None, dim: Any = None, *, out: Shape) -> Cost:
    """x (*, w // 2 + 1) -> out (*, w), real: the inverse of rfftn, at its cost."""
    return spectrum(out, dims_of(out, dim, s))


@rule("_fft_c2c")
def fft_c2c(x: Shape, dim: Sequence[int], *, out: Shape) -> Cost:
    """x (*, k, *) -> out (*, k, *): complex transforms along each of ``dim``."""
    return fft(x, None, dim, out=out)


@rule("_fft_r2c")
def fft_r2c(x: Shape, dim: Sequence[int], *, out: Shape) -> Cost:
    """x (*, w), real -> out (*, w // 2 + 1) or (*, w)."""
    return spectrum(x, dim)


@rule("_fft_c2r")
def fft_c2r(x: Shape, dim: Sequence[int], *, out: Shape) -> Cost:
    """x (*, w // 2 + 1) -> out (*, w), real."""
    return spectrum(out, dim)


@rule("stft")
def stft(x: Shape, n_fft: int, *, window: Shape | None = None, onesided: bool | None = None, out: Shape) -> Cost:
    """x (*, t) -> out (*, n_fft // 2 + 1, frames), complex or with a last dimension of 2.

    A real transform of n_fft points per frame, after a product with the window where one is given.
    """
    return _frames(x, out, n_fft, window is not None)


def _frames(signal: Shape, spectrogram: Shape, n_fft: int, windowed: bool) -> Cost:
    bins = n_fft // 2 + 1
    # (*, bins, frames) or (*, bins, frames, 2); a two-sided one has n_fft bins.
    axis = len(signal) - 1
    frames = prod(spectrogram[:axis]) * spectrogram[axis + 1] if spectrogram[axis] in (bins, n_fft) else 0
    return Cost(flops=real_transform((frames, n_fft), 1) + (frames * n_fft if windowed else 0))


@rule("istft")
def istft(x: Shape, n_fft: int, *, window: Shape | None = None, out: Shape) -> Cost:
    """x (*, n_fft // 2 + 1, frames), complex or with a last dimension of 2 -> out (*, t).

    A real transform of n_fft points per frame, a product with the window where one is given, the
    addition of every frame into the signal and the division of the signal by the sum of the windows.
    """
    axis = len(out) - 1
    frames = prod(x[:axis]) * x[axis + 1]
    return _frames(out, x, n_fft, window is not None) + arithmetic(frames * n_fft + prod(out))
