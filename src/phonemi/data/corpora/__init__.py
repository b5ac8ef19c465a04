"""The corpora that `phonemi prepare` knows, by name on the command line."""

from __future__ import annotations

from phonemi.data.corpora.articulatory import prepare_articulatory
from phonemi.data.corpora.articulatory_synthesis import prepare_articulatory_synthesis
from phonemi.data.corpora.corpus import Corpus
from phonemi.data.corpora.esc50 import download_esc50, prepare_esc50
from phonemi.data.corpora.folder import prepare_folder
from phonemi.data.corpora.hprc import prepare_hprc
from phonemi.data.corpora.librispeech import download_librispeech, prepare_librispeech
from phonemi.data.corpora.musan import download_musan, prepare_musan
from phonemi.data.corpora.procedural_noise import prepare_procedural_noise
from phonemi.data.corpora.spire_ema import prepare_spire_ema
from phonemi.data.corpora.synthetic import prepare_synthetic
from phonemi.data.corpora.voicebank_demand import download_voicebank_demand, prepare_voicebank_demand
from phonemi.data.corpora.xrmb import prepare_xrmb

CORPORA = {
    "librispeech": Corpus(prepare_librispeech, download_librispeech),
    "voicebank-demand": Corpus(prepare_voicebank_demand, download_voicebank_demand),
    "esc50": Corpus(prepare_esc50, download_esc50),
    "musan": Corpus(prepare_musan, download_musan),
    "folder": Corpus(prepare_folder),
    "synthetic": Corpus(prepare_synthetic),
    "procedural-noise": Corpus(prepare_procedural_noise),
    "spire-ema": Corpus(prepare_spire_ema),
    "hprc": Corpus(prepare_hprc),
    "xrmb": Corpus(prepare_xrmb),
    "articulatory": Corpus(prepare_articulatory),
    "articulatory-synthesis": Corpus(prepare_articulatory_synthesis),
}
