"""What can be asked of an enhancer; without torch, so that a question can be refused before any is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast, get_args

from phonemi.errors import ConfigError, nearest

Purpose = Literal["listening", "recognition"]
UpperBand = Literal["attenuate", "remove", "keep"]


@dataclass(frozen=True)
class EnhanceOptions:
    """How the enhanced recording is put together; see `Enhancer.enhance`.

    Raises:
        ConfigError: for a value out of its range.
    """

    mix: float = 1.0
    attenuation_limit_db: float | None = None
    upper_band: UpperBand = "attenuate"
    purpose: Purpose = "listening"

    def __post_init__(self) -> None:
        if self.purpose not in get_args(Purpose):
            raise ConfigError(f"purpose is {self.purpose!r}: {nearest(str(self.purpose), get_args(Purpose))}")
        if not 0 <= self.mix <= 1:
            raise ConfigError(f"a mix of {self.mix:g} is impossible: 0 leaves a recording as it is, 1 enhances it all")
        if self.attenuation_limit_db is not None and not self.attenuation_limit_db >= 0:
            raise ConfigError(f"an attenuation limit of {self.attenuation_limit_db:g} dB would amplify: 0 or more")
        if self.upper_band not in get_args(UpperBand):
            advice = nearest(str(self.upper_band), get_args(UpperBand))
            raise ConfigError(f"upper_band is {self.upper_band!r}: {advice}")


def split_purpose(system: str) -> tuple[str, Purpose]:
    """A system and what it is for, named as on the command line of `phonemi enhance`.

    Raises:
        ConfigError: for an unknown purpose.

    >>> split_purpose("default --for recognition"), split_purpose("out/model")
    (('default', 'recognition'), ('out/model', 'listening'))
    """
    name, purpose_follows, purpose = system.partition(" --for ")
    return name, EnhanceOptions(purpose=cast(Purpose, purpose.strip())).purpose if purpose_follows else "listening"
