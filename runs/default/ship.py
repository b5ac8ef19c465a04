"""A finished run of runs/default/build.sh -> a folder of src/phonemi/weights: half-precision weights and their card.

python runs/default/ship.py RUN TARGET [--row ROW] [--hub MODEL@COMMIT] [--information FILE] [--metrics FILE]
"""

from __future__ import annotations

import argparse
import shutil
import time
from pathlib import Path
from typing import Any

import torch

from phonemi import Enhancer, load_representation
from phonemi.config import load_config
from phonemi.enhancers.card import model_card
from phonemi.enhancers.pretrained import ENHANCER
from phonemi.files import read_json, write_text
from phonemi.information.phones_kept import PhoneJudge
from phonemi.inversion.inverter import INVERTER, Inverter
from phonemi.representations.mel_transformer import MelTransformer
from phonemi.weights.training_record import TRAINING_FILE, find_training_record

LICENCE = {"licence": "apache-2.0", "language": ["en"]}
SPEECH = [
    {"name": "LibriSpeech train-clean-100, 1.9 h of it", "use": "speech with phones", "licence": "CC BY 4.0"},
    {"name": "speechocean762, train list", "use": "speech with phones", "licence": "free for any use"},
    {"name": "LJ Speech, VCTK, one more reader: 0.5 h", "use": "speech with phones", "licence": "public domain, CC BY"},
]
SUPERVISED = {
    "phones": "It is phone-supervised: what its layers say about phones says nothing about self-supervised encoders.",
    "teacher": "Its teacher was trained with transcripts: what its layers say about phones says nothing about "
    "self-supervised encoders, and whom the teacher has heard is not known.",
}
AGREEMENT = {
    "validation_accuracy": "accuracy on masked frames of held-out crops",
    "validation_similarity": "cosine similarity to the teacher's states of held-out crops",
}
LOG1P = "`log1p` is the same network without the encoder. "
COMMANDS = {"name": "Picovoice, spoken commands, 1.5 h", "use": "speech", "licence": "Apache-2.0"}
NOISE = [
    {"name": "ESC-10, folds 1 to 3", "use": "noise", "licence": "CC BY 3.0"},
    {"name": "Speech Commands, background noise", "use": "noise", "licence": "CC BY 4.0"},
    {"name": "procedural noise, and babble of the speech above", "use": "noise", "licence": "made by phonemi"},
]
BABBLE = {"name": "babble of the speech above", "use": "noise", "licence": "made by phonemi"}


WEAK = [
    "In strong noise it can lose words: put it in front of a recogniser with `--for recognition`, and measure.",
    "It hears up to 8 kHz; what lies above is attenuated as it attenuates 6 to 7.3 kHz.",
    "Babble and single competing talkers are speech: little of them is removed.",
    "Trained on English, mostly read speech.",
]


SAME_EAR = (
    "Its guide is a Whisper, which may have heard anybody; another Whisper that judges its words has an ear like it."
)


def plain_speech() -> list[dict[str, str]]:
    """`SPEECH` where its phones are not used."""
    return [{**one, "use": "speech"} for one in SPEECH]


