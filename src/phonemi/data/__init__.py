"""Speech and noise on disk, and the mixtures that are made of them for training and evaluation.

| module | what it has |
|---|---|
| `manifest` | `Recording`, a sound file and what is known about it; manifests, and splits by speaker or fold |
| `corpora` | the recordings of LibriSpeech, VoiceBank-DEMAND, ESC-50, MUSAN, any folder, and synthetic speech |
| `alignment`, `aligner` | phone alignments and the phone of each frame; alignments made here, by pocketsphinx |
| `store` | waveforms in memory, random pieces of noise |
| `mixing`, `augmentation` | sets of mixtures: drawn, planned, or recorded; rooms, band limits and gains |
| `fingerprints` | whether files have changed since they were read |
"""
