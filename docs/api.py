"""Public names of the package -> docs/api.md: signatures and docstrings; run it after changing either."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import phonemi

PAGE = Path(__file__).with_suffix(".md")
SECTION = re.compile(r"(Args|Returns|Yields|Raises|Attributes):")
ITEM = re.compile(r"( {4}| {0})(\*{0,2}\w[\w, *.]*):(?: |$)(.*)")


class Bare(str):
    """An annotation that is shown without quotes."""

    __repr__ = str.__str__


def page() -> str:
    """The whole page as Markdown."""
    parts = [f"# API\n\nMade from the docstrings by `python docs/api.py`; version {phonemi.__version__}."]
    for name in phonemi.__all__:
        if not name.startswith("_"):
            parts += entry(getattr(phonemi, name), name, "##")
    return "\n\n".join(parts) + "\n"


def entry(thing: object, name: str, heading: str) -> Iterator[str]:
    """Heading, signature and docstring of a class or function, then those of its public methods."""
    yield f"{heading} `{name}`"
    if callable(thing) and not (inspect.isclass(thing) and issubclass(thing, Exception)):
        yield f"```\n{name.rpartition('.')[2]}{signature(thing)}\n```"
    yield markdown(inspect.getdoc(thing) or "")
    if inspect.isclass(thing):
        own = [base for base in reversed(thing.__mro__) if base.__module__.startswith("phonemi")]
        members = {key: member for base in own for key, member in vars(base).items()}
        for key, member in members.items():
            function = getattr(member, "__func__", member)
            if not key.startswith("_") and inspect.isfunction(function) and function.__doc__:
                yield from entry(getattr(thing, key), f"{name}.{key}", heading + "#")


def signature(thing: object) -> str:
    """Parameters with their types, a line each when they are many."""
    found = inspect.signature(thing)  # type: ignore[arg-type]
    kept = [
        parameter.replace(annotation=Bare(parameter.annotation)) if isinstance(parameter.annotation, str) else parameter
        for parameter in found.parameters.values()
        if parameter.name != "self"
    ]
    returned = f" -> {found.return_annotation}" if isinstance(found.return_annotation, str) else ""
    text = str(inspect.Signature(kept))
    if len(text + returned) > 90:
        text = "(\n" + "".join(f"    {line},\n" for line in _lines(kept)) + ")"
    return text + returned


def _lines(parameters: list[inspect.Parameter]) -> Iterator[str]:
    named_only = False
    for parameter in parameters:
        if parameter.kind is parameter.KEYWORD_ONLY and not named_only:
            named_only = True
            yield "*"
        yield str(parameter)


def markdown(docstring: str) -> str:
    """A Google docstring as Markdown: sections as lists, doctests as code."""
    lines: list[str] = []
    section = code = False
    for line in docstring.splitlines():
        if code and not line.strip():
            lines.append("```")
            code = False
        if line.strip().startswith(">>>") and not code:
            lines += ["```python"]
            code = True
        if code:
            lines.append(line)
        elif found := SECTION.fullmatch(line):
            section = True
            lines += [f"*{found[1]}*", ""]
        elif section and (item := ITEM.fullmatch(line)) and item[1]:
            lines.append(f"- `{item[2]}`: {item[3]}")
        else:
            section = section and (not line or line.startswith(" "))
            lines.append(line.strip() if not section else f"  {line.strip()}".rstrip())
    return "\n".join(lines + ["```"] * code)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
