"""The reference of every setting, read from the schema and printed for a terminal or as Markdown.

`phonemi config` prints it, and the page "Settings" of the documentation is built from it.
"""

from __future__ import annotations

import functools
import json
import math
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from phonemi.config.sections import Config
from phonemi.errors import ConfigError, nearest

TOP = "run"  # what the settings outside of any section are listed under
INDENT = "    "
Schema = Mapping[str, Any]  # a JSON schema, as pydantic writes it
_wrap = functools.partial(textwrap.wrap, break_on_hyphens=False, break_long_words=False)


@dataclass(frozen=True)
class Setting:
    """One setting, in the words of its declaration."""

    name: str  # as in `--set`: "enhance.steps"; "encoder.rounds[].steps" for a setting of every list entry
    type: str  # "integer, at least 1", "one of auto, cpu, cuda", ...
    default: str  # in YAML's short form
    description: str
    facts: tuple[
        str, ...
    ]  # unit, what Han et al. (2026) use, and the results that change with it; those that there are


@dataclass(frozen=True)
class SectionReference:
    """A section of the configuration: its name, what it is for, and its settings."""

    name: str
    description: str
    settings: tuple[Setting, ...]


def reference(name: str | None = None) -> list[SectionReference]:
    """Describe every section, or those that a name selects.

    Args:
        name: a section ("enhance", with "enhance.augment"), one setting ("enhance.steps"), or None for everything.

    Raises:
        ConfigError: if there is no such section or setting, naming the nearest one.

    >>> [section.settings[0].default for section in reference("enhance.steps")]
    ['100000']
    """
    schema = Config.model_json_schema()
    sections = list(_sections("", schema, schema["$defs"]))
    if name is None:
        return sections
    chosen = [section for section in sections if section.name == name or section.name.startswith(f"{name}.")]
    if chosen:
        return chosen
    for section in sections:
        for setting in section.settings:
            if setting.name == name:
                return [SectionReference(section.name, section.description, (setting,))]
    names = [section.name for section in sections] + [setting.name for part in sections for setting in part.settings]
    raise ConfigError(f"no section or setting {name!r}; {nearest(name, names)}")


def as_text(sections: list[SectionReference], columns: int) -> str:
    """Print sections for a terminal, in lines of at most `columns` where words and values allow it."""
    lines = []
    for section in sections:
        lines += ["", *_wrap(f"{section.name}: {section.description}", columns), ""]
        for setting in section.settings:
            value = f"{setting.name} = {setting.default}"
            lines += [value] if len(value) <= columns else _wrap(value, columns, subsequent_indent=INDENT)
            for paragraph in (setting.description, setting.type, *setting.facts):
                lines += _wrap(paragraph, columns, initial_indent=INDENT, subsequent_indent=INDENT)
    return "\n".join(lines[1:])


def as_markdown(sections: list[SectionReference]) -> str:
    """Write sections as the body of a Markdown page, with an anchor for each setting."""
    blocks = []
    for section in sections:
        blocks += [f"## {section.name} {{ #section-{section.name} }}", section.description]
        for setting in section.settings:
            blocks += [f"### `{setting.name}` {{ #{setting.name.replace('[]', '')} }}", setting.description]
            blocks.append("; ".join([f"Type: {setting.type}", f"default: `{setting.default}`", *setting.facts]))
    return "\n\n".join(block for block in blocks if block) + "\n"


def _sections(name: str, schema: Schema, definitions: Schema) -> Iterator[SectionReference]:
    """A section and, after it, the sections inside it."""
    settings, inner = [], []
    for key, declared in schema["properties"].items():
        path = f"{name}.{key}".lstrip(".")
        if "$ref" in declared:
            inner.append((path, declared["$ref"]))
            continue
        if "$ref" in declared.get("items", {}):  # a list of sections
            inner.append((f"{path}[]", declared["items"]["$ref"]))
        labelled = {"unit": declared["unit"], "paper": declared["paper"], "affects": ", ".join(declared["affects"])}
        facts = tuple(f"{label}: {fact}" for label, fact in labelled.items() if fact)
        settings.append(Setting(path, _type(declared), _yaml(declared["default"]), declared["description"], facts))
    description = " ".join(schema.get("description", "").split())
    yield SectionReference(name or TOP, description, tuple(settings))
    for path, target in inner:
        yield from _sections(path, definitions[target.rpartition("/")[2]], definitions)


def _type(schema: Schema) -> str:
    """Say in words which values a JSON schema allows.

    >>> _type({"type": "integer", "minimum": 1})
    'integer, at least 1'
    >>> _type({"anyOf": [{"type": "array", "items": {"type": "number"}}, {"type": "null"}]})
    'list of number, or null'
    """
    if "anyOf" in schema:
        return ", or ".join(map(_type, schema["anyOf"]))
    if "enum" in schema:
        return f"one of {', '.join(map(str, schema['enum']))}"
    if "const" in schema:
        return f"only {schema['const']}"
    if "$ref" in schema:
        return "sections"
    kind = str(schema.get("type", "value"))
    if kind == "array":
        pair = schema.get("prefixItems")
        return f"pair of {_type(pair[0])}" if pair else f"list of {_type(schema['items'])}"
    if kind == "object":
        return f"mapping of name to {_type(schema['additionalProperties'])}"
    limits = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
    # The upper limit of the seed only keeps it in 64 bits.
    words = [f"{word} {schema[key]:g}" for key, word in limits.items() if abs(schema.get(key, math.inf)) < 1e15]
    return ", ".join([{"string": "text", "boolean": "true or false"}.get(kind, kind), *words])


def _yaml(value: Any) -> str:
    """A value in the YAML that `--set` takes.

    >>> _yaml({"snrs_db": [-5.0, 20.0], "silence": True, "crop_s": None})
    '{snrs_db: [-5, 20], silence: true, crop_s: null}'
    """
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return f"[{', '.join(map(_yaml, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_yaml(item)}' for key, item in value.items())}}}"
    return value if isinstance(value, str) else json.dumps(value)
