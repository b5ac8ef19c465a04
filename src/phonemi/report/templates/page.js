for (const button of document.querySelectorAll(".sortable thead button")) button.addEventListener("click", () => {
  const head = button.closest("th"), table = head.closest("table"), column = head.cellIndex;
  // The first click brings the best to the top; names begin with a.
  const first = column && !button.textContent.includes("↓") ? "descending" : "ascending";
  const second = first === "ascending" ? "descending" : "ascending";
  const direction = head.getAttribute("aria-sort") === first ? second : first;
  for (const other of table.querySelectorAll("thead th")) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", direction);
  const sign = direction === "ascending" ? 1 : -1, body = table.querySelector("tbody.compared");
  const key = row => column ? parseFloat(row.cells[column].dataset.value) : row.cells[0].textContent;
  const order = (a, b) => typeof a === "string" ? sign * a.localeCompare(b) : isNaN(a) ? 1 : isNaN(b) ? -1 : sign * (a - b);
  body.append(...[...body.rows].sort((one, two) => order(key(one), key(two))));
});
// Starting a player stops the others; within an example it goes on where the other one was, to compare by ear.
const players = [...document.querySelectorAll("article:not(.recording) audio")];
for (const player of players) player.addEventListener("play", () => {
  for (const other of players) if (other !== player && !other.paused) {
    other.pause();
    if (other.closest("article") === player.closest("article")) player.currentTime = other.currentTime;
  }
});
