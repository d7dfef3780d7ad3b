"""What a transformers model says about the sizes of its inputs: its configuration, and its first layers."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from math import prod
from typing import Any

# Words in the names of configurations and modules that belong to a modality.
_WORDS = {
    "text": ("text", "decoder", "language", "thinker", "llm"),
    "image": ("vision", "visual", "vit", "image", "backbone", "perception"),
    "audio": ("audio", "speech", "encoder", "acoustic", "sound"),
}


class Reader:
    """Looks sizes up in a model's configuration and the configurations inside it."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.config = model.config
        self.taken = inspect.signature(model.forward).parameters.keys()

    def find(self, modality: str, *names: str, default: Any = None) -> Any:
        """The first of ``names`` that the modality's part of the configuration has; else the whole; else any part."""
        parts = list(_parts(self.config, ""))
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

    def first_weight(self, modality: str) -> Any:
        """The weight that meets an input of the modality first: of the first convolution or linear layer."""
        named = list(self.model.named_modules())
        words = _WORDS.get(modality, ())
        layers = [(name, layer) for name, layer in named if _is_layer(layer)]
        own = [layer for name, layer in layers if any(word in name.lower() for word in words)]
        return (own or [layer for _, layer in layers])[0].weight if layers else None

    def numbers_per_patch(self) -> int:
        """How many numbers a patch of an image has."""
        weight = self.first_weight("image")
        return prod(weight.shape[1:])


def _is_layer(layer: Any) -> bool:
    return ("Conv" in type(layer).__name__ or "Linear" in type(layer).__name__) and hasattr(layer, "weight")


def _parts(config: Any, path: str) -> Iterator[tuple[str, Any]]:
    """The configuration and those inside it, each with its dotted path."""
    yield path, config
    for key, value in vars(config).items():
        if hasattr(value, "to_diff_dict"):
            yield from _parts(value, f"{path}.{key}")


def _rank(path: str, words: tuple[str, ...]) -> tuple[bool, int]:
    """Parts of the modality first, then the nearest to the whole."""
    return (not any(word in path for word in words), path.count("."))
