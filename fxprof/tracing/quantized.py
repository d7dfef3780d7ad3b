"""Quantized modules: what their packed parameters hold, and the shapes of what their ops return.

Torch has no meta kernels for quantized tensors. They stay floating here, as torch's own ``quantize_per_tensor``
leaves them on the meta device.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

NAMESPACE = "quantized::"
_CONVOLUTIONS = (F.conv1d, F.conv2d, F.conv3d)
_TRANSPOSED = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)
_BROADCAST = frozenset("add add_relu sub mul mul_relu add_out mul_out add_relu_out mul_relu_out matmul".split())
_LIKE = frozenset(
    """add_scalar add_scalar_relu mul_scalar mul_scalar_relu hardswish sigmoid leaky_relu elu celu relu6 prelu
    batch_norm batch_norm_relu batch_norm1d batch_norm1d_relu batch_norm2d batch_norm2d_relu batch_norm3d
    batch_norm3d_relu layer_norm group_norm instance_norm softmax""".split()
)


def packed(item: Any) -> tuple[Any, ...] | None:
    """The weight and the bias in a module's packed parameters; None for any other object."""
    if not isinstance(item, torch.ScriptObject) or not hasattr(item, "unpack"):
        return None
    return tuple(item.unpack())


def run(name: str, args: tuple[Any, ...]) -> Any:
    """A meta tensor like the result of a quantized op; NotImplemented where its shape is not known here."""
    op = name.removeprefix(NAMESPACE)
    if op.startswith("linear") and len(args) > 1 and (held := packed(args[1])) is not None:
        return args[0].new_empty((*args[0].shape[:-1], held[0].shape[0]))
    if op.startswith("conv") and len(args) > 1 and (held := packed(args[1])) is not None:
        return _convolved(args[0], held[0], args[1])
    if op in ("cat", "cat_relu", "cat_out"):
        return torch.cat(args[0], args[1])
    if op == "matmul":
        return args[0] @ args[1]
    if op in _BROADCAST and isinstance(args[1], Tensor):
        return args[0] + args[1]
    return torch.empty_like(args[0]) if op in _LIKE | _BROADCAST else NotImplemented


def _convolved(x: Tensor, weight: Tensor, params: Any) -> Tensor:
    rank = x.dim() - 2
    shape = [*weight.shape[:2], *weight.shape[-rank:]]  # a 1-d kernel is packed as a 2-d one
    kernel = x.new_empty(shape)
    stride, padding, dilation = (
        list(given)[-rank:] for given in (params.stride(), params.padding(), params.dilation())
    )
    if params.transpose():
        more = list(params.output_padding())[-rank:]
        return _TRANSPOSED[rank - 1](x, kernel, None, stride, padding, more, params.groups(), dilation)
    return _CONVOLUTIONS[rank - 1](x, kernel, None, stride, padding, dilation, params.groups())
