// What the visual trace and the pages of bodies do with script: live news, a search in a body. Without it they are whole.
"use strict";

// -- the page part is fetched again when something happened; the connection rests while nobody looks ------------------
let source = null, waiting = null;

function refresh() {
  waiting = null;
  const live = document.getElementById("live");
  if (!live || !window.htmx) return;
  htmx.ajax("GET", location.pathname + location.search, { target: "#live", swap: "outerHTML", select: "#live" });
}

function listen() {
  const live = document.getElementById("live");
  const address = live?.dataset.events;
  if (!address || document.hidden) return;
  source = new EventSource(`${address}?since=${live.dataset.seen}`);
  source.addEventListener("news", () => {
    waiting ??= setTimeout(refresh, 400);
  });
  source.addEventListener("end", () => {
    rest();
    refresh();
  });
}

function rest() {
  source?.close();
  source = null;
}

// -- beside a wide diagram its pane stays in sight: the box is what one wants to be brought back to -----------------------
if (location.hash === "#pane" && matchMedia("(min-width: 1100px)").matches) {
  document.querySelector(".box.chosen")?.scrollIntoView({ block: "center" });
}

document.addEventListener("visibilitychange", () => {
  rest();
  listen();
});
listen();

// -- find in a body: marks what is found, Enter goes on ----------------------------------------------------------------
let found = [], at = -1;

function mark(box) {
  const body = document.getElementById(box.dataset.find);
  body.textContent = body.textContent;
  found = [];
  at = -1;
  const wanted = box.value.toLowerCase(), whole = body.textContent, low = whole.toLowerCase();
  if (wanted && low.length === whole.length) {
    const parts = document.createDocumentFragment();
    let from = 0;
    for (let place = low.indexOf(wanted); place >= 0 && found.length < 1000; place = low.indexOf(wanted, from)) {
      parts.append(whole.slice(from, place));
      const one = document.createElement("mark");
      one.textContent = whole.slice(place, (from = place + wanted.length));
      parts.append(one);
      found.push(one);
    }
    parts.append(whole.slice(from));
    body.replaceChildren(parts);
  }
  go(1, box);
}

function go(by, box) {
  found[at]?.classList.remove("here");
  if (found.length) {
    at = (at + by + found.length) % found.length;
    found[at].classList.add("here");
    found[at].scrollIntoView({ block: "nearest" });
  }
  box.parentElement.querySelector("output").textContent = box.value ? `${at + 1} of ${found.length}` : "";
}

document.addEventListener("input", (event) => {
  if (event.target.matches("input[data-find]")) mark(event.target);
});
document.addEventListener("keydown", (event) => {
  if (event.target.matches("input[data-find]") && event.key === "Enter") {
    event.preventDefault();
    go(event.shiftKey ? -1 : 1, event.target);
  }
});

// -- one tick for all rows of a table ------------------------------------------------------------------------------------
document.addEventListener("change", (event) => {
  if (!event.target.matches("input[data-all]")) return;
  event.target.closest("table").querySelectorAll("tbody input[type=checkbox]").forEach((one) => {
    one.checked = event.target.checked;
  });
});

// -- print ---------------------------------------------------------------------------------------------------------------
document.addEventListener("click", (event) => {
  if (event.target.closest("button[data-print]")) window.print();
});
