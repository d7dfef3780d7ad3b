"""What a file really is, by its first bytes; its name is only a hint."""

from __future__ import annotations

import struct

from fxprof.checkpoint.formats.mapped import MappedFile
from fxprof.errors import CheckpointError

_HEADER = 100_000_000  # the safetensors library's own limit
_OTHERS = (
    (b"\x1f\x8b", "gzip-compressed; unpack it first"),
    (b"BZh", "bzip2-compressed; unpack it first"),
    (b"\xfd7zXZ", "xz-compressed; unpack it first"),
    (b"7z\xbc\xaf", "a 7z archive; unpack it first"),
    (b"\x89HDF", "an HDF5 file (Keras or TensorFlow); convert it first"),
    (b"\x93NUMPY", "a NumPy array; torch.save it under its name first"),
    (b"GGUF", "a GGUF file (llama.cpp); convert it first"),
    (b"\x28\xb5\x2f\xfd", "zstd-compressed; unpack it first"),
    (b"\x89PNG", "an image"),
    (b"%PDF", "a PDF"),
)
# What has no magic number of its own is told by its name.
_NAMES = (
    (".msgpack", "a Flax file (MessagePack); convert it first, or take the torch or safetensors file beside it"),
    (".onnx", "an ONNX model; load the torch checkpoint that it was exported from"),
    (".pb", "a TensorFlow graph; convert it first"),
    (".tflite", "a TensorFlow Lite model; load the checkpoint that it was exported from"),
    (".index", "the index of a TensorFlow checkpoint; convert it first"),
    (".meta", "the graph of a TensorFlow checkpoint; convert it first"),
    (".data-", "a TensorFlow checkpoint; convert it first"),
    (".mlmodel", "a Core ML model; load the checkpoint that it was exported from"),
)


def sniff(file: MappedFile) -> str:
    """Return "zip", "pickle", "tar", "json" or "safetensors". Raises CheckpointError for anything else."""
    head = file.peek(0, 512)
    what = _kind(file, head)
    if file.path.suffix == ".safetensors" and what != "safetensors":
        # The name promises that no code can be in it, also to whoever passes trust=True.
        raise CheckpointError(
            f"{file.path} must be a safetensors file, but it is a {what} file: its name is wrong, or someone hides it"
        )
    return what


def _kind(file: MappedFile, head: bytes) -> str:
    if not head:
        raise CheckpointError(f"{file.path} must be a checkpoint, but it is empty (0 bytes); get it again")
    if is_safetensors(file, head):  # first: a header's length may read like any other magic number
        return "safetensors"
    if head.startswith(b"version https://git-lfs"):
        raise CheckpointError(f"{file.path} is a git-lfs pointer and not the file itself; run git lfs pull")
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        raise CheckpointError(f"{file.path} is a web page (HTML) and not a checkpoint; download the file itself")
    if head.startswith(b"PK"):
        return "zip"
    if head[257:262] == b"ustar":
        return "tar"
    if head[:1] == b"\x80" and head[1:2] <= b"\x05":
        return "pickle"
    for magic, other in _OTHERS:
        if head.startswith(magic):
            raise CheckpointError(f"{file.path} must be a checkpoint, but it is {other}")
    if text.startswith(b"{"):
        return "json"
    if file.path.suffix == ".safetensors":
        return "safetensors"  # its reader says what is wrong with it
    for mark, other in _NAMES:
        if mark in file.path.suffix:
            raise CheckpointError(f"{file.path} must be a checkpoint, but it is {other}")
    raise CheckpointError(
        f"{file.path} must be a checkpoint (torch, safetensors or an index), but it begins with {head[:8]!r}"
    )


def is_safetensors(file: MappedFile, head: bytes) -> bool:
    """Eight bytes of a header's length that the file has room for, then JSON."""
    return head[8:9] == b"{" and struct.unpack("<Q", head[:8])[0] <= min(_HEADER, file.size - 8)
