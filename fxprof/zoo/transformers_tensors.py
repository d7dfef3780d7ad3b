"""One maker per argument name: ids and grids as integer tensors, everything floating as a spec."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fxprof.report import TensorSpec
from fxprof.zoo.transformers_reader import Reader

TOKENS = 128
SAMPLES = 16_000  # one second of sound
SOUND_FRAMES = 1024  # of a spectrogram, where the model has no length of its own
IMAGE = 224
GRID = 16  # patches per side of an image given as patches
FRAMES = 16


# -- text --------------------------------------------------------------------------------------


def input_ids(reader: Reader, most: int = TOKENS) -> Any:
    """(1, tokens): ordinary ids, without any that has a meaning of its own."""
    import torch

    vocabulary = reader.find("text", "vocab_size", default=1000)
    vocabulary = min(vocabulary) if isinstance(vocabulary, list) else vocabulary
    positions = reader.find("text", "max_position_embeddings", "max_target_positions", "n_positions", default=most)
    special = reader.special_tokens()
    plain = [i for i in range(min(vocabulary, 4 * most + len(special))) if i not in special] or [0]
    length = min(most, positions if positions > 1 else most)
    return torch.tensor([[plain[(7 * i + 5) % len(plain)] for i in range(length)]])


def attention_mask(reader: Reader) -> Any:
    """Nothing is padding."""
    import torch

    return torch.ones_like(input_ids(reader))


def bbox(reader: Reader) -> Any:
    """(1, tokens, 4): a box per token."""
    import torch

    return torch.tensor([0, 0, 10, 10]).expand(*input_ids(reader).shape, 4).clone()


# -- images ------------------------------------------------------------------------------------


def image_size(reader: Reader) -> tuple[int, int]:
    """Height and width."""
    size = reader.find("image", "image_size", "img_size", "input_size", default=IMAGE)
    if isinstance(size, dict):
        size = (size["height"], size["width"])
    return (size, size) if isinstance(size, int) else (size[-2], size[-1])


def channels(reader: Reader) -> int:
    """Of an image."""
    found: int = reader.find("image", "num_channels", "in_channels", "in_chans", "num_input_channels", default=3)
    return found


def is_patches(reader: Reader) -> bool:
    """Whether forward wants an image cut into patches: then it also wants to know how they lay."""
    return bool(reader.taken & {"image_grid_thw", "grid_thw"})


def pixel_values(reader: Reader) -> Any:
    """(1, channels, height, width); patches (n, numbers) or (1, n, numbers) for models that take them so."""
    if is_patches(reader):
        return TensorSpec((GRID * GRID, reader.numbers_per_patch()))
    if reader.taken & {"spatial_shapes", "pixel_position_ids", "image_position_ids"}:
        return TensorSpec((1, GRID * GRID, reader.numbers_per_patch()))
    image = (channels(reader), *image_size(reader))
    frames = reader.find("image", "num_frames")
    crops = reader.find("image", "image_grid_pinpoints")
    if frames is not None:
        return TensorSpec((1, frames, *image))
    if crops:
        return TensorSpec((1, 1 + max(h * w for h, w in crops) // (image[1] * image[2]), *image))
    return TensorSpec((1, *image))


def pixel_values_videos(reader: Reader) -> Any:
    """(1, frames, channels, height, width)."""
    frames = reader.find("image", "num_frames", "frames_per_clip", default=FRAMES)
    return TensorSpec((1, frames, channels(reader), *image_size(reader)))


def grid_thw(reader: Reader) -> Any:
    """(1, 3): one image of GRID x GRID patches."""
    import torch

    return torch.tensor([[1, GRID, GRID]])


def spatial_shapes(reader: Reader) -> Any:
    """(1, 2)."""
    import torch

    return torch.tensor([[GRID, GRID]])


def position_ids_of_patches(reader: Reader) -> Any:
    """(1, n, 2): x and y of every patch."""
    import torch

    grid = torch.arange(GRID)
    return torch.cartesian_prod(grid, grid)[None]


def image_sizes(reader: Reader) -> Any:
    """(1, 2)."""
    import torch

    return torch.tensor([image_size(reader)])


def one(reader: Reader) -> Any:
    """(1, 1)."""
    import torch

    return torch.ones(1, 1, dtype=torch.int64)


# -- sound -------------------------------------------------------------------------------------


def input_features(reader: Reader) -> Any:
    """A spectrogram, (1, bins, frames) before a 1-d convolution, else (1, frames, bins)."""
    names = ("num_mel_bins", "feature_size", "input_feat_per_channel", "num_mel_channels", "n_mels", "input_dim")
    bins = reader.find("audio", *names, default=80)
    frames = reader.find("audio", "max_source_positions")
    weight = reader.first_weight("audio")
    if weight is not None and weight.dim() == 3 and weight.shape[1] == bins:
        return TensorSpec((1, bins, 2 * (frames or SOUND_FRAMES // 2)))
    return TensorSpec((1, SOUND_FRAMES, bins))


def input_features_mask(reader: Reader) -> Any:
    """(1, frames): nothing is padding."""
    import torch

    return torch.ones(1, max(input_features(reader).shape[1:]), dtype=torch.int64)


def input_values(reader: Reader) -> Any:
    """A waveform (1, samples), or (1, channels, samples) for the codecs."""
    weight = reader.first_weight("audio")
    if reader.find("audio", "num_mel_bins") and reader.find("audio", "max_length"):
        return TensorSpec((1, reader.find("audio", "max_length"), reader.find("audio", "num_mel_bins")))
    del weight
    if (count := reader.find("audio", "audio_channels")) is not None:
        return TensorSpec((1, count, SAMPLES))
    return TensorSpec((1, SAMPLES))


# -- time series -------------------------------------------------------------------------------


def past_values(reader: Reader) -> Any:
    """(1, length) or (1, length, channels)."""
    length = reader.find("time", "context_length", "prediction_length", default=TOKENS)
    count = reader.find("time", "num_input_channels", "input_size", default=1)
    lags = max(reader.find("time", "lags_sequence", default=[0]))
    return TensorSpec((1, length + lags, count) if count > 1 else (1, length + lags))


MAKERS: dict[str, Callable[[Reader], Any]] = {
    "input_ids": input_ids,
    "decoder_input_ids": lambda reader: input_ids(reader, 16),
    "qformer_input_ids": lambda reader: input_ids(reader, 16),
    "attention_mask": attention_mask,
    "bbox": bbox,
    "pixel_values": pixel_values,
    "image": pixel_values,
    "hidden_states": pixel_values,
    "pixel_values_videos": pixel_values_videos,
    "image_grid_thw": grid_thw,
    "grid_thw": grid_thw,
    "spatial_shapes": spatial_shapes,
    "pixel_position_ids": position_ids_of_patches,
    "image_position_ids": position_ids_of_patches,
    "image_sizes": image_sizes,
    "image_merge_sizes": one,
    "input_features": input_features,
    "input_features_mask": input_features_mask,
    "feature_attention_mask": input_features_mask,
    "input_values": input_values,
    "past_values": past_values,
}
