// Moves a mouth with a sound. Outlines were computed before; here they are interpolated and drawn.
(() => {
  const article = document.currentScript.closest(".articulation");
  const all = kind => [...article.querySelectorAll(kind)], one = kind => article.querySelector(kind);
  const data = JSON.parse(one("script[type='application/json']").textContent);
  const sound = one("audio"), button = one("button"), slider = one("[type=range]"), speed = one("select");
  const plot = one(".plot"), boxes = all(".variables input"), readings = all(".variables output");
  const unpack = text => new Int16Array(Uint8Array.from(atob(text), letter => letter.charCodeAt(0)).buffer);
  const lines = Object.fromEntries(Object.entries(data.lines).map(([name, line]) =>
    [name, {count: 2 * line.points, steps: unpack(line.steps)}]));
  let position = 0;

  const outline = (name, frame, share) => {
    const {count, steps} = lines[name], last = steps.length / count - 1;
    const from = count * Math.min(frame, last), to = count * Math.min(frame + 1, last);
    return Array.from({length: count / 2}, (_, point) => [0, 1].map(axis => {
      const place = 2 * point + axis;
      return ((1 - share) * steps[from + place] + share * steps[to + place]) / data.steps_per_mm;
    }));
  };
  const text = ([x, y]) => `${x.toFixed(2)} ${y.toFixed(2)}`;
  const middle = ([a, b], [c, d]) => [(a + c) / 2, (b + d) / 2];
  const open = points => points.slice(1, -1).reduce((path, point, index) =>
    `${path}Q${text(point)} ${text(index < points.length - 3 ? middle(point, points[index + 2]) : points.at(-1))}`,
    `M${text(points[0])}`);
  const closed = points => points.reduce((path, point, index) =>
    `${path}Q${text(point)} ${text(middle(point, points[(index + 1) % points.length]))}`,
    `M${text(middle(points.at(-1), points[0]))}`) + "Z";

  const fade = (kind, part, frame) => {
    for (const path of all(kind)) path.classList.toggle("unknown", data.known[part][frame] !== "1");
  };
  const draw = () => {
    slider.value = position;
    one(".controls output").value = `${position.toFixed(2)} / ${data.duration_s.toFixed(2)} s`;
    one(".plot i").style.left = `${100 * position / data.duration_s}%`;
    const frames = data.voice.length;
    if (!frames) return;
    const place = Math.min(position * data.rate_hz, frames - 1), frame = Math.floor(place), share = place - frame;
    for (const path of all(".moves")) {
      const points = outline(path.dataset.line, frame, share);
      const isSharp = path.dataset.line === "teeth";
      path.setAttribute("d", isSharp ? `M${points.map(text).join("L")}Z` : closed(points));
    }
    const tongue = outline("tongue", frame, share), start = data.tip_start;
    one(".tongue-fill").setAttribute("d", closed(tongue));
    one(".tongue-body").setAttribute("d", open(tongue.slice(0, start + 1)));
    one(".tongue-tip").setAttribute("d", open(tongue.slice(start, -1)));
    const name = one(".of-tongue"), [x, y] = [0, 1].map(axis => tongue.reduce((sum, point) => sum + point[axis], 0) / tongue.length);
    name.setAttribute("x", x);
    name.setAttribute("y", -y);
    const nearest = Math.round(place);
    for (const [kind, part] of [[".tongue-body", "body"], [".tongue-tip", "tip"], [".lip", "lips"], [".velum", "velum"],
      [".moves.teeth", "lips"], [".voice", "voice"]]) fade(kind, part, nearest);
    one(".tongue-fill").classList.toggle("unknown", data.known.body[nearest] + data.known.tip[nearest] === "00");
    one(".waves").style.opacity = data.voice[nearest];
    const row = Math.min(Math.round(position * data.tracks_rate_hz), data.values[0].length - 1);
    readings.forEach((reading, index) => {
      const value = data.values[index][row], digits = Math.abs(value) < 100 && reading.dataset.unit !== "Hz" ? 1 : 0;
      if (!boxes[index].disabled)
        reading.value = value === null ? "–" : `${value.toFixed(reading.dataset.unit ? digits : 2)} ${reading.dataset.unit}`;
    });
    const pitch = readings.findIndex(reading => reading.dataset.unit === "Hz"), hertz = data.values[pitch]?.[row];
    const voiced = data.voice[nearest] >= data.voiced;
    one(".pitch").textContent = data.known.voice[nearest] !== "1" ? "voice unknown"
      : voiced ? `voice${hertz ? ` ${hertz.toFixed(0)} Hz` : ""}` : "no voice";
  };
  const seek = seconds => {
    position = Math.max(0, Math.min(seconds, data.duration_s));
    sound.currentTime = position;
    draw();
  };
  const follow = () => {
    if (sound.paused) return;
    position = Math.min(sound.currentTime, data.duration_s);
    draw();
    requestAnimationFrame(follow);
  };

  // One line for each variable, from its smallest to its largest value; where it is unknown there is a gap.
  data.values.forEach((values, index) => {
    const known = values.filter(value => value !== null), low = Math.min(...known), range = Math.max(...known) - low || 1;
    let path = "", isOn = false;
    values.forEach((value, frame) => {
      if (value !== null) {
        const x = frame / data.tracks_rate_hz / data.duration_s, y = 0.97 - 0.94 * (value - low) / range;
        path += `${isOn ? "L" : "M"}${x.toFixed(5)} ${y.toFixed(4)}`;
      }
      isOn = value !== null;
    });
    const lines = ["#000a", boxes[index].closest("label").style.getPropertyValue("--line")].map((colour, place) => {
      const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
      line.setAttribute("d", path);
      line.style.stroke = colour;
      line.style.strokeWidth = place ? 2 : 5;
      return line;
    });
    plot.querySelector("svg").append(...lines);
    const show = () => { for (const line of lines) line.style.display = boxes[index].checked ? "" : "none"; };
    boxes[index].addEventListener("change", show);
    show();
  });

  button.addEventListener("click", () => {
    if (!sound.paused) return sound.pause();
    if (position >= data.duration_s - 0.02) seek(0);
    sound.play().catch(() => {});
  });
  sound.addEventListener("play", () => { button.textContent = "Pause"; follow(); });
  for (const event of ["pause", "ended"]) sound.addEventListener(event, () => { button.textContent = "Play"; });
  sound.addEventListener("error", () => { one(".problem").hidden = false; button.disabled = true; });
  speed.addEventListener("change", () => { sound.playbackRate = sound.defaultPlaybackRate = Number(speed.value); });
  slider.addEventListener("input", () => seek(slider.valueAsNumber));
  const scrub = event => {
    const box = plot.getBoundingClientRect();
    seek(data.duration_s * (event.clientX - box.left) / box.width);
  };
  plot.addEventListener("pointerdown", event => { plot.setPointerCapture(event.pointerId); scrub(event); });
  plot.addEventListener("pointermove", event => { if (plot.hasPointerCapture(event.pointerId)) scrub(event); });
  sound.controls = false;
  one(".controls").hidden = false;
  draw();
})();