def ship_encoder(run: Path, target: Path, information: Path) -> None:
    """Write the encoder and what was measured of it."""
    encoder = MelTransformer.load(run / "encoder" / "model")
    encoder.save(target, half=True)
    shutil.copy(run / "encoder" / "model" / TRAINING_FILE, target)
    trained = read_json(run / "encoder" / "result.json")
    settings = load_config(run / "config.yaml").encoder
    record = find_training_record(str(run / "encoder" / "model"))
    assert record is not None
    units = {round_["units"] for round_ in trained["rounds"]}
    speech = SPEECH if "phones" in units else plain_speech()
    speech = [*speech, *([COMMANDS] if units - {"phones"} else [])]  # which has no transcripts, hence no phones
    measured = read_json(information)["average"] if information.exists() else []
    bits = {str(row["layer"]): row["mi_bits"] for row in measured if row["representation"] != "log1p"}
    log1p = [row["mi_bits"] for row in measured if row["representation"] == "log1p"]
    facts: dict[str, Any] = {
        "kind": "encoder",
        "name": target.name,
        "load": target.name,
        **LICENCE,
        "summary": f"A small {'convolutional ' if encoder.config.block_kernel else ''}transformer on log-mel frames, "
        f"trained by {record.method}. It runs offline on a laptop; "
        "HuBERT, WavLM and wav2vec2 are far better where they can be had.",
        "parts": [
            {
                "part": "encoder",
                "what": f"{encoder.layers} hidden states of {encoder.dim}, a frame every 20 ms",
                "parameters": sum(parameter.numel() for parameter in encoder.parameters()),
            }
        ],
        "size_mb": (target / "model.safetensors").stat().st_size / 1e6,
        "data": [*speech, *(NOISE if settings.noisy_share else [])],
        "speed": {"real-time factor on one core": real_time_factor(load_representation(target))},
        "weak": [
            "English only, mostly read speech; half of the accented readers are children.",
            "Hours of speech, where the large models have heard tens of thousands.",
            *(sentence for unit, sentence in SUPERVISED.items() if unit in units),
        ],
        "hours_of_speech": trained["hours"],
        "rounds": [
            f"{Path(one.get('teacher') or one['units']).name}: {one['steps']} updates of "
            f"{settings.batch * settings.crop_frames * 0.02:.0f} s, {AGREEMENT[name]} {one[name]:.3f}"
            for one in trained["rounds"]
            for name in AGREEMENT.keys() & one.keys()
        ],
        "noisy_share_of_the_inputs": settings.noisy_share,
        "MI bits by layer, average of -10 to 20 dB": bits,
        "MI bits of log1p in the same run": log1p,
        "recipe": "runs/default/build.sh",
    }
    write_text(target / "README.md", model_card(facts))


def ship_enhancer(run: Path, target: Path, row: str, judged: Path, hub: str | None) -> None:
    """Write one row of the run as an enhancer that ships.

    Its encoder is the one of the package that it was trained on, or else of the hub, MODEL@COMMIT, of which it had a
    copy.
    """
    enhancer = Enhancer.from_pretrained(run / "rows" / row / "model")
    enhancer.name = target.name
    config = load_config(run / "config.yaml")
    guide = config.representation
    if hub is not None:
        guide, _, commit = hub.partition("@")
        encoder: Any = enhancer.representation
        encoder.name, encoder.model.config._commit_hash = guide, commit  # as if it came from there
    facts = {
        "load": target.name,
        **LICENCE,
        "summary": f"Speech enhancement guided by the encoder `{guide}`: {enhancer.network.description()}. "
        + ("`--for recognition` has a network of its own. " if enhancer.recognition_network is not None else "")
        + f"Row `{row}` of the recipe.",
        "data": plain_speech() + NOISE,
        "speed": {"real-time factor on one core": real_time_factor(enhancer)},
        **quality(judged, row, target.name, f"{target.name}-recognition"),
        "weak": [*WEAK, *([SAME_EAR] if hub else [])],
        **updates(run),
        "recipe": "runs/default/build.sh",
    }
    enhancer.save_pretrained(target, facts, half=True, shipped_encoder=None if hub else guide)


def updates(run: Path) -> dict[str, str]:
    """What the networks of a run were trained by, and those that it went on from, by what they are for."""
    config = load_config(run / "config.yaml").enhance
    before = {} if config.start is None else updates(Path(config.start).parents[2])
    name = "updates" if config.purpose == "listening" else "updates for recognition"
    own = f"{config.steps} of {config.batch} crops of {config.crop_s:g} s"
    if config.kept_noise_db is not None:
        own += f" (noise kept {config.kept_noise_db:g} dB down)"
    return before | {name: f"{before[name]}, then {own}" if name in before else own}


