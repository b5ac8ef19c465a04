"""Make a table of a paper, every row of it beside what is printed: OUT/table<name>.json and .md.

OUT/<encoder> is an ordinary run for each encoder, so that rows are independent, resumable, skipped when done, and share
what they can: hidden states, pre-trained aggregations, and everything between tables of the same settings.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from phonemi.config import MANIFESTS, Config, load_config, provenance
from phonemi.errors import ConfigError, DataError
from phonemi.files import read_json, write_json, write_text
from phonemi.progress import Progress
from phonemi.recipes.quickstart import as_setting, synthetic_data
from phonemi.report.markdown import paper_table_markdown, write_markdown
from phonemi.report.run_page import build_report
from phonemi.results.evaluation import EvaluationData
from phonemi.results.paper_table import PaperComparison, PaperTable
from phonemi.results.run_folder import removing_empty_run
from phonemi.stages import aggregate, articulation, evaluate, run_stages
from phonemi.stages.comparison import adjust
from phonemi.stages.protocol import describe_statistics
from phonemi.stages.run import Run
from phonemi.stages.trained_models import is_trained
from phonemi.systems import TABLES, TablePlan, find_system, find_systems
from phonemi.tables import plural
from phonemi.weights.training_record import find_training_record

SCALES = ("paper", "mini")
"""The paper's recipe and corpora, or the same code on little data."""


class Part(NamedTuple):
    """The rows of one encoder."""

    encoder: str
    representation: str
    rows: tuple[str, ...]
    settings: tuple[str, ...] = ()  # that override the preset


class TableRequest(NamedTuple):
    """Which table is wanted, of what, and where."""

    name: str  # of `systems.TABLES`
    out: Path  # folder of the runs and of the table
    scale: str  # "paper" (its recipe and corpora) or "mini" (the same code on little data)
    encoders: tuple[str, ...] = ()  # names in the paper, shipped names, folders or hub ids; (): those of the scale
    manifests: Path | None = None  # folder of those that the preset names; None: at scale mini, speech made in `out`
    overrides: tuple[str, ...] = ()  # KEY=VALUE, which override the preset


def make_table(request: TableRequest, shard: tuple[int, int] | None = None) -> Path | None:
    """Make every row that is not there yet, and write the table, whose path is returned.

    Launches at the same time, on one machine or several with one file system, share the work: no row is made twice,
    and that of a process that died is taken over.

    Args:
        request: the table.
        shard: (i, n): make every n-th model, from i on, and the table only if that was the last; else None is returned.

    Raises:
        ConfigError: for a table, scale or setting that does not exist.
        DataError: if a manifest is missing.
    """
    progress = Progress()
    name, out = request.name, request.out
    table, preset, parts = _plan_work(request, progress)
    rows: list[dict[str, Any]] = []
    comparisons: list[PaperComparison] = []
    recovered: dict[str, Any] = {}
    tested_on, protocols, is_complete = EvaluationData(), {}, True
    for part in parts:
        progress.say(f"table {name}: {part.encoder}, {plural(len(part.rows), 'row')}")
        metrics = _metrics(part, table, out, preset, progress, shard)
        if metrics is None:
            is_complete = False
            continue
        tested_on, protocols[part.encoder] = EvaluationData.from_json(metrics["data"]), metrics["protocol"]
        if any(find_system(row).inverts for row in part.rows):
            recovered[part.encoder] = read_json(out / table.folder / part.encoder / articulation.RESULT)
        wanted = {"noisy", "clean", *part.rows}
        new = set(part.rows) if rows else wanted  # noisy and clean are the same for every encoder
        rows += [_row(part, one, table.is_printed) for one in metrics["rows"] if one["row"] in new]
        compared = [one for one in metrics["comparisons"] if one["row"] in wanted and one["against"] in part.rows]
        comparisons += [PaperComparison.from_json({"encoder": part.encoder, **one}) for one in compared]
    if not is_complete:
        return None
    facts: dict[str, Any] = {"number": int(name)} if name.isdecimal() else {"name": name, "note": table.note}
    facts |= {
        "scale": request.scale,
        "encoders": {part.encoder: part.representation for part in parts},
    }
    # One family of tests: what this table shows, whatever else has been compared in these folders.
    comparisons = adjust(comparisons)
    for protocol in protocols.values():
        protocol["statistics"] = f"{describe_statistics(tested_on, comparisons)}."
    result = {**facts, "intervals_over": tested_on.intervals_over, "rows": rows}
    result |= {"comparisons": [one.to_json() for one in comparisons]}
    result |= {"articulation": recovered} if recovered else {}
    result |= {"protocols": protocols, "made_by": provenance()}
    file = f"table{name}" if name.isdecimal() else f"table-{name}"
    write_json(out / f"{file}.json", result)
    path = out / f"{file}.md"
    write_text(path, paper_table_markdown(PaperTable.from_json(result)))
    return path


def table_runs(request: TableRequest) -> list[Run]:
    """The runs that `make_table` works on, to look at; errors are the same."""
    table, preset, parts = _plan_work(request, Progress())
    return [
        Run(request.out / table.folder / part.encoder, _config(part, preset, part.rows), save=False) for part in parts
    ]


