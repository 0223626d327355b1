"""The network of each size."""

from findna.nn.chordmixer import ChordMixer
from findna.nn.encoder import Encoder
from findna.nn.transformer import Transformer
from findna.sizes import ModelConfig


def make_encoder(config: ModelConfig) -> Encoder:
    """A network of this size, with weights initialised by torch."""
    return Transformer(config) if config.mixer == "transformer" else ChordMixer(config)
