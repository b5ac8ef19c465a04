"""The corpora that `phonemi prepare` knows, by name. A new corpus is one module with a `CORPUS`, and its name below."""

from __future__ import annotations

from phonemi.data.corpora import esc50, folder, librispeech, musan, synthetic, voicebank_demand
from phonemi.data.corpora.corpus import Corpus

CORPORA: dict[str, Corpus] = {
    module.CORPUS.name: module.CORPUS for module in (librispeech, voicebank_demand, esc50, musan, folder, synthetic)
}
