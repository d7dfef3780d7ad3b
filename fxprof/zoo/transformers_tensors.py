"""One maker per argument name: ids, masks and grids as integer tensors, everything floating as a spec.

Sizes come from the configuration; where that does not say how an input is laid out, the first layer that
takes it does (``transformers_reader.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fxprof.report import TensorSpec
from fxprof.zoo.transformers_reader import Reader

TOKENS = 128
DECODER_TOKENS = 16
SAMPLES = 48_000  # of a waveform: one second at 48 kHz, three at 16
SOUND_FRAMES = 1600  # of a spectrogram, where the model has no length of its own
IMAGE = 224
GRID = 24  # patches per side of an image given as patches: to be merged by 2, 3 or 4
FRAMES = 4


def _full(value: int, *shape: int) -> Any:
    import torch

    return torch.full(shape, value)


# -- text --------------------------------------------------------------------------------------


def input_ids(reader: Reader, most: int = TOKENS) -> Any:
    """(1, tokens): ordinary ids, without any that has a meaning of its own; (1, tokens, streams) of text and sound."""
    import torch

    vocabulary = reader.find("text", "vocab_size", default=1000)
    vocabulary = min(vocabulary) if isinstance(vocabulary, list) else vocabulary
    positions = reader.find("text", "max_position_embeddings", "max_target_positions", "n_positions", default=most)
    special = reader.special_tokens()
    plain = [i for i in range(min(vocabulary, 4 * most + len(special))) if i not in special] or [0]
    length = min(most, positions if positions > 1 else most)
    ids = torch.tensor([[plain[(7 * i + 5) % len(plain)] for i in range(length)]])
    streams = reader.streams()
    return ids[..., None].expand(-1, -1, streams).clone() if streams else ids


def decoder_input_ids(reader: Reader) -> Any:
    """(1, tokens); (1, tokens, channels) for a decoder of several streams of sound."""
    ids = input_ids(reader, DECODER_TOKENS)
    streams = getattr(getattr(reader.config, "decoder_config", None), "num_channels", None)
    return ids if streams is None else ids[..., None].expand(-1, -1, streams).clone()


def embeddings(reader: Reader) -> Any:
    """(1, tokens, width)."""
    return TensorSpec((1, TOKENS, reader.find("text", "hidden_size", "d_model", default=768)))


def context_hidden_states(reader: Reader) -> Any:
    """(1, tokens, layers x width): what several layers of another model have made."""
    width = reader.find("text", "hidden_size", default=768)
    return TensorSpec((1, TOKENS, len(reader.find("", "target_layer_ids", default=[0])) * width))


def queries(reader: Reader) -> Any:
    """(1, queries, width): what a querying transformer starts from."""
    count = reader.find("text", "num_query_tokens", default=32)
    return TensorSpec((1, count, reader.find("text", "hidden_size", default=768)))


def encoder_hidden_states(reader: Reader) -> Any:
    """(1, tokens, width): what an encoder would have made."""
    return TensorSpec((1, TOKENS, reader.find("text", "encoder_hidden_size", "hidden_size", default=768)))


# -- images ------------------------------------------------------------------------------------


def image_size(reader: Reader) -> tuple[int, int]:
    """Height and width."""
    size = reader.find("image", "max_img_size", "image_size", "img_size", "input_size", default=IMAGE)
    ratios = reader.find("image", "scaled_images_ratios")
    if ratios is not None:  # the smallest copy of the image has to be a patch
        size = round(reader.find("image", "patch_size", here=True) / min(ratios))
    together = reader.find("image", "num_windows", "scale_factor")  # patches to a window, or merged into one
    if isinstance(size, int) and isinstance(together, int):
        window = reader.find("image", "patch_size", default=1) * together
        size = -(-size // window) * window
    if isinstance(size, dict):
        size = (size["height"], size["width"])
    height, width = (size, size) if isinstance(size, int) else (size[-2], size[-1])
    return (height // 2, width) if "prompt_pixel_values" in reader.taken else (height, width)  # one above the other


def channels(reader: Reader) -> int:
    """Of an image."""
    found: int = reader.find("image", "num_channels", "in_channels", "in_chans", "num_input_channels", default=3)
    return found


def pixel_values(reader: Reader) -> Any:
    """(1, channels, height, width); for models that take them so, patches, several images, or frames."""
    image = (channels(reader), *image_size(reader))
    patch = tuple(reader.patch_shape())
    if reader.taken & {"image_grid_thw", "grid_thw"}:  # patches of all images in one row
        return TensorSpec((GRID * GRID, *(patch if len(patch) == 3 else (_product(patch),))))
    if reader.taken & {"spatial_shapes", "pixel_position_ids", "image_position_ids"}:
        return TensorSpec((1, GRID * GRID, _product(patch)))
    if "target_sizes" in reader.taken:  # patches side by side in one image, one patch high
        return TensorSpec((1, image[0], patch[-1], GRID * GRID * patch[-1]))
    if "aspect_ratio_ids" in reader.taken:
        return TensorSpec((1, 1, reader.find("image", "max_num_tiles", default=4), *image))
    if (pinpoints := reader.find("image", "image_grid_pinpoints")) is not None:
        return TensorSpec((1, 1 + max(height * width for height, width in pinpoints) // (image[1] * image[2]), *image))
    if reader.taken & {"pixel_attention_mask", "perceiver_embeddings"}:
        return TensorSpec((1, 1, *image))
    if reader.is_video:
        return TensorSpec((1, reader.find("image", "num_frames", default=FRAMES), *image))
    return TensorSpec((1, *image))


def _product(shape: tuple[int, ...]) -> int:
    import math

    return math.prod(shape)


def pixel_attention_mask(reader: Reader) -> Any:
    """Nothing is padding: of patches (1, n), else of pixels (1, 1, height, width)."""
    return _full(1, 1, GRID * GRID) if "spatial_shapes" in reader.taken else _full(1, 1, 1, *image_size(reader))


def pixel_values_videos(reader: Reader) -> Any:
    """(1, frames, channels, height, width)."""
    frames = reader.find("image", "num_frames", "frames_per_clip", default=FRAMES)
    return TensorSpec((1, frames, channels(reader), *image_size(reader)))


def grid_thw(reader: Reader) -> Any:
    """(1, 3): one image of GRID x GRID patches."""
    import torch

    return torch.tensor([[1, GRID, GRID]])


def position_ids_of_patches(reader: Reader) -> Any:
    """(1, n, 2): x and y of every patch."""
    import torch

    grid = torch.arange(GRID)
    return torch.cartesian_prod(grid, grid)[None].flip(-1)


def image_sizes(reader: Reader) -> Any:
    """(1, 2)."""
    import torch

    return torch.tensor([image_size(reader)])


def aspect_ratio_mask(reader: Reader) -> Any:
    """(1, 1, tiles): all are there."""
    return _full(1, 1, 1, reader.find("image", "max_num_tiles", default=4))


# -- sound -------------------------------------------------------------------------------------


def input_features(reader: Reader) -> Any:
    """A spectrogram, (1, bins, frames) before a 1-d convolution, else (1, frames, bins)."""
    names = (
        "feature_projection_input_dim",
        "num_mel_bins",
        "feature_size",
        "input_feat_size",
        "input_feat_per_channel",
        "n_mels",
        "input_dim",
    )
    bins = reader.find("audio", *names, default=80)
    weight = reader.first_weight("audio")
    if weight is not None and weight.dim() == 2:
        stacked = weight.shape[1] % bins == 0 and weight.shape[1] < 8 * bins  # a few frames at a time
        bins = weight.shape[1] if stacked or reader.find("audio", *names) is None else bins
    if (side := reader.find("audio", "spec_size")) is not None:  # folded into a square image
        return TensorSpec((1, 1, side * side // bins, bins))
    if reader.find("audio", "n_window") is not None:
        return TensorSpec((1, bins, SOUND_FRAMES))
    by_convolution = weight is not None and weight.dim() == 3 and weight.shape[1] == bins
    if by_convolution and reader.find("audio", "input_feat_per_channel") is None:  # which turns it round itself
        return TensorSpec((1, bins, 2 * reader.find("audio", "max_source_positions", default=SOUND_FRAMES // 2)))
    return TensorSpec((1, SOUND_FRAMES, bins))


def input_features_mask(reader: Reader) -> Any:
    """(1, frames): nothing is padding."""
    spec: TensorSpec = input_features(reader)
    return _full(1, 1, max(spec.shape[1:])).bool()


def input_values(reader: Reader) -> Any:
    """A waveform (1, samples), (1, channels, samples) for codecs, or a spectrogram."""
    if (bins := reader.find("audio", "num_mel_bins")) is not None:
        return TensorSpec((1, reader.find("audio", "max_length", default=SOUND_FRAMES), bins))
    if reader.find("audio", "audio_channels", "codebook_size", "downsampling_ratios", "upsampling_ratios") is not None:
        return TensorSpec((1, reader.find("audio", "audio_channels", "channels", default=1), SAMPLES))
    return TensorSpec((1, SAMPLES))


# -- time series and control -------------------------------------------------------------------


def past_values(reader: Reader) -> Any:
    """(1, length), or (1, length, channels) of several series."""
    length = reader.find("time", "context_length", "prediction_length", default=TOKENS)
    count = reader.find("time", "num_input_channels", "input_size", default=1)
    lags = max(reader.find("time", "lags_sequence", default=[0]))
    several = count > 1 or reader.find("time", "num_input_channels") is not None
    return TensorSpec((1, length + lags, count) if several else (1, length + lags))


def _steps(name: str, default: int) -> Callable[[Reader], Any]:
    """(1, steps, width), the width from the configuration."""
    return lambda reader: TensorSpec((1, DECODER_TOKENS, reader.find("", name, default=default)))


MAKERS: dict[str, Callable[[Reader], Any]] = {
    "input_ids": input_ids,
    "decoder_input_ids": decoder_input_ids,
    "qformer_input_ids": lambda reader: input_ids(reader, DECODER_TOKENS),
    "inputs_embeds": embeddings,
    "inputs": embeddings,
    "noise_embeds": embeddings,
    "action_embeds": embeddings,
    "context_hidden_states": context_hidden_states,
    "query_embeds": queries,
    "encoder_hidden_states": encoder_hidden_states,
    "pixel_values": pixel_values,
    "image_pixel_values": pixel_values,
    "image": pixel_values,
    "hidden_states": pixel_values,
    "high_res_pixel_values": lambda reader: TensorSpec((1, 3, *(reader.find("high_res", "image_size"),) * 2)),
    "prompt_pixel_values": pixel_values,
    "prompt_masks": pixel_values,
    "pixel_values_videos": pixel_values_videos,
    "pixel_attention_mask": pixel_attention_mask,
    "image_grid_thw": grid_thw,
    "grid_thw": grid_thw,
    "spatial_shapes": lambda reader: _full(GRID, 1, 2),
    "target_sizes": lambda reader: _full(GRID, 1, 2),
    "pixel_position_ids": position_ids_of_patches,
    "image_position_ids": position_ids_of_patches,
    "image_sizes": image_sizes,
    "merge_sizes": lambda reader: _full(2, 1),
    "image_merge_sizes": lambda reader: _full(2, 1),
    "aspect_ratio_ids": lambda reader: _full(1, 1, 1),
    "aspect_ratio_mask": aspect_ratio_mask,
    "visual_feats": lambda reader: TensorSpec((1, DECODER_TOKENS, reader.find("", "visual_feat_dim", default=2048))),
    "visual_pos": lambda reader: TensorSpec((1, DECODER_TOKENS, 4)),
    "input_features": input_features,
    "audio_input_features": input_features,
    "audio_mel": input_features,
    "audio_mel_mask": lambda reader: ~input_features_mask(reader),  # true is padding
    "input_features_mask": input_features_mask,
    "feature_attention_mask": lambda reader: input_features_mask(reader).long(),
    "input_values": input_values,
    "input_values_cutoffs": lambda reader: _full(SAMPLES, 1, 1),
    "latents": lambda reader: TensorSpec((1, reader.find("", "hidden_size", default=512), TOKENS)),
    "past_values": past_values,
    "past_values_padding": lambda reader: _full(0, *past_values(reader).shape),
    "freq": lambda reader: _full(0, 1, 1),
    "task_inputs": lambda reader: input_ids(reader, reader.find("", "task_seq_len", default=DECODER_TOKENS)),
    "classes_input_ids": lambda reader: input_ids(reader, DECODER_TOKENS),
    "classes_attention_mask": lambda reader: _full(1, 1, DECODER_TOKENS),
    "tasks_input_ids": lambda reader: input_ids(reader, DECODER_TOKENS),
    "tasks_attention_mask": lambda reader: _full(1, 1, DECODER_TOKENS),
    "classes_structure": lambda reader: _full(1, 1),
    "states": _steps("state_dim", 17),
    "actions": _steps("act_dim", 4),
    "rewards": _steps("reward_dim", 1),
    "returns_to_go": _steps("reward_dim", 1),
    "timesteps": lambda reader: _full(1, 1, DECODER_TOKENS),
}

# Arguments that go along with the ids token by token, made when these are known: (ids, their placeholders).
ALONG_IDS: dict[str, Callable[[Any, Any], Any]] = {
    "attention_mask": lambda ids, held: ids.new_ones(ids.shape),
    "bbox": lambda ids, held: ids.new_tensor([0, 0, 10, 10]).expand(*ids.shape, 4).clone(),
    "mm_token_type_ids": lambda ids, held: held.long(),
    "image_attention_mask": lambda ids, held: ids.new_ones((*ids.shape, 1)),
    "image_embeds_position_mask": lambda ids, held: held.long(),
}