def _plan_work(request: TableRequest, progress: Progress) -> tuple[TablePlan, str, list[Part]]:
    """The table, its preset, and its parts with all that differs from the preset; speech is made if none is named."""
    name, out, scale, encoders, manifests, overrides = request
    if name not in TABLES:
        raise ConfigError(f"there is no table {name}: known are {', '.join(TABLES)}")
    if scale not in SCALES:
        raise ConfigError(f"unknown scale {scale!r}: paper or mini")
    table = TABLES[name]
    preset, parts = table.presets[scale], plan(name, scale, encoders)
    is_named = manifests is not None or any(setting.startswith("data.speech=") for setting in overrides)
    if not is_named and any(find_system(row).inverts for part in parts for row in part.rows):
        raise DataError(
            f"table {name} needs speech with tracks of the articulators: prepare a corpus that has them (spire-ema, "
            "hprc, xrmb, articulatory, articulatory-synthesis) and a noise corpus, then --manifests FOLDER"
        )
    settings = [*_data(out, preset, scale, manifests, progress), *overrides]
    settings += _same_test_speakers(parts, preset, overrides)
    return table, preset, [part._replace(settings=(*part.settings, *settings)) for part in parts]


def plan(name: str, scale: str, encoders: Sequence[str] = ()) -> list[Part]:
    """Which rows belong to the table.

    >>> plan("2", "paper")[0].rows[:3]
    ('dws-acoustic', 'dws-acoustic+log1p', 'dws-linguistic')
    """
    table, parts = TABLES[name], list[Part]()
    for wanted in encoders or table.encoders[scale]:
        encoder = Path(wanted).name
        if encoder in {part.encoder for part in parts}:
            raise ConfigError(f"encoder {encoder!r} is named twice")
        shared_rows = () if parts else table.shared_rows
        settings = table.settings(encoder) if scale == "paper" else ()
        parts.append(Part(encoder, table.models.get(wanted, wanted), (*shared_rows, *table.rows(encoder)), settings))
    return parts


def _same_test_speakers(parts: Sequence[Part], preset: str, overrides: Sequence[str]) -> list[str]:
    """The setting that makes the test speakers of several encoders the same: none who trained any of them."""
    records = [record for part in parts if (record := find_training_record(part.representation))]
    if len(parts) == 1 or not records:
        return []
    training_speakers = set(load_config(preset, overrides).data.keep_in_training)
    training_speakers.update(*(record.speakers for record in records))
    return [as_setting("data.keep_in_training", sorted(training_speakers))]


def _data(out: Path, preset: str, scale: str, manifests: Path | None, progress: Progress) -> list[str]:
    """The settings that name the data, each manifest found in the folder of the manifests."""
    if manifests is None:
        if scale == "paper":
            raise DataError(
                "the paper's corpora are needed: `runs/tables.sh paper` prepares them, then --manifests FOLDER"
            )
        # Its sentences have a grammar: no recogniser need be downloaded.
        return [*synthetic_data(out, progress), "evaluate.recogniser=pocketsphinx-grammar"]
    named = load_config(preset)
    settings = [
        as_setting(f"data.{key}", [str(manifests / path) for path in getattr(named.data, key)])
        for key in MANIFESTS
        if getattr(named.data, key)
    ]
    if named.evaluate.pairs:
        settings.append(as_setting("evaluate.pairs", str(manifests / named.evaluate.pairs)))
    return settings


def _metrics(
    part: Part,
    table: TablePlan,
    out: Path,
    preset: str,
    progress: Progress,
    shard: tuple[int, int] | None = None,
) -> dict[str, Any] | None:
    """Everything of one encoder; what is done already is skipped by the stages. None if other shards are at it."""
    folder = out / table.folder / part.encoder
    tables = [other for other in TABLES.values() if other.folder == table.folder]
    order = list(dict.fromkeys(row for other in tables for row in (*other.shared_rows, *other.rows(part.encoder))))
    # Rows of the other table stay in the results of the run, as long as they are of this very configuration; in one
    # order, whichever table is asked for, so that neither makes the results of the other stale.
    here = {path.name for path in folder.glob("rows/*") if path.name in order and path.name not in part.rows}
    with removing_empty_run(folder):
        run = Run(folder, _config(part, preset, [*part.rows, *sorted(here)]), save=False)
        done = [system.name for system in run.systems if system.name in here and is_trained(run, system)]
        run = Run(folder, _config(part, preset, sorted([*part.rows, *done], key=order.index)), progress)
        if not run_stages(run, shard):
            return None
    write_markdown(folder)
    build_report(folder)
    metrics: dict[str, Any] = read_json(folder / evaluate.RESULT)
    return metrics


def _config(part: Part, preset: str, rows: Sequence[str]) -> Config:
    kinds = dict.fromkeys(aggregate.KINDS[s.aggregation or ""] for s in find_systems(rows) if s.is_pretrained)
    own = [
        as_setting("representation", part.representation),
        as_setting("enhance.rows", list(rows)),
        as_setting("aggregate.aggregations", list(kinds)),
    ]
    return load_config(preset, [*part.settings, *own])


def _row(part: Part, metrics: dict[str, Any], is_printed: bool) -> dict[str, Any]:
    """Ours and, in a table that is printed, what stands there of the same encoder and row."""
    name = metrics["row"]
    system = find_system(name) if name in part.rows else None
    # A cascade is made of rows that use one.
    encoder = part.encoder if system is not None and (system.uses_encoder or system.cascade) else ""
    printed = system.printed.get(encoder) if system is not None and is_printed else None
    published = {} if printed is None else {"published": printed._asdict()}
    return {"encoder": encoder, **metrics, **published}
