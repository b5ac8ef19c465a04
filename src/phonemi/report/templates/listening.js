// All sounds of a recording play together and all but one are muted, so that switching leaves no gap.
const recordings = [...document.querySelectorAll(".recording")].map(article => {
  const sounds = [...article.querySelectorAll("audio")], choices = [...article.querySelectorAll("fieldset input")];
  const [play, slider, time] = [".play", "[type=range]", "output"].map(kind => article.querySelector(kind));
  const plots = [...article.querySelectorAll(".plot")];
  let isPlaying = false, position = 0;
  if (!sounds.length) return {stop() {}};
  const chosen = () => sounds[choices.findIndex(choice => choice.checked)];
  const duration = () => Math.max(0, ...sounds.map(sound => sound.duration).filter(isFinite));
  const show = () => {
    slider.max = duration() || 1;
    slider.value = position;
    time.value = `${position.toFixed(1)} / ${duration().toFixed(1)} s`;
    for (const plot of plots) {
      const line = plot.querySelector("i");
      line.hidden = !position;
      line.style.left = `${100 * Math.min(1, position / plot.dataset.seconds)}%`;
    }
  };
  const choose = () => {
    for (const sound of sounds) {
      sound.muted = sound !== chosen();
      sound.closest(".sound").classList.toggle("chosen", sound === chosen());
    }
  };
  const stop = () => {
    isPlaying = false;
    play.textContent = "Play";
    for (const sound of sounds) sound.pause();
  };
  const seek = seconds => {
    position = Math.max(0, Math.min(seconds, duration()));
    for (const sound of sounds) sound.currentTime = position;
    show();
  };
  const ready = sound => new Promise(done => {
    if (sound.readyState > 2 || sound.error) return done();
    for (const event of ["canplay", "error"]) sound.addEventListener(event, done, {once: true});
    sound.preload = "auto";
    if (!sound.readyState) sound.load();
  });
  const follow = () => {
    if (!isPlaying) return;
    const heard = chosen();
    if (heard.ended || heard.error) {
      stop();
      return seek(0);
    }
    position = heard.currentTime;
    // What nobody hears catches up by running faster or slower: a jump would take time itself.
    for (const sound of sounds) if (!sound.ended && !sound.error) {
      const lag = position - sound.currentTime;
      sound.playbackRate = sound === heard || Math.abs(lag) < 0.01 ? 1 : Math.max(0.5, Math.min(1 + 4 * lag, 2));
      if (Math.abs(lag) > 1) sound.currentTime = position;
    }
    show();
    requestAnimationFrame(follow);
  };
  const start = async () => {
    for (const other of recordings) other.stop();
    play.textContent = "Pause";
    isPlaying = true;
    await Promise.all(sounds.map(ready));
    if (!isPlaying) return;
    seek(position < duration() - 0.1 ? position : 0);
    await Promise.all(sounds.map(ready));
    for (const sound of sounds) if (isPlaying) sound.play().catch(() => {});
    follow();
  };
  for (const sound of sounds) {
    sound.controls = false;
    sound.addEventListener("loadedmetadata", show);
    sound.addEventListener("error", () => { sound.nextElementSibling.hidden = false; });
  }
  for (const choice of choices) choice.addEventListener("change", choose);
  play.addEventListener("click", () => isPlaying ? stop() : start());
  slider.addEventListener("input", () => seek(slider.valueAsNumber));
  for (const plot of plots) plot.addEventListener("click", event => {
    const box = plot.getBoundingClientRect();
    seek(plot.dataset.seconds * (event.clientX - box.left) / box.width);
  });
  article.querySelector(".player").hidden = false;
  choose();
  show();
  return {stop};
});
