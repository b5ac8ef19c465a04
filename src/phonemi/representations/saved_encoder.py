"""Encoders of our own code in a folder: config.json, whose `model_type` says which kind, and model.safetensors."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Self

from phonemi.errors import DataError, ModelError
from phonemi.files import read_json, write_json
from phonemi.representations.base import Representation
from phonemi.weights.shipped import CONFIG_FILE, WEIGHTS_FILE
from phonemi.weights.tensors import load_weights, save_weights


@dataclass(frozen=True)
class EncoderConfig:
    """Sizes and options of a kind of encoder."""

    model_type: ClassVar[str]

    def to_json(self) -> dict[str, Any]:
        """The content of config.json."""
        return {"model_type": self.model_type, **asdict(self)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Inverse of `to_json`; raises ModelError for other models and for keys that this version does not know."""
        sizes = dict(values)
        model_type = sizes.pop("model_type", None)
        unknown = sorted(sizes.keys() - {field.name for field in fields(cls)})
        if model_type != cls.model_type or unknown:
            raise ModelError(
                f"expected a configuration of {cls.model_type}, found model_type {model_type!r}, unknown {unknown}"
            )
        return cls(**sizes)


class SavedEncoder(Representation):
    """An encoder that its `config` and its weights describe in full. All parameters are trainable at first."""

    config: EncoderConfig
    config_type: ClassVar[type[EncoderConfig]]

    def settings(self) -> dict[str, Any]:
        return {"name": self.name, **self.config.to_json()}

    def save(self, folder: str | Path, half: bool = False) -> None:
        """Write model.safetensors and config.json; `half` stores the parameters in float16."""
        save_weights(self, Path(folder) / WEIGHTS_FILE, half)
        write_json(Path(folder) / CONFIG_FILE, self.config.to_json())

    @classmethod
    def new(cls, values: dict[str, Any], name: str) -> Self:
        """An encoder with fresh weights from the content of a config.json; raises ModelError if it does not fit."""
        build: Any = cls
        encoder: Self = build(cls.config_type.from_json(values), name)
        return encoder

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read what `save` wrote, or raise ModelError; all parameters are trainable, in evaluation mode."""
        try:
            model = cls.new(read_json(Path(folder) / CONFIG_FILE), str(folder))
        except (DataError, ModelError) as error:
            raise ModelError(f"loading {folder}: {error}") from None
        load_weights(model, Path(folder) / WEIGHTS_FILE)
        return model.eval()