def ship_joint(run: Path, target: Path, row: str) -> None:
    """Write one row of the run, an enhancer with the inverter that it was trained with, as a model that ships."""
    model = run / "rows" / row / "model"
    enhancer, inverter = Enhancer.from_pretrained(model), Inverter.from_pretrained(model)
    enhancer.name = inverter.name = target.name
    config = load_config(run / "config.yaml")
    guide = config.representation
    articulation = read_json(run / "articulation.json")["rows"] if (run / "articulation.json").exists() else []
    judged = read_json(run / "metrics.json")["protocol"]
    correlations = {
        f"{score['variable'] or 'mean'}, {'clean' if score['noise'] == 'clean' else 'in noise'}": score["value"]
        for score in articulation
        if score["row"] == row and score["noise"] in ("all", "clean") and score.get("snr_db") is None
    }
    facts: dict[str, Any] = {
        "kind": "inverter",
        "name": target.name,
        "load": target.name,
        **LICENCE,
        "summary": f"Tract variables from speech, 100 times a second: the movements of lips, tongue, jaw and velum, "
        f"and the voice. On the encoder `{guide}`, trained jointly with a small enhancer. **It was trained on "
        "synthetic speech**: VocalTractLab says exactly what its tract does, for one anatomy and its variations, with "
        "the vowels of German and without the r of English. What it says of people is an estimate by that mouth.",
        "parts": [
            {
                "part": "inverter",
                "what": f"{inverter.network.kind} on a weighted sum of {inverter.aggregation.layers} layers",
                "parameters": sum(parameter.numel() for parameter in inverter.network.parameters()),
            },
            {
                "part": "enhancer",
                "what": enhancer.network.description(),
                "parameters": sum(parameter.numel() for parameter in enhancer.network.parameters()),
            },
        ],
        "sample_rate": 16_000,
        "data": [
            {
                "name": "articulatory synthesis by VocalTractLab",
                "use": "speech with tracks",
                "licence": "made by phonemi",
            },
            {"name": "LibriSpeech train-clean-100, 3 readers", "use": "speech of the enhancer", "licence": "CC BY 4.0"},
            NOISE[0],
            BABBLE,
        ],
        "speed": {"real-time factor on one core": real_time_factor(inverter)},
        "judged_on": f"{judged['test']} {judged['speech and noise']}",
        "correlation_with_the_truth": correlations,
        "real_speech": "bench/articulation.py, docs/results.md",
        "weak": [
            "Values are those of one synthetic mouth: compare them within a recording, not between people.",
            "The opening of the velum (VO) and the pitch (F0) are recovered badly, see below.",
            "The enhancer beside it, for `phonemi enhance --model articulation`, is small, was trained for half an "
            "hour and changes little: to clean recordings, use `default`.",
        ],
        "updates": f"{config.enhance.steps} of {config.enhance.batch} crops of {config.enhance.crop_s:g} s",
        "recipe": "runs/default/build.sh",
    }
    inverter.save_pretrained(target, {}, half=True, shipped_encoder=guide)
    summary = f"The enhancer that the inverter `{target.name}` was trained with; what it is good for is in its card."
    facts_of_enhancer = {"load": target.name, **LICENCE, "summary": summary}
    enhancer.save_pretrained(target / ENHANCER, facts_of_enhancer, half=True, shipped_encoder=guide)
    files = [*target.rglob("*.safetensors")]
    write_text(target / "README.md", model_card({**facts, "size_mb": sum(f.stat().st_size for f in files) / 1e6}))


def quality(judged: Path, *names: str) -> dict[str, Any]:
    """The test scores of a row of the run, or of a system that was judged apart, and what they were measured on."""
    if not judged.exists():
        return {}
    metrics = read_json(judged)
    shown = [one for one in metrics["rows"] if one["row"] in ("noisy", "clean", "log1p", *names)]
    differences = [one for one in metrics["comparisons"] if one["row"] in names]
    log1p = LOG1P if any(one["row"] == "log1p" for one in shown) else ""
    protocol = " ".join(
        f"{topic.capitalize()}: {metrics['protocol'][topic]}"
        for topic in ("test", "words")
        if topic in metrics["protocol"]
    )
    return {
        "metrics": {"rows": shown, "comparisons": differences},
        "measured_on": f"Speakers and noises that are in none of its training or validation sets. {protocol} {log1p}"
        "docs/results.md has more: by SNR, and beside other systems.",
    }


