"""What a transformers model says about the sizes of its inputs: its configuration, and its first layers."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

# Words in the names of configurations and modules that belong to a modality, the most telling first.
_WORDS = {
    "text": ("text", "language", "llm", "thinker"),
    "image": ("vision", "visual", "vit", "image", "perception", "backbone"),
    "audio": ("audio", "speech", "acoustic", "sound", "encoder"),
    "high_res": ("high_res",),
}


class Reader:
    """Looks sizes up in a model's configuration and the configurations inside it."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.config = model.config
        self.taken = inspect.signature(model.forward).parameters.keys()

    @property
    def modalities(self) -> tuple[str, ...]:
        """What the model takes: of "text", "image", "video", "audio", "time"."""
        found = self.model.input_modalities
        return (found,) if isinstance(found, str) else tuple(found)

    @property
    def is_video(self) -> bool:
        """Whether images come as frames of one video."""
        modalities = self.modalities
        return ("video" in modalities and "image" not in modalities) or self.find("", "num_frames") is not None

    def find(self, modality: str, *names: str, default: Any = None, here: bool = False) -> Any:
        """The first of ``names`` that the modality's part of the configuration has; else the whole; else any part.

        With ``here``, only the whole.
        """
        parts = list(_parts(self.config, ""))[: 1 if here else None]
        words = _WORDS.get(modality, ())
        ranked = sorted(parts, key=lambda item: _rank(item[0], words))
        for _, part in ranked:
            for name in names:
                if (value := getattr(part, name, None)) is not None:
                    return value
        return default

    def special_tokens(self) -> set[int]:
        """Ids with a meaning of their own, which plain text must not have."""
        found: set[int] = set()
        for _, part in _parts(self.config, ""):
            for name, value in vars(part).items():
                if name.endswith(("token_id", "token_index")):
                    found.update(item for item in (value if isinstance(value, list) else [value]) if type(item) is int)
        return found

    def streams(self) -> int:
        """How many streams of tokens are embedded together: there is a table of where each one's ids begin."""
        tables = (table for name, table in self.model.named_buffers() if name.endswith("audio_tokens_offsets"))
        return next((table.numel() for table in tables), 0)

    def first_weight(self, modality: str) -> Any:
        """The weight that meets an input of the modality first: of the first convolution or linear layer.

        Layers in a list of blocks come after all others, whatever their place in the constructor.
        """
        found = [(name.lower(), layer) for name, layer in self.model.named_modules() if _is_layer(layer)]
        layers = sorted(found, key=lambda item: any(part.isdigit() for part in item[0].split(".")))
        for word in _WORDS[modality] if len(self.modalities) > 1 else ():
            if (own := next((layer for name, layer in layers if word in name), None)) is not None:
                return own.weight
        return layers[0][1].weight if layers else None

    def patch_shape(self) -> tuple[int, ...]:
        """The numbers of one patch of an image, as the layer that takes it has them."""
        weight = self.first_weight("image")
        return () if weight is None else tuple(weight.shape[1:])


def _is_layer(layer: Any) -> bool:
    return ("Conv" in type(layer).__name__ or "Linear" in type(layer).__name__) and hasattr(layer, "weight")


def _parts(config: Any, path: str) -> Iterator[tuple[str, Any]]:
    """The configuration and those inside it, each with its dotted path."""
    yield path, config
    for key, value in vars(config).items():
        if hasattr(value, "to_diff_dict"):
            yield from _parts(value, f"{path}.{key}")


def _rank(path: str, words: tuple[str, ...]) -> tuple[int, int]:
    """Parts of the modality first, then the nearest to the whole."""
    return (next((i for i, word in enumerate(words) if word in path), len(words)), path.count("."))
