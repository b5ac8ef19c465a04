"""Facts about a model -> its card: Markdown under the YAML front matter that the Hugging Face hub reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from phonemi.results.evaluation import Evaluation
from phonemi.results.metrics import METRICS
from phonemi.results.tables import comparisons_table, metrics_table
from phonemi.tables import Table

KINDS = {  # kind: (task on the hub, tags, how to use it)
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
    "encoder": (
        "feature-extraction",
        ["speech", "self-supervised-learning"],
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
}


def model_card(facts: Mapping[str, Any]) -> str:
    """The card of a model. What is not among the facts is not in the card.

    Args:
        facts: any of the following; whatever else there is, is listed under "Training".

            - kind: "enhancer" (default) or "encoder".
            - name, summary: title and first paragraph.
            - licence: SPDX identifier in lower case, such as "apache-2.0"; language: codes; tags: more of them.
            - parts: {part, what, parameters} of each.
            - size_mb: of the files, in 10^6 bytes; sample_rate: that it works at, in Hz.
            - data: {name, licence, use, hub} of each corpus; hub is its id there, if it has one.
            - speed: what was measured -> value.
            - metrics: content of a metrics.json (`rows`, `comparisons`); measured_on: what these are of.
            - weak: sentences, what it is bad at.
            - load: what `from_pretrained` is to be given.

    >>> print(model_card({"name": "small", "licence": "apache-2.0"}).split("---")[1].strip())
    library_name: phonemi
    pipeline_tag: audio-to-audio
    license: apache-2.0
    tags:
    - speech-enhancement
    - noise-suppression
    """
    known = {key: value for key, value in facts.items() if value not in (None, "", [], {})}
    kind = known.pop("kind", "enhancer")
    _, _, usage = KINDS[kind]
    sections = [
        _front_matter(known, kind),
        f"# {known.pop('name', kind)}",
        known.pop("summary", ""),
        _titled("How to use it", usage.format(load=known.pop("load", "FOLDER_OR_HUB_ID"))),
        _titled("What it is made of", _made_of(*(known.pop(key, None) for key in ("parts", "size_mb", "sample_rate")))),
        _titled("Data", _data(known.pop("data", ()))),
        _titled("Speed", _bullets(known.pop("speed", {}))),
        _titled("Quality", _quality(known.pop("metrics", {}), known.pop("measured_on", ""))),
        _titled("What it is bad at", "\n".join(f"- {sentence}" for sentence in known.pop("weak", ()))),
    ]
    header = ("licence", "language", "tags")
    sections.append(_titled("Training", _bullets({key: value for key, value in known.items() if key not in header})))
    return "\n\n".join(section for section in sections if section) + "\n"


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


def _titled(title: str, text: str) -> str:
    return f"## {title}\n\n{text}" if text else ""


def _made_of(parts: Sequence[Mapping[str, Any]] | None, size_mb: float | None, sample_rate: int | None) -> str:
    rows = [[one["part"], one["what"], _count(one["parameters"])] for one in parts or ()]
    if len(rows) > 1:
        rows.append(["all", "", _count(sum(one["parameters"] for one in parts or ()))])
    sentences = [
        "" if size_mb is None else f"The files take {size_mb:.3g} MB.",
        ""
        if sample_rate is None
        else f"It works at {sample_rate / 1000:g} kHz; other rates are resampled there and back.",
    ]
    texts = (Table(["part", "what", "parameters"], rows).markdown() if rows else "", " ".join(filter(None, sentences)))
    return "\n\n".join(text for text in texts if text)


def _count(parameters: int) -> str:
    """How many parameters, short.

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
    return "\n\n".join(text for text in texts if text)


def _bullets(values: Mapping[str, Any]) -> str:
    return "\n".join(f"- {key.replace('_', ' ')}: {_text(value)}" for key, value in values.items())


def _text(value: Any) -> str:
    """A value in a line.

    >>> _text({"steps": 3000, "shares": [0.2, 1 / 3]})
    'steps 3000, shares 0.2, 0.3333'
    """
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_text(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_text, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)
