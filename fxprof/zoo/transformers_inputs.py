"""A default input for any transformers model, from its main input, its forward's signature and its configuration.

What is passed: every argument that forward requires, the main input, and for each modality that the model names
the argument that carries it, with what goes with that argument. How many tokens stand for one image or one sound is
asked of the model itself, by shapes alone.
"""

from __future__ import annotations

import inspect
from typing import Any

from fxprof.errors import FxprofError, InputError
from fxprof.zoo.transformers_reader import Reader
from fxprof.zoo.transformers_tensors import ALONG_IDS, MAKERS

# The arguments that may carry a modality: the first that forward takes does. Video only where there is no image.
_CARRIERS = {
    "text": ("input_ids",),
    "image": ("pixel_values", "image_pixel_values", "flattened_patches", "image"),
    "video": ("pixel_values_videos", "pixel_values"),
    "audio": ("input_features", "input_values", "audio_input_features"),
    "time": ("past_values",),
}
_CARRIER_NAMES = {name for modality, names in _CARRIERS.items() if modality != "text" for name in names}
# What goes with an argument wherever forward takes it.
_COMPANIONS = {
    "pixel_values": (
        "image_grid_thw", "grid_thw", "spatial_shapes", "pixel_position_ids", "image_position_ids", "aspect_ratio_ids",
        "aspect_ratio_mask", "merge_sizes", "image_merge_sizes", "target_sizes",
    ),
    "input_features": ("feature_attention_mask", "input_features_mask"),
    "query_embeds": ("encoder_hidden_states",),
    "input_values": ("input_values_cutoffs",),
    "feature_attention_mask": ("attention_mask",),
    "states": ("actions", "rewards", "returns_to_go", "timesteps"),
    "input_ids": ("bbox", "mm_token_type_ids", "visual_feats", "visual_pos", "image_embeds_position_mask"),
}  # fmt: skip
# Which tokens stand for what, and which method makes the features that take their place.
_PLACEHOLDERS = {
    "image": (("image_token_id", "image_token_index", "media_placeholder_token_id"), "get_image_features"),
    "audio": (("audio_token_id", "audio_token_index"), "get_audio_features"),
}


def default_inputs(model: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """Arguments for forward by name, integer tensors and specs for what is floating; and what was left out, why."""
    reader = Reader(model)
    wanted = _wanted(model, reader.modalities)
    made = {name: MAKERS[name](reader) for name in wanted if name in MAKERS}
    left_out: dict[str, str] = {}
    if "input_ids" not in made:
        return made, left_out
    ids = made["input_ids"]
    held = ids < 0
    for tokens, method in _PLACEHOLDERS.values():
        given = _accepted(made, getattr(model, method, None))
        names = [name for name in tokens if hasattr(model.config, name)]
        if not names or not set(given) & _CARRIER_NAMES:
            continue
        try:
            token = _token(model.config, names)
            ids, held = _with_placeholders(ids, held, token, _features(model, method, given))
        except FxprofError as err:  # as in default configurations whose parts do not fit together
            dropped = set(given) - {"input_ids"} - set(_required(model.forward))
            made = {name: value for name, value in made.items() if name not in dropped}
            left_out |= dict.fromkeys(sorted(dropped), str(err))
    if "image_embeds_position_mask" in wanted:
        ids, held = _with_placeholders(ids, held, int(ids[0, 0]), reader.find("image", "latent_query_num", default=0))
    along = {name: ALONG_IDS[name](ids, held) for name in wanted if name in ALONG_IDS}
    return {**made, "input_ids": ids, **along}, left_out


def _token(config: Any, names: list[str]) -> int:
    """The id that stands for one feature vector."""
    found = next((token for name in names if (token := getattr(config, name)) is not None), None)
    if found is None:
        raise InputError(f"the configuration sets no {' or '.join(names)}")
    return int(found)


def _wanted(model: Any, modalities: tuple[str, ...]) -> list[str]:
    """Names of the arguments to pass."""
    taken = inspect.signature(model.forward).parameters
    main = model.main_input_name
    found = [*_required(model.forward), *([main] if isinstance(main, str) else main)]
    for modality in modalities:
        if (modality == "video" and "image" in modalities) or _is_missing(model.config, modality):
            continue
        found += [name for name in _CARRIERS.get(modality, ()) if name in taken][:1]
    if modalities == ("text",):  # which speech models that say nothing else have too
        found += [name for name in _CARRIERS["audio"] if name in taken][:1]
    for name in list(found):
        found += _COMPANIONS.get(name, ())
    for _, method in _PLACEHOLDERS.values():
        found += _required(getattr(model, method, None))
    if "perceiver_embeddings" in taken:  # images apart from the text, which sees them through a mask
        found += ["image_attention_mask"]
    if getattr(model.config, "is_encoder_decoder", False):
        found += ["decoder_input_ids"]
    return [name for name in dict.fromkeys(found) if name in taken]


def _is_missing(config: Any, modality: str) -> bool:
    """Whether the configuration has a place for the modality and nothing in it."""
    places = {"image": "vision_config", "video": "vision_config", "audio": "audio_config"}
    return getattr(config, places.get(modality, ""), config) is None


def _accepted(made: dict[str, Any], method: Any) -> dict[str, Any]:
    parameters = inspect.signature(method).parameters if method is not None else {}
    return {name: value for name, value in made.items() if name in parameters}


def _required(method: Any) -> list[str]:
    """The arguments of a method that have no default."""
    plain = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    parameters = inspect.signature(method).parameters if method is not None else {}
    return [name for name, p in parameters.items() if p.default is p.empty and p.kind not in plain]


def _with_placeholders(ids: Any, held: Any, token: int, count: int) -> tuple[Any, Any]:
    """Make room in the ids for one image or sound: as many of its tokens as the model makes features of it.

    ``held`` marks the places of all placeholders.
    """
    import torch

    ids = torch.cat([ids[:, :1], torch.full((1, count), token), ids[:, 1:]], dim=1)
    return ids, torch.cat([held[:, :1], torch.ones(1, count, dtype=torch.bool), held[:, 1:]], dim=1)


def _features(model: Any, method: str, given: dict[str, Any]) -> int:
    """How many feature vectors ``model.method`` makes, by shapes alone.

    Raises FxprofError where it makes none of these inputs, or none that fit between the embeddings of text.
    """
    from torch import nn

    from fxprof.tracing import record
    from fxprof.tracing.inventory import Inventory

    class Part(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, **kwargs: Any) -> Any:
            found = getattr(self.model, method)(**kwargs)
            return getattr(found, "pooler_output", found)

    [output] = record(Inventory(Part()), (), given).graph.of("output")
    shapes = [node.tensor_meta.shape for node in output.all_input_nodes]
    width = model.get_input_embeddings().weight.shape[1]
    if any(shape[-1] != width for shape in shapes):
        raise InputError(f"{method} makes features of {shapes[0][-1]} numbers, the embeddings of text have {width}")
    return sum(shape.numel() // shape[-1] for shape in shapes)
