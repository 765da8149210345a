"""Vision towers, which are loaded with a text model but never trained.

Source: the classes of transformers 5.24 (``models/siglip``).
"""

from __future__ import annotations

from ftwizard.estimate.blocks import MAX_LAYERS
from ftwizard.estimate.config_reader import ConfigReader


def siglip(config: ConfigReader, wide: int) -> tuple[int, int]:
    """Return the parameters of a SigLIP vision tower, and how many are in linear layers."""
    layers = config.count("num_hidden_layers", 12, maximum=MAX_LAYERS)
    inner = config.count("intermediate_size", 3_072)
    patch, image = config.count("patch_size", 16), config.count("image_size", 224)
    feed_forward, its_biases = 2 * wide * inner, inner + wide
    within = layers * (4 * wide * wide + feed_forward)
    others = layers * (4 * wide + its_biases + 4 * wide)
    others += config.count("num_channels", 3) * patch * patch * wide + wide
    others += (image // patch) ** 2 * wide + 2 * wide
    if config.flag("vision_use_head", True):  # attention pooling
        within += wide * wide + feed_forward
        others += wide + 3 * wide * wide + 4 * wide + 2 * wide + its_biases
    return within + others, within
