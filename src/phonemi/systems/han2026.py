"""The systems and the printed numbers of Han et al. (2026).

*Rethinking Speech Representation Aggregation in Speech Enhancement: A Phonetic Mutual Information Perspective*
compares what conditions one and the same mask enhancer: the log1p spectrum alone, a single layer of a speech encoder,
a weighted sum of its layers (WS, equation 2), or a weighted sum whose weights change with every frame (DWS, equation
3). The sums are learned with the enhancer (acoustic), beforehand to tell phones (linguistic), or both (hybrid); each
has a row with the log1p spectrum as a second input. Its "SI-SDR" is read as the improvement over the noisy input,
which is what the recipe that it names writes under that name: a system with its PESQ and STOI lies at 17 to 20 dB,
not at 9.
"""

from __future__ import annotations

from phonemi.constants import TUNINGS, Tuning
from phonemi.systems.system import Look, Printed, System, TablePlan

ENCODERS = {
    "hubert": "facebook/hubert-base-ls960",
    "wavlm": "microsoft/wavlm-base-plus",
    "wav2vec2": "facebook/wav2vec2-base",
}
"""Name in the tables -> model on the Hugging Face hub; which of the two WavLM Base models it was, the paper does not
say."""

SINGLE_LAYER = {"hubert": "layer-11", "wavlm": "layer-11", "wav2vec2": "layer-9"}
"""The single layer of Table 1; for any other encoder it is the layer with the most MI on held-out speech."""

HELD_OUT = ("data.validation_share=0.1", "data.noise_folds.train=[1,2,3]", "data.noise_folds.validation=[4]")
"""For an encoder whose single layer the paper does not name: it is chosen on these, of dev-clean and of ESC-50."""

QUESTIONS = (("ws-linguistic", "ws-acoustic"), ("dws-linguistic", "dws-acoustic"))
"""The comparisons that the paper is about."""

BASELINES = ("ws-acoustic", "ws-acoustic+log1p")
"""What systems from elsewhere are compared with, the first that a run has."""

TERMS = {
    "WS": "weighted sum of the encoder's layers",
    "DWS": "the same, with weights that change with every frame",
    "acoustic": "weights learned with the enhancer",
    "linguistic": "learned to tell phones, then frozen",
    "hybrid": "starts linguistic, layer 0's weight is learned with the enhancer",
    "log1p": "the plain spectrum",
}

TABLES: dict[int, dict[tuple[str, str], Printed]] = {
    1: {
        ("", "log1p"): Printed(1.05, 9.47, 0.945, 2.81, 0.0649),
        ("hubert", "layer-11"): Printed(3.47, 8.99, 0.945, 2.82, 0.0710),
        ("hubert", "ws-acoustic"): Printed(3.30, 9.63, 0.949, 2.97, 0.0663),
        ("hubert", "ws-acoustic+log1p"): Printed(None, 9.68, 0.951, 3.06, 0.0616),
        ("hubert", "ws-linguistic"): Printed(3.49, 8.85, 0.947, 2.93, 0.0609),
        ("hubert", "ws-linguistic+log1p"): Printed(None, 9.46, 0.950, 2.97, 0.0648),
        ("hubert", "ws-hybrid"): Printed(3.43, 9.34, 0.949, 3.00, 0.0590),
        ("hubert", "ws-hybrid+log1p"): Printed(None, 9.26, 0.951, 2.97, 0.0586),
        ("wavlm", "layer-11"): Printed(3.57, 8.90, 0.946, 2.84, 0.0651),
        ("wavlm", "ws-acoustic"): Printed(3.47, 9.44, 0.949, 2.99, 0.0602),
        ("wavlm", "ws-acoustic+log1p"): Printed(None, 9.53, 0.949, 3.05, 0.0585),
        ("wavlm", "ws-linguistic"): Printed(3.61, 8.97, 0.947, 2.97, 0.0596),
        ("wavlm", "ws-linguistic+log1p"): Printed(None, 9.98, 0.950, 3.04, 0.0583),
        ("wavlm", "ws-hybrid"): Printed(3.57, 9.37, 0.948, 2.95, 0.0583),
        ("wavlm", "ws-hybrid+log1p"): Printed(None, 9.61, 0.950, 3.06, 0.0517),
        ("wav2vec2", "layer-9"): Printed(3.23, 8.83, 0.945, 2.85, 0.0665),
        ("wav2vec2", "ws-acoustic"): Printed(3.08, 9.09, 0.949, 2.92, 0.0625),
        ("wav2vec2", "ws-acoustic+log1p"): Printed(None, 9.42, 0.949, 2.99, 0.0619),
        ("wav2vec2", "ws-linguistic"): Printed(3.32, 8.98, 0.948, 2.92, 0.0649),
        ("wav2vec2", "ws-linguistic+log1p"): Printed(None, 9.41, 0.950, 3.00, 0.0630),
        ("wav2vec2", "ws-hybrid"): Printed(3.25, 9.53, 0.947, 2.97, 0.0603),
        ("wav2vec2", "ws-hybrid+log1p"): Printed(None, 9.47, 0.947, 2.96, 0.0615),
    },
    2: {
        ("wavlm", "dws-acoustic"): Printed(3.23, 9.42, 0.948, 2.98, 0.0587),
        ("wavlm", "dws-acoustic+log1p"): Printed(None, 9.53, 0.949, 2.99, 0.0545),
        ("wavlm", "dws-linguistic"): Printed(3.68, 9.09, 0.946, 2.89, 0.0578),
        ("wavlm", "dws-linguistic+log1p"): Printed(None, 9.54, 0.949, 3.02, 0.0584),
        ("wavlm", "dws-hybrid"): Printed(3.62, 9.63, 0.948, 2.93, 0.0593),
        ("wavlm", "dws-hybrid+log1p"): Printed(None, 9.61, 0.949, 3.04, 0.0587),
    },
}
"""Table -> (encoder, row) -> the printed numbers. In the text of Table 1 that we have, the names of the second and the
third encoder stand one row early, beside the last row of the block before: a block ends with its hybrid "+ log1p"."""

