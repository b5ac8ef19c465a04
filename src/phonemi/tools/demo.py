"""The web page of `phonemi demo`: enhance a recording with one of several models, hear it and see what was done."""

from __future__ import annotations

import functools
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import Any, get_args

import numpy as np

from phonemi import audio
from phonemi.data.sample import noisy_sample
from phonemi.enhancers.enhancer import Enhancer
from phonemi.enhancers.observation import Observation, observing
from phonemi.enhancers.options import Purpose
from phonemi.enhancers.pretrained import MODEL_TYPE
from phonemi.errors import ConfigError, PhonemiError, require_extra
from phonemi.files import temporary_folder
from phonemi.inference.recordings import enhance_file
from phonemi.inversion.inverter import Inverter
from phonemi.report.articulation import Articulation, articulation_page
from phonemi.report.figure_style import svg_text
from phonemi.report.pages import inline_svg, render
from phonemi.report.spectrograms import are_static, layer_shares, recording_view
from phonemi.signal import SAMPLE_RATE
from phonemi.tables import duration_text, plural
from phonemi.weights import shipped

PICTURED_S = 60.0  # chunk length; pictures show the first chunk of a longer recording
NO_LIMIT_DB = 60.0  # end of the slider, which stands for no limit
KEPT_S = 3600  # recordings and results are deleted after an hour, and when the page ends

_CSS = """
.views { display: flex; flex-wrap: wrap; gap: 16px 24px; }
.view { --ink: var(--body-text-color); --muted: var(--body-text-color-subdued); --rule: var(--border-color-primary);
  --paper: transparent; --linguistic: var(--color-accent); flex: 0 1 420px; min-width: 0; }
.view:first-child { flex: 0 1 760px; }
.view svg { display: block; width: 100%; height: auto; }
.mouth { width: 100%; height: 900px; border: 0; }
.view svg text { font-family: inherit !important; }
"""


def run(models: Sequence[str], host: str, port: int, say: Any = print) -> None:
    """Serve the page until it is interrupted, and `say` its address once it is there.

    The models are names, folders or hub ids to choose from, beginning with the first; none: what ships. The host
    "127.0.0.1" is this machine alone.

    Raises:
        MissingExtra: if gradio is not installed.
        ModelError: if the first model cannot be loaded.
        ConfigError: if the port is taken.
    """
    # Set before gradio is imported: it then reports nothing to anybody and keeps nothing in the browser.
    os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_RUN_HISTORY": "False", "HF_HUB_DISABLE_TELEMETRY": "1"}
    names = list(models) or shipped.names(MODEL_TYPE)
    _enhancer(names[0])  # loaded now, so that an error comes at once
    # gradio asks its own page whether it is there; a proxy must not answer instead.
    direct = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or "localhost"
    os.environ["no_proxy"] = f"{direct},{host}"
    gradio = require_extra("gradio", "demo")
    with temporary_folder("demo") as folder:
        page = build(names, folder)
        try:
            page.launch(
                server_name=host, server_port=port, share=False, quiet=True, prevent_thread_lock=True, ssr_mode=False,
                footer_links=[], theme=gradio.themes.Default(primary_hue="blue"), css=_CSS,
            )  # fmt: skip
        except OSError:
            raise ConfigError(f"port {port} of {host} is not free: choose another with --port") from None
        say(f"http://{host}:{port} (Ctrl-C ends it)")
        page.block_thread()


def build(models: Sequence[str], folder: Path) -> Any:
    """The page, not yet served: a `gradio.Blocks`. Results are written into `folder`."""
    gradio = require_extra("gradio", "demo")

    @contextmanager
    def showing_errors(recording: str = "") -> Iterator[None]:
        """Show the line that the command line would print, with the name of the recording alone."""
        try:
            yield
        except (PhonemiError, OSError) as error:
            text = str(error).replace(recording, Path(recording).name) if recording else str(error)
            raise gradio.Error(escape(text), duration=None, print_exception=False) from None

    def show_limit(model: str) -> float:
        with showing_errors():
            return slider_limit_db(model)

    def make_sample() -> str:
        with showing_errors():
            return str(sample_file(folder))

    def enhance(recording: str | None, model: str, purpose: Purpose, limit_db: float, mix: float) -> tuple[str, str]:
        if recording is None:
            raise gradio.Error("Drop a file or record something first.", print_exception=False)
        remove_old_results(folder)
        with showing_errors(recording):
            result = Path(tempfile.mkdtemp(dir=folder))
            return enhance_and_show(Path(recording), model, purpose, limit_db, mix, result)

    def show_mouth(recording: str | None) -> str:
        if recording is None:
            raise gradio.Error("Drop a file or record something first.", print_exception=False)
        with showing_errors(recording):
            return moving_mouth(Path(recording))

    with gradio.Blocks(title="phonemi", analytics_enabled=False, delete_cache=(600, KEPT_S)) as page:
        gradio.Markdown(
            "# phonemi\nSpeech enhancement that keeps the words. Everything stays on the machine it runs on."
        )
        with gradio.Row():
            # Without gradio's button that shares a recording on the web.
            look = {"type": "filepath", "buttons": ["download"], "min_width": 280}
            before = gradio.Audio(label="Before", sources=["upload", "microphone"], interactive=True, **look)
            after = gradio.Audio(label="After", sources=[], interactive=False, **look)
        sample = gradio.Button("No recording at hand? Take synthetic speech in rain", size="sm")
        with gradio.Row():
            model = gradio.Dropdown(list(models), value=models[0], label="Model", info="What enhances.")
            purpose = gradio.Radio(
                list(get_args(Purpose)),
                value="listening",
                label="For",
                info="recognition: some of the noise stays, and more of the words.",
            )
            limit = gradio.Slider(
                0, NO_LIMIT_DB, slider_limit_db(models[0]), step=1, label="Attenuation limit (dB)",
                info=f"The most that is taken off any frequency; {NO_LIMIT_DB:g}: no limit.",
            )  # fmt: skip
            mix = gradio.Slider(0, 1, 1, step=0.05, label="Mix", info="0: as it was, 1: all enhanced.")
        button = gradio.Button("Enhance", variant="primary")
        gradio.Markdown(
            f"Any length is enhanced as a whole. Pictures show at most the first {PICTURED_S:g} s of one channel, "
            "up to 8 kHz, which is what the models hear."
        )
        views = gradio.HTML(label="What was done")
        tongue = gradio.Button("What does the tongue do?", size="sm")
        mouth = gradio.HTML(label="The mouth of the recording")
        # One at a time: the observation of an enhancer must belong to the recording that is played.
        button.click(
            enhance, [before, model, purpose, limit, mix], [after, views], api_name="enhance", concurrency_limit=1
        )
        tongue.click(show_mouth, before, mouth, api_name="mouth", concurrency_limit=1)
        sample.click(make_sample, None, before, api_name="sample")
        model.change(show_limit, model, limit, api_name="limit")
    return page


