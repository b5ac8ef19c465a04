"""What a run can be told (`sections`), and how it is read and saved (`loading`)."""

from phonemi.config.loading import load_config, presets, provenance, save_config
from phonemi.config.sections import MANIFESTS, Augment, Config, Encoder, Round

__all__ = ["MANIFESTS", "Augment", "Config", "Encoder", "Round", "load_config", "presets", "provenance", "save_config"]
