"""Whether an inverter hears closures in real speech: lips in P, B and M, tongue tip in T, D and N, against vowels.

python bench/articulation.py MANIFEST [--model articulation] [--recordings 60] [--noise MANIFEST]

MANIFEST has recordings with phones. Where the lips are closed LA is small, where the tip is at the alveolar ridge TTCD
is; in vowels both are larger. Printed is the mean difference of vowels and closures, in mm of the model's mouth, paired
within a recording, with its 95 % interval over speakers; clean, and at 5 dB.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from phonemi import Inverter, audio, mix_at_snr, read_manifest
from phonemi.data.manifest import Recording, speaker_of
from phonemi.data.mixing import generator
from phonemi.data.store import AudioStore, NoiseStore
from phonemi.inversion.tracks import RATE_HZ, Tracks
from phonemi.metrics.statistics import estimate
from phonemi.stages.data_splits import draw_evenly
from phonemi.tables import Cell, Table

CLOSURES = {"LA": ("P", "B", "M"), "TTCD": ("T", "D", "N")}
VOWELS = frozenset(["AA", "AE", "AH", "AO", "AW", "AY", "EH", "ER", "EY", "IH", "IY", "OW", "OY", "UH", "UW"])
EDGE_S = 0.01  # left out at both ends of a phone: alignments are not exact
SNR_DB = 5.0


def mean_in(tracks: Tracks, name: str, recording: Recording, phones: frozenset[str]) -> float:
    """Mean of a variable over all frames in the middle of these phones; NaN without any."""
    column = tracks.column(name)
    parts = [
        column[round((start_s + EDGE_S) * RATE_HZ) : round((end_s - EDGE_S) * RATE_HZ)]
        for start_s, end_s, phone in recording.phones or ()
        if phone.rstrip("012") in phones
    ]
    values = np.concatenate(parts) if parts else np.zeros(0)
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--model", default="articulation")
    parser.add_argument("--recordings", type=int, default=60)
    parser.add_argument("--noise", type=Path, help="manifest of noise; default: white noise")
    given = parser.parse_args()
    inverter = Inverter.from_pretrained(given.model)
    recordings = draw_evenly([r for r in read_manifest(given.manifest) if r.phones], given.recordings, 0)
    noises = NoiseStore(AudioStore(read_manifest(given.noise))) if given.noise else None
    differences: dict[tuple[str, str], list[float]] = {}
    for recording in recordings:
        speech, rng = audio.load(recording.path), generator(0, "articulation", recording.id)
        noise = noises.draw(len(speech), rng)[1] if noises else rng.standard_normal(len(speech)).astype(np.float32)
        for condition, waveform in (("clean", speech), (f"{SNR_DB:g} dB", mix_at_snr(speech, noise, SNR_DB)[0])):
            tracks = inverter.invert(waveform, 16_000)
            for name, phones in CLOSURES.items():
                closed = mean_in(tracks, name, recording, frozenset(phones))
                difference = mean_in(tracks, name, recording, VOWELS) - closed
                differences.setdefault((name, condition), []).append(difference)
    speakers = [speaker_of(recording) for recording in recordings]
    rows = []
    for (name, condition), values in differences.items():
        known = np.isfinite(values)
        interval = estimate(np.where(known, values, 0), known.astype(float), speakers)
        larger = f"{np.nanmean(np.array(values)[known] > 0):.0%} of {known.sum()}"
        rows.append(
            [
                f"{name}, vowels less {' '.join(CLOSURES[name])}",
                condition,
                Cell(interval.value, interval=(interval.low, interval.high), signed=True),
                larger,
            ]
        )
    print(Table(["variable", "speech", "difference (mm)", "larger in vowels"], rows).markdown())


if __name__ == "__main__":
    main()