@functools.cache
def _enhancer(name: str) -> Enhancer:
    return Enhancer.from_pretrained(name)


@functools.cache
def _inverter() -> Inverter:
    return Inverter.from_pretrained("articulation")


def moving_mouth(source: Path) -> str:
    """The articulation of a recording before it is enhanced, as HTML: a page in a page, whose scripts are its own."""
    waveform = audio.load(source, SAMPLE_RATE)[: round(PICTURED_S * SAMPLE_RATE)]
    recording = Articulation(source.name, _inverter().invert(waveform, SAMPLE_RATE), waveform, SAMPLE_RATE)
    page = escape(articulation_page("Articulation", [recording]))
    return f'<iframe class="mouth" title="A mouth that moves with the recording" srcdoc="{page}"></iframe>'


def slider_limit_db(model: str) -> float:
    """Where the slider of the attenuation limit stands for a model."""
    limit_db = _enhancer(model).mask_enhancer.attenuation_limit_db
    return NO_LIMIT_DB if limit_db is None else min(limit_db, NO_LIMIT_DB)


def sample_file(folder: Path) -> Path:
    """A recording to try the page with, made in a folder when it is asked for first."""
    path = folder / "sample" / "speech in rain.wav"
    if not path.exists():
        audio.save(path, noisy_sample(), SAMPLE_RATE)
    return path


def remove_old_results(folder: Path) -> None:
    """Delete the results that are older than an hour."""
    for result in folder.iterdir():
        if time.time() - result.stat().st_mtime > KEPT_S:
            shutil.rmtree(result, ignore_errors=True)


def enhance_and_show(
    source: Path, model: str, purpose: Purpose, limit_db: float, mix: float, folder: Path
) -> tuple[str, str]:
    """Enhance a recording into a folder: path of the result, and what the page shows of it as HTML.

    `limit_db` is the most attenuation, `NO_LIMIT_DB` for none; `mix` the share of the enhanced signal, 0 to 1.
    """
    enhancer = _enhancer(model)
    target = folder / f"{source.stem}.enhanced.wav"
    start = time.perf_counter()
    limit = float("inf") if limit_db >= NO_LIMIT_DB else limit_db
    with observing(enhancer) as observation:
        options: dict[str, Any] = {"purpose": purpose, "attenuation_limit_db": limit, "mix": mix}
        notes = enhance_file(enhancer, source, target, chunk_s=PICTURED_S, **options)
    seconds, info = time.perf_counter() - start, audio.probe(target)
    channels = plural(info.channels, "channel")
    facts = f"{duration_text(info.duration_s)}, {channels}, {info.sample_rate} Hz"
    facts += f"; enhanced in {duration_text(seconds)} (model {model})."
    return str(target), render("demo.html", notes=notes, facts=facts, **_picture(observation, source, target))


def _picture(observation: Observation, source: Path, target: Path) -> dict[str, Any]:
    """What the template shows of the beginning of a recording, of its first channel that has sound."""
    rate = audio.probe(target).sample_rate
    samples = max(1, round(observation.duration_s * rate))
    before, after = (next(audio.blocks(path, samples)) for path in (source, target))
    channels = np.flatnonzero(before.any(axis=1))
    if observation.local_snr_db is None or not len(channels):
        return {"explanation": "There is nothing to show: the beginning is silent.", "drawings": {}}
    before, after = (audio.resample(waveform[channels[0]], rate, SAMPLE_RATE) for waveform in (before, after))
    explanation = f"The pictures show the first {observation.duration_s:.1f} s."
    weights, shares = observation.layer_weights, None
    if weights is None:
        explanation += " This model has no encoder, so there are no layers that it could listen to."
    elif are_static(weights):
        shares, weights = weights[0], None
    view = recording_view(before, after, observation.local_snr_db, weights, observation.frame_s)
    description = "Spectrograms before and after, local SNR" + (", layers" if weights is not None else "")
    drawings = {description: inline_svg(svg_text(view), "view")}
    if shares is not None:
        drawings["Share of each layer"] = inline_svg(svg_text(layer_shares(shares)), "layers")
    return {"explanation": explanation, "drawings": drawings}
