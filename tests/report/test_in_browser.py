"""The pages in a real browser: nothing is refused or asked for elsewhere, tables sort, nothing sticks out at 400 px."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from html import unescape
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from phonemi import audio
from phonemi.inversion.tracks import tracks_of
from phonemi.metrics.composite import COMPOSITE_KEYS, DIVIDED_KEYS
from phonemi.metrics.score import Score
from phonemi.report import folder_comparison, listening_page
from phonemi.report.articulation import Articulation, write_articulation_page
from phonemi.report.figure_style import figure_style, svg_text
from phonemi.report.pages import inline_svg
from phonemi.results.metrics import METRICS
from phonemi.tools import demo as demo_page

pytestmark = pytest.mark.slow
RATE = 16_000
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no browser: apt-get install chromium")

# Runs in the page: sorts by a heading with the keyboard's focus on it, loads a linked sound, measures.
PROBE = """<script>addEventListener("load", async () => {
  const names = () => [...document.querySelectorAll("tbody.compared th a")].map(link => link.textContent);
  const buttons = [...document.querySelectorAll("thead button")], before = names();
  const button = buttons.find(one => one.textContent.startsWith("Level"));
  button.focus();
  const focused = document.activeElement === button;
  button.click();
  const players = ['audio[preload="none"]', 'audio[src^="data:"]'].map(kind => document.querySelector(kind));
  const length = player => new Promise(done => {
    if (!player) done(null);
    player.onloadedmetadata = () => done(player.duration); player.onerror = () => done(player.error.message);
    player.preload = "auto"; player.load();
  });
  const lengths = [await length(players[0]), await length(players[1])];
  const table = document.querySelector(".scroll");
  const hidden = table.scrollWidth - table.clientWidth;
  parent.postMessage(JSON.stringify({hidden, before, after: names(), focused, lengths, width: innerWidth,
    needed: document.documentElement.scrollWidth, paper: getComputedStyle(document.body).backgroundColor}), "*");
});</script>"""
# Runs in the page: plays one recording, switches to another of its sounds, then plays the next recording.
PLAY = """<script>addEventListener("load", async () => {
  const cards = [...document.querySelectorAll(".recording")];
  const [sounds, others] = cards.map(card => [...card.querySelectorAll("audio")]);
  const [button, next] = cards.map(card => card.querySelector(".play"));
  const states = kind => sounds.map(sound => sound[kind]);
  const until = async condition => { while (!condition()) await new Promise(done => setTimeout(done, 5)); };
  cards[0].querySelector(".plot").dispatchEvent(new MouseEvent("click", {clientX: -10}));
  const choices = [...cards[0].querySelectorAll("fieldset label")], names = choices.map(one => one.textContent);
  const first = states("muted"), controls = states("controls");
  button.click();
  const times = () => states("currentTime"), areTogether = () => Math.max(...times()) - Math.min(...times()) < 0.05;
  await until(() => Math.min(...times()) > 0.2 && areTogether());
  let jumps = 0;
  for (const sound of sounds) sound.addEventListener("seeking", () => jumps++);
  choices[2].querySelector("input").click();
  const second = states("muted"), paused = states("paused");
  const start = Math.min(...times()), text = button.textContent;
  await until(() => Math.min(...times()) > start + 0.3 && areTogether());
  const line = cards[0].querySelector(".plot i").hidden;
  next.click();
  await until(() => others.every(sound => sound.currentTime > 0));
  parent.postMessage(JSON.stringify({names, first, second, controls, paused, jumps, text, line,
    stopped: states("paused"), again: button.textContent}), "*");
});</script>"""
# Runs in the page: moves to a time, reads the mouth there, then plays at half speed, pauses and clicks on a plot.
MOUTH = """<script>addEventListener("load", async () => {
  const until = async condition => { while (!condition()) await new Promise(done => setTimeout(done, 5)); };
  const [article, other] = document.querySelectorAll(".articulation");
  const find = kind => article.querySelector(kind), slider = find("[type=range]"), sound = find("audio");
  const button = find("button"), speed = find("select"), box = kind => find(kind).getBBox();
  const at = seconds => {
    slider.value = seconds;
    slider.dispatchEvent(new Event("input"));
    const [upper, lower] = ["upper", "lower"].map(name => box(`[data-line=${name}]`));
    return {
      lips_mm: upper.y - lower.y - lower.height,
      faded: [...article.querySelectorAll(".unknown")].map(part => part.classList[0]),
      time: find(".controls output").value, la: find(".variables output").value, cursor: find(".plot i").style.left,
    };
  };
  await until(() => sound.readyState > 2 && other.querySelector("audio").readyState > 2);
  const open = at(0.2), closed = at(1), lost = at(1.5), still = find(".tongue-fill").getAttribute("d");
  speed.value = "0.5";
  speed.dispatchEvent(new Event("change"));
  at(0);
  button.click();
  await until(() => sound.currentTime > 0.3 && slider.valueAsNumber > 0.2);
  const moved = find(".tongue-fill").getAttribute("d") !== still;
  const playing = {text: button.textContent, rate: sound.playbackRate, moved};
  other.querySelector("button").click();
  await until(() => button.textContent === "Play");
  const paused = [sound.paused, other.querySelector("audio").paused];
  const plot = find(".plot"), place = plot.getBoundingClientRect();
  const [x, y] = [place.left + place.width / 2, place.top + 5];
  plot.setPointerCapture = () => {};  // there is no real pointer
  plot.dispatchEvent(new PointerEvent("pointerdown", {clientX: x, clientY: y}));
  const shown = () => article.querySelectorAll(".plot path[d^=M]:not([style*=none])").length, lines = shown();
  find(".variables :checked").click();
  parent.postMessage(JSON.stringify({open, closed, lost, playing, paused, middle: sound.currentTime, lines,
    fewer: shown(), controls: sound.controls}), "*");
});</script>"""
FRAME = """<!doctype html><iframe src="%s" style="width: %dpx; height: 900px; border: 0"></iframe><pre></pre>
<script>
const ticking = setInterval(() => {}, 1);  // sounds load in real time, for which virtual time waits only while it ticks
addEventListener("message", event => {
  clearInterval(ticking);
  document.querySelector("pre").textContent = event.data;
});
</script>"""


def browse(address: str, folder: Path, *options: str) -> str:
    """The page at `address` as it is once its scripts have run."""
    assert CHROMIUM is not None
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=60000",
        f"--log-net-log={folder / 'net.json'}", *options, "--dump-dom", address,
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout


def play(page: Path, folder: Path) -> Any:
    """What the script in a page that plays sounds sends to its parent, after real time: sounds take no other."""
    assert CHROMIUM is not None
    frame = page.with_name("parent.html")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(120)
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        frame.write_text(
            f"""<!doctype html><iframe src="{page.name}" style="width: 1300px; height: 900px"></iframe><script>
            addEventListener("message", event => fetch("{address}", {{method: "POST", body: event.data}}));</script>"""
        )
        command = [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--mute-audio",
            "--autoplay-policy=no-user-gesture-required", "--remote-debugging-port=0", "--window-size=1400,1000",
            "--disable-background-networking", f"--user-data-dir={folder / 'profile'}", frame.as_uri(),
        ]  # fmt: skip
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as browser:
            try:
                connection, _ = server.accept()
                with connection, connection.makefile("rb") as request:
                    length = next(
                        int(line.split()[1]) for line in request if line.lower().startswith(b"content-length")
                    )
                    while request.readline().strip():
                        pass
                    return json.loads(request.read(length))
            finally:
                browser.terminate()


def asked_for(folder: Path) -> set[str]:
    """Addresses that pages asked for, data inside them left out."""
    log = re.findall(r'"initiator":"(.*?)".*?"url":"(.*?)"', (folder / "net.json").read_text())
    return {url for initiator, url in log if initiator != "not an origin" and not url.startswith("data:")}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with every column whose last recording is linked, all others are in it."""
    folder, rng = tmp_path_factory.mktemp("listening"), np.random.default_rng(0)
    for index in range(3):
        for side, loudness in (("noisy", 0.1), ("enhanced", 0.02 * (1 + index))):
            name = f"a recording with a rather long name that has to wrap {index}.wav"
            audio.save(folder / side / name, loudness * rng.standard_normal(RATE), RATE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(listening_page, "MAX_EMBEDDED_BYTES", 80_000)
        # Composite measures are there if somebody asks for them; their table may scroll sideways.
        usual = [metric for metric in METRICS[1:] if metric.key not in (*COMPOSITE_KEYS, *DIVIDED_KEYS)]
        scores = {metric.key: Score(-13.57 if metric.unit == "dB" else 1.234) for metric in usual}
        for key in ("si_sdri_db", "lps", "ppmc", "ppmc_clean", "rmse_mm"):  # of runs alone
            scores.pop(key)
        patch.setattr(
            folder_comparison, "compute_scores", lambda *_: scores
        )  # DNSMOS takes half a second for each recording
        return listening_page.build_listening_page(folder / "noisy", folder / "enhanced", folder / "page.html")


@needs_browser
@pytest.mark.parametrize("width", [400, 1300])
def test_the_page_of_a_folder_sorts_plays_and_fits(page: Path, tmp_path: Path, width: int) -> None:
    probed = page.with_name(f"probed{width}.html")
    probed.write_text(page.read_text().replace("</body>", f"{PROBE}</body>"))
    frame = page.with_name(f"frame{width}.html")
    frame.write_text(FRAME % (probed.name, width))
    options = ["--blink-settings=preferredColorScheme=0"] if width == 400 else []
    shown = browse(frame.as_uri(), tmp_path, "--window-size=1500,1000", *options)
    found: dict[str, Any] = json.loads(unescape(shown.partition("<pre>")[2].partition("</pre>")[0]))
    assert found["width"] == width
    assert found["needed"] <= width, "the page does not scroll sideways, its tables do"
    assert width == 400 or found["hidden"] == 0, "a screen shows all columns"
    assert found["focused"], "headings can be reached with the keyboard"
    # The first click brings the loudest to the top.
    assert [name[-len("0.wav")] for name in found["after"]] == ["2", "1", "0"]
    assert sorted(found["before"]) == sorted(found["after"])
    assert found["lengths"] == [pytest.approx(1.0, abs=0.05)] * 2
    assert found["paper"] == ("rgb(18, 22, 27)" if width == 400 else "rgb(244, 245, 243)"), "dark and light"
    assert not [url for url in asked_for(tmp_path) if not url.startswith("file:")]


@needs_browser
@pytest.mark.parametrize("kind", ["drawing", "scroll"])
def test_a_box_that_scrolls_is_in_shade_where_it_goes_on(tmp_path: Path, kind: str) -> None:
    style = (files("phonemi.report") / "templates" / "page.css").read_text(encoding="utf-8")
    style += "main { width: 400px; margin: 0; padding: 0 } figure { padding: 0; border: 0 } div { height: 100px }"
    with figure_style():
        content = inline_svg(svg_text(Figure((7, 0.5))), "f") if kind == "drawing" else '<svg height="9"/>'
    boxes = "".join(
        f'<figure class="{width}"><div class="{kind}" style="margin: 0">{content}</div></figure>'
        for width in ("", "wide", "wide")
    )
    script = "document.querySelectorAll('div')[2].scrollLeft = 900"
    page = tmp_path / "page.html"
    page.write_text(f"<!doctype html><style>{style}</style><main>{boxes}</main><script>{script}</script>")
    browse(page.as_uri(), tmp_path, "--window-size=600,400", f"--screenshot={tmp_path / 'page.png'}")
    light = imread(tmp_path / "page.png")[..., :3].mean(axis=-1)
    edges = [[bool(light[row, column] < light[row, 200] - 0.1) for column in (1, 398)] for row in (40, 140, 240)]
    assert edges == [[False, False], [False, True], [True, False]], "of what fits, of the start, of the end"


@needs_browser
def test_sounds_of_a_recording_play_together_and_one_is_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    for side in ("noisy", "enhanced"):
        for name in ("a.wav", "b.wav"):
            audio.save(tmp_path / side / name, 0.05 * rng.standard_normal(10 * RATE), RATE)
    monkeypatch.setattr(folder_comparison, "compute_scores", lambda *_: {})
    page = listening_page.build_listening_page(tmp_path / "noisy", tmp_path / "enhanced", tmp_path / "page.html")
    page.write_text(page.read_text().replace("</body>", f"{PLAY}</body>"))
    found = play(page, tmp_path)
    assert found["names"] == ["Before", "After", "Removed"]
    assert found["first"] == [True, False, True]
    assert found["second"] == [True, True, False]
    assert found["controls"] == found["paused"] == [False] * 3
    assert found["jumps"] == 0, "switching moves nothing"
    assert (found["text"], found["line"]) == ("Pause", False)
    assert found["stopped"] == [True] * 3, "one recording at a time"
    assert found["again"] == "Play"


@needs_browser
def test_a_mouth_moves_with_its_sound(tmp_path: Path) -> None:
    frames = np.arange(200)
    columns = {"LA": 5 + 5 * np.cos(np.pi * frames / 100), "LP": np.full(200, 9.0), "TTCL": np.full(200, -9.0)}
    columns |= {"TTCD": 6 + 5 * np.sin(frames / 9), "TBCL": np.full(200, -45.0), "TBCD": 6 + 3 * np.sin(frames / 9)}
    columns["TTCD"][140:160] = np.nan
    tracks = tracks_of(columns | {"PER": np.ones(200)})
    sound = 0.1 * np.sin(2 * np.pi * 150 * np.arange(2 * RATE) / RATE).astype(np.float32)
    page = write_articulation_page(
        tmp_path / "page.html", "Mouths", [Articulation(name, tracks, sound, RATE, "words") for name in ("a", "b")]
    )
    page.write_text(page.read_text().replace("</body>", f"{MOUTH}</body>"))
    found = play(page, tmp_path)
    # Smooth curves keep within their points: the drawn lips are a little thinner than their outlines.
    assert found["open"]["lips_mm"] - found["closed"]["lips_mm"] == pytest.approx(columns["LA"][20], abs=0.3)
    assert found["closed"]["lips_mm"] < 1
    assert (found["closed"]["la"], found["closed"]["cursor"]) == ("0.0 mm", "50%")
    assert found["closed"]["time"] == "1.00 / 2.00 s"
    assert "tongue" not in found["closed"]["faded"]
    assert found["lost"]["faded"] == ["tissue", "tongue"], "the velum, of which nothing is known, and the tip"
    assert found["playing"] == {"text": "Pause", "rate": 0.5, "moved": True}
    assert found["paused"] == [True, False], "one recording at a time"
    assert found["middle"] == pytest.approx(1.0, abs=0.01)
    assert (found["lines"], found["fewer"], found["controls"]) == (6, 4, False)


@needs_browser
@pytest.mark.parametrize("width", [400, 1280])
def test_the_page_of_a_mouth_fits(tmp_path: Path, width: int) -> None:
    tracks = tracks_of({name: np.full(100, 5.0) for name in ("LA", "LP", "TTCL", "TTCD", "TBCL", "TBCD", "PER", "F0")})
    recording = Articulation("a recording with a rather long name", tracks, np.zeros(RATE, np.float32), RATE)
    page = write_articulation_page(tmp_path / "page.html", "A mouth", [recording])
    measure = (
        "<script>parent.postMessage(JSON.stringify([document.documentElement.scrollWidth, innerWidth]), '*')</script>"
    )
    page.write_text(page.read_text().replace("</body>", f"{measure}</body>"))
    frame = tmp_path / "frame.html"
    frame.write_text(FRAME % (page.name, width))
    shown = browse(frame.as_uri(), tmp_path, "--window-size=1500,1000")
    needed, inner = json.loads(unescape(shown.partition("<pre>")[2].partition("</pre>")[0]))
    assert inner == width
    assert needed <= width
    assert not [url for url in asked_for(tmp_path) if not url.startswith("file:")]


@needs_browser
def test_what_the_demo_shows_fits_a_telephone(tmp_path: Path) -> None:
    audio.save(tmp_path / "noisy.wav", 0.1 * np.random.default_rng(0).standard_normal(RATE), RATE)
    _, shown = demo_page.enhance_and_show(tmp_path / "noisy.wav", "default", "listening", 60, 1.0, tmp_path)
    assert shown.count("<svg") >= 1
    script = "<script>parent.postMessage(String(document.documentElement.scrollWidth), '*')</script>"
    (tmp_path / "page.html").write_text(f"<!doctype html><style>{demo_page._CSS}</style>{shown}{script}")
    (tmp_path / "frame.html").write_text(FRAME % ("page.html", 400))
    dom = browse((tmp_path / "frame.html").as_uri(), tmp_path, "--window-size=1500,1000")
    assert dom.partition("<pre>")[2].partition("</pre>")[0] == "400"


class Served(NamedTuple):
    """Where a demo is, and the way out that its process is told of."""

    address: str
    outside: socket.socket


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A served page with an enhancer of the package, and one that cannot be had."""
    pytest.importorskip("gradio", reason="gradio is not installed: pip install 'phonemi[demo]'")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    models = ["--model", "default", "--model", "./missing"]  # the second cannot be had
    command = [sys.executable, "-m", "phonemi.cli", "demo", "--port", str(port), *models]
    log = tmp_path_factory.mktemp("demo") / "log.txt"
    with socket.create_server(("127.0.0.1", 0)) as outside, open(log, "w") as stderr:
        outside.setblocking(False)
        proxy = f"http://127.0.0.1:{outside.getsockname()[1]}"
        environment = os.environ | dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), proxy) | {"no_proxy": ""}
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True, env=environment)
        try:
            assert server.stdout is not None
            line = server.stdout.readline()  # comes when the page is there, or is empty when the process ends
            assert line.startswith(f"http://127.0.0.1:{port} "), log.read_text()
            yield Served(line.split()[0], outside)
        finally:
            server.terminate()
            server.communicate()


def test_the_demo_enhances_and_shows_what_it_did(demo: Served, tmp_path: Path) -> None:
    from gradio_client import Client, handle_file
    from gradio_client.exceptions import AppError

    rng = np.random.default_rng(0)
    time_s = np.arange(24_000 * 2) / 24_000
    speechlike = 0.2 * np.sin(2 * np.pi * 200 * time_s) * (np.sin(2 * np.pi * 3 * time_s) > 0)
    audio.save(tmp_path / "noisy.wav", speechlike + 0.02 * rng.standard_normal((2, len(time_s))), 24_000)
    (tmp_path / "broken.wav").write_bytes(b"RIFF, but no more")
    client = Client(demo.address, verbose=False, analytics_enabled=False)

    path, shown = client.predict(
        handle_file(tmp_path / "noisy.wav"), "default", "listening", 60, 1, api_name="/enhance"
    )
    info = audio.probe(path)
    assert (info.samples, info.channels, info.sample_rate) == (len(time_s), 2, 24_000)
    assert "2.0 s, 2 channels, 24000 Hz" in shown
    assert "Layers that the model listens to" in shown
    assert "<svg" in shown

    sample = client.predict(api_name="/sample")
    assert audio.probe(sample).duration_s > 3

    same, _ = client.predict(handle_file(tmp_path / "noisy.wav"), "default", "listening", 60, 0, api_name="/enhance")
    np.testing.assert_array_equal(audio.load_channels(same)[0], audio.load_channels(tmp_path / "noisy.wav")[0])

    with pytest.raises(AppError, match="broken") as error:
        client.predict(handle_file(tmp_path / "broken.wav"), "default", "listening", 60, 1, api_name="/enhance")
    assert "Traceback" not in str(error.value)
    assert "/" not in str(error.value), "no paths of the server"
    with pytest.raises(AppError, match="Drop a file"):
        client.predict(None, "default", "listening", 60, 1, api_name="/enhance")
    for arguments, name in (
        (["./missing"], "/limit"),
        ([handle_file(tmp_path / "noisy.wav"), "./missing", "listening", 60, 1], "/enhance"),
    ):
        with pytest.raises(AppError, match="missing"):
            client.predict(*arguments, api_name=name)


@needs_browser
def test_the_demo_asks_for_nothing_elsewhere(demo: Served, tmp_path: Path) -> None:
    shown = browse(demo.address, tmp_path)
    for text in ("Everything stays on the machine it runs on", "Attenuation limit (dB)", "Mix", "Enhance"):
        assert text in shown
    assert asked_for(tmp_path)
    assert not {url for url in asked_for(tmp_path) if not url.startswith(demo.address)}
    with pytest.raises(BlockingIOError):  # nobody has called
        demo.outside.accept()