SUMS = {"ws": "weighted_sum", "dws": "dynamic_weighted_sum"}


def _printed(row: str) -> dict[str, Printed]:
    """Encoder -> numbers of one row; the spectrum alone stands there once, for all encoders."""
    return {encoder: printed for table in TABLES.values() for (encoder, name), printed in table.items() if name == row}


def _terms(*words: str) -> dict[str, str]:
    return {word: meaning for word, meaning in TERMS.items() if word in words}


def _single_layer(spectrum: bool, layer: int | None = None) -> System:
    ending, words = ("+log1p", " + log1p") if spectrum else ("", "")
    name = ("layer" if layer is None else f"layer-{layer}") + ending
    return System(
        name=name,
        label=("best single layer" if layer is None else f"layer {layer}") + words,
        aggregation="single_layer",
        layer=layer,
        spectrum=spectrum,
        compared_with=tuple(dict.fromkeys((f"ws-acoustic{ending}", *BASELINES))),
        look=Look("single", hollow=spectrum),
        terms=_terms("log1p") if spectrum else {},
        printed=_printed(name),
    )


def _sum(kind: str, tuning: Tuning, spectrum: bool) -> System:
    ending = "+log1p" if spectrum else ""
    name = f"{kind}-{tuning}{ending}"
    candidates: tuple[str, ...] = (f"{kind}-acoustic{ending}", f"{kind}-acoustic", f"ws-acoustic{ending}", *BASELINES)
    if name == BASELINES[0]:
        candidates = ()  # it is what all others are compared with
    words = ("WS", *(("DWS",) if kind == "dws" else ()), tuning, *(("log1p",) if spectrum else ()))
    return System(
        name=name,
        label=f"{kind.upper()} ({tuning.capitalize()})" + (" + log1p" if spectrum else ""),
        aggregation=SUMS[kind],
        tuning=tuning,
        spectrum=spectrum,
        compared_with=tuple(dict.fromkeys(other for other in candidates if other != name)),
        look=Look(tuning, dashed=kind == "dws", hollow=spectrum),
        terms=_terms(*words),
        printed=_printed(name),
    )


SYSTEMS: dict[str, System] = {
    system.name: system
    for system in (
        System(
            "log1p",
            "log1p",
            spectrum=True,
            compared_with=BASELINES,
            look=Look("spectrum"),
            terms=_terms("log1p"),
            printed=_printed("log1p"),
        ),
        *(_single_layer(spectrum) for spectrum in (False, True)),
        *(_single_layer(False, layer) for layer in (9, 11)),
        *(_sum(kind, tuning, spectrum) for kind in SUMS for tuning in TUNINGS for spectrum in (False, True)),
    )
}


def _sums(kind: str) -> tuple[str, ...]:
    return tuple(f"{kind}-{tuning}{plus}" for tuning in TUNINGS for plus in ("", "+log1p"))


def _held_out(encoder: str) -> tuple[str, ...]:
    return () if encoder in SINGLE_LAYER else HELD_OUT


PLANS = (
    TablePlan(
        "1",
        rows=lambda encoder: (SINGLE_LAYER.get(encoder, "layer"), *_sums("ws")),
        shared_rows=("log1p",),
        models=ENCODERS,
        encoders={"paper": tuple(ENCODERS), "mini": ("mini",)},
        presets={"paper": "paper", "mini": "mini"},
        settings=_held_out,
        is_printed=True,
    ),
    TablePlan(
        "2",
        rows=lambda encoder: _sums("dws"),
        models=ENCODERS,
        encoders={"paper": ("wavlm",), "mini": ("mini",)},
        presets={"paper": "paper", "mini": "mini"},
        settings=_held_out,
        is_printed=True,
    ),
)
"""The tables that `phonemi table` makes."""
