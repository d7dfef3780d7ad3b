"""Checkpoints: read any format lazily, match names onto a model, apply all or nothing, save."""