def ship_judge(run: Path, target: Path) -> None:
    """Write the probe that a run judged phones by, and what it finds in the noisy and the clean recordings."""
    judge = PhoneJudge.load(run / "phone_judge")
    judge.save(target, half=True)
    metrics, protocol = read_json(run / "metrics.json"), read_json(run / "information.json")["protocol"]
    noisy = protocol["data"].removeprefix("train ").partition(", validation")[0]
    bits = {f"{row['snr_db']:g} dB": row["phone_bits"] for row in metrics["by_snr"] if row["row"] == "noisy"}
    clean = next(row["phone_bits"] for row in metrics["rows"] if row["row"] == "clean")
    facts: dict[str, Any] = {
        "kind": "phone judge",
        "name": target.name,
        "load": target.name,
        **LICENCE,
        "summary": f"Says how many bits about the phones a recording keeps, by a probe on layer {judge.layer} of "
        f"`{judge.encoder.name}`, without asking a recogniser. `phonemi listen` sorts recordings by it.",
        "parts": [
            {
                "part": "probe",
                "what": f"{len(judge.probe.kernels)}-layer perceptron on layer {judge.layer} of {judge.encoder.name}, "
                f"{len(judge.distribution)} phones with silence",
                "parameters": sum(parameter.numel() for parameter in judge.probe.parameters()),
            }
        ],
        "size_mb": (target / "model.safetensors").stat().st_size / 1e6,
        "data": [{**SPEECH[0], "name": "LibriSpeech train-clean-100"}, NOISE[0], BABBLE],
        "weak": [
            "English only, read speech of few speakers.",
            f"It hears with `{judge.encoder.name}`: enhancers that are guided by the same encoder may please it.",
            "Bits of other judges, and of other encoders, are other numbers: compare those of one judge.",
        ],
        "speech": f"{noisy}, and their utterances clean",
        "bits with aligned phones, other speakers and noises": bits | {"clean": clean},
        "recipe": "runs/default/build.sh",
    }
    write_text(target / "README.md", model_card(facts))


@torch.inference_mode()
def real_time_factor(model: torch.nn.Module, seconds: int = 30) -> float:
    """CPU time for a recording over its duration, the best of three on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    waveform, times = 0.05 * torch.randn(1, 16_000 * seconds), []
    for _ in range(3):
        start = time.process_time()
        model(waveform)
        times.append(time.process_time() - start)
    torch.set_num_threads(threads)
    return min(times) / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="run folder of an encoder, of enhancers or of a phone judge")
    parser.add_argument("target", type=Path, help="folder to write, its name is the name that ships")
    parser.add_argument("--row", default="ws-linguistic+log1p+complex", help="which of the enhancers")
    parser.add_argument("--hub", metavar="MODEL@COMMIT", help="where its encoder is to come from; default: the package")
    parser.add_argument(
        "--information", type=Path, help="MI of the encoder; default: RUN/information.json if it is there"
    )
    parser.add_argument(
        "--metrics", type=Path, help="test scores of the enhancer; default: RUN/metrics.json if it is there"
    )
    given = parser.parse_args()
    judged = given.metrics or given.run / "metrics.json"
    if (given.run / "rows" / given.row / "model" / INVERTER).is_dir():
        ship_joint(given.run, given.target, given.row)
    elif (given.run / "rows" / given.row).is_dir():
        ship_enhancer(given.run, given.target, given.row, judged, given.hub)
    elif (given.run / "phone_judge").is_dir():
        ship_judge(given.run, given.target)
    else:
        ship_encoder(given.run, given.target, given.information or given.run / "information.json")
    print(given.target)


if __name__ == "__main__":
    main()
