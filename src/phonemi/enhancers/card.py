"""The card of a model: Markdown under the YAML front matter that the Hugging Face hub reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from phonemi.results.evaluation import Evaluation
from phonemi.results.metrics import METRICS
from phonemi.results.tables import comparisons_table, metrics_table
from phonemi.tables import Table

KINDS = {  # kind: (task on the hub, tags, usage)
    "enhancer": (
        "audio-to-audio",
        ["speech-enhancement", "noise-suppression"],
        """```sh
phonemi enhance noisy.wav -o enhanced.wav --model {load}
```

```python
import soundfile
from phonemi import Enhancer

enhancer = Enhancer.from_pretrained("{load}")
noisy, rate = soundfile.read("noisy.wav")
enhanced = enhancer.enhance(noisy.T, sample_rate=rate)  # [sample] or [channel, sample]
```""",
    ),
    "inverter": (
        "",  # the hub has no such task
        ["speech", "articulation", "speech-inversion"],
        """```sh
phonemi invert speech.wav -o tracks.csv --model {load}
```

```python
import soundfile
from phonemi import Inverter

inverter = Inverter.from_pretrained("{load}")
speech, rate = soundfile.read("speech.wav")
tracks = inverter.invert(speech, rate)  # tracks.values [frame, variable] at 100 Hz, tracks.names, tracks.units
```""",
    ),
    "encoder": (
        "feature-extraction",
        ["speech"],
        """```sh
phonemi information --model {load}
```

```python
import torch
from phonemi import load_representation

encoder = load_representation("{load}")
states = encoder(torch.zeros(1, 16_000)).states  # [layer, batch, frame, dim], from 16 kHz waveforms
```""",
    ),
    "phone judge": (
        "",  # the hub has no such task
        ["speech", "evaluation"],
        """```sh
phonemi listen noisy enhanced --clean clean
```

```python
import numpy as np
from phonemi.information.phones_kept import PhoneJudge

judge = PhoneJudge.load("{load}")
clean = 0.1 * np.random.default_rng(0).standard_normal(16_000)  # a recording, [sample] at 16 kHz
enhanced = 0.5 * clean
judge.bits(enhanced, judge.recognise(clean)).value  # bits about the phones that it finds in the clean one
```""",
    ),
}


def model_card(facts: Mapping[str, Any]) -> str:
    """Write the card of a model. Sections without facts are left out.

    Args:
        facts: any of the following. Facts with other names are listed under "Training".

            - kind: "enhancer" (default), "inverter", "encoder" or "phone judge".
            - name, summary: title and first paragraph.
            - licence: SPDX identifier in lower case, such as "apache-2.0"; language: codes; tags: additional ones.
            - parts: {part, what, parameters} of each, where "what" describes the part.
            - size_mb: of the files, in 10^6 bytes; sample_rate: of the model, in Hz.
            - data: {name, licence, use, hub} of each corpus; hub is its id there.
            - speed: measured values by description.
            - metrics: content of a metrics.json (`rows`, `comparisons`); measured_on: the recordings they are of.
            - weak: sentences about what the model is bad at.
            - load: the name to give to `from_pretrained`.
    """
    remaining = {key: value for key, value in facts.items() if value not in (None, "", [], {})}
    kind = remaining.pop("kind", "enhancer")
    _, _, usage = KINDS[kind]
    start = [_front_matter(remaining, kind), f"# {remaining.pop('name', kind)}", remaining.pop("summary", "")]
    for key in ("licence", "language", "tags"):  # of the front matter
        remaining.pop(key, None)
    sections = {
        "How to use it": usage.format(load=remaining.pop("load", "FOLDER_OR_HUB_ID")),
        "What it is made of": _made_of(*(remaining.pop(key, None) for key in ("parts", "size_mb", "sample_rate"))),
        "Data": _data(remaining.pop("data", ())),
        "Speed": _bullets(remaining.pop("speed", {})),
        "Quality": _quality(remaining.pop("metrics", {}), remaining.pop("measured_on", "")),
        "What it is bad at": "\n".join(f"- {sentence}" for sentence in remaining.pop("weak", ())),
        "Training": _bullets(remaining),
    }
    return _joined(*start, *(f"## {title}\n\n{text}" for title, text in sections.items() if text)) + "\n"


def _front_matter(facts: Mapping[str, Any], kind: str) -> str:
    task, tags, _ = KINDS[kind]
    values = {
        "library_name": "phonemi",
        "pipeline_tag": task,
        "license": facts.get("licence"),
        "language": facts.get("language"),
        "datasets": [corpus["hub"] for corpus in facts.get("data", ()) if corpus.get("hub")],
        "metrics": [
            metric.title.lower().replace(" ", "-")
            for metric in METRICS
            if any(metric.key in row for row in facts.get("metrics", {}).get("rows", ()))
        ],
        "tags": [*tags, *facts.get("tags", ())],
    }
    return f"---\n{yaml.safe_dump({key: value for key, value in values.items() if value}, sort_keys=False)}---"


def _joined(*paragraphs: str) -> str:
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph)


def _made_of(parts: Sequence[Mapping[str, Any]] | None, size_mb: float | None, sample_rate: int | None) -> str:
    parts = parts or ()
    rows = [[part["part"], part["what"], _count(part["parameters"])] for part in parts]
    if len(rows) > 1:
        rows.append(["all", "", _count(sum(part["parameters"] for part in parts))])
    sentences = []
    if size_mb is not None:
        sentences.append(f"The files take {size_mb:.3g} MB.")
    if sample_rate is not None:
        sentences.append(f"It works at {sample_rate / 1000:g} kHz; other rates are resampled there and back.")
    return _joined(Table(["part", "what", "parameters"], rows).markdown() if rows else "", " ".join(sentences))


def _count(parameters: int) -> str:
    """
    >>> _count(4_794_624), _count(7)
    ('4.79 M', '7')
    """
    return f"{parameters / 1e6:.3g} M" if parameters >= 100_000 else str(parameters)


def _data(corpora: Sequence[Mapping[str, Any]]) -> str:
    titles = [key for key in ("name", "use", "licence") if any(corpus.get(key) for corpus in corpora)]
    rows = [[str(corpus.get(key, "")) for key in titles] for corpus in corpora]
    return Table(titles, rows).markdown() if corpora else ""


def _quality(metrics: Mapping[str, Any], measured_on: str) -> str:
    if not metrics.get("rows"):
        return ""
    evaluation = Evaluation.from_json(metrics)
    texts = [measured_on, metrics_table(evaluation).markdown(), "In brackets: 95 % intervals."]
    if evaluation.comparisons:
        texts += ["Differences on the same recordings, significant ones in bold:"]
        texts += [comparisons_table(evaluation).markdown()]
    return _joined(*texts)


def _bullets(values: Mapping[str, Any]) -> str:
    return "\n".join(f"- {key.replace('_', ' ')}: {_text(value)}" for key, value in values.items())


def _text(value: Any) -> str:
    """
    >>> _text({"steps": 3000, "shares": [0.2, 1 / 3]})
    'steps 3000, shares 0.2, 0.3333'
    """
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_text(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_text, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)
