// Comfort, never meaning: every page works without this file, except that nothing updates by itself.
"use strict";

const typing = (target) => target.closest("input, textarea, select, [contenteditable]") !== null;
const places = { h: "/", p: "/production", t: "/test", m: "/messages", v: "/trace", l: "/log", e: "/energy" };

// -- requests carry the session's CSRF value -------------------------------------------------------------------------
document.addEventListener("htmx:configRequest", (event) => {
  const csrf = document.querySelector("meta[name=csrf-token]");
  if (csrf) event.detail.headers["X-CSRF-Token"] = csrf.content;
});

// -- a page that stands still while nobody looks, or while somebody has something open in it --------------------------
document.addEventListener("htmx:beforeRequest", (event) => {
  const polled = (event.target.getAttribute("hx-trigger") || "").includes("every");
  const busy = event.target.querySelector("details.ask[open], details.copy[open], input:focus, input:checked, textarea:focus, select:focus");
  if (polled && (document.hidden || busy)) event.preventDefault();
});

// -- keys ------------------------------------------------------------------------------------------------------------
let before = "";
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape") {
    document.querySelectorAll("details.ask[open], details.copy[open], details.menu-button[open]").forEach((one) => {
      one.open = false;
    });
    if (typing(event.target)) event.target.blur();
    return;
  }
  if (typing(event.target)) return;
  if (before === "g" && places[event.key]) {
    location.href = places[event.key];
  } else if (event.key === "/") {
    event.preventDefault();
    document.getElementById("search")?.focus();
  } else if (event.key === "?") {
    document.getElementById("help")?.showModal();
  } else if (event.key === "j" || event.key === "k") {
    step(event.key === "j" ? 1 : -1);
  }
  before = event.key;
});

function step(by) {
  const rows = [...document.querySelectorAll("main [data-rows] a[data-row]")];
  if (!rows.length) return;
  const at = rows.indexOf(document.activeElement);
  rows[Math.min(rows.length - 1, Math.max(0, at + by))].focus();
}

// -- buttons ---------------------------------------------------------------------------------------------------------
document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.matches("[data-help]")) document.getElementById("help").showModal();
  if (button.matches("[data-copy]")) {
    navigator.clipboard?.writeText(button.parentElement.querySelector("pre, textarea").textContent);
    button.textContent = "copied";
  }
  if (button.matches("[data-theme-button]")) {
    const root = document.documentElement;
    const dark = root.dataset.theme === "dark" || (root.dataset.theme === "auto" && matchMedia("(prefers-color-scheme: dark)").matches);
    root.dataset.theme = dark ? "light" : "dark";
    document.cookie = `wattbus_theme=${root.dataset.theme}; path=/; max-age=31536000; samesite=strict`;
  }
});

// -- times in the zone of who looks; the title keeps ISO 8601 ---------------------------------------------------------
function localise(root) {
  root.querySelectorAll("time[datetime]").forEach((one) => {
    const at = new Date(one.dateTime);
    if (!Number.isNaN(at.getTime())) one.textContent = at.toLocaleString("sv-SE");
  });
}
localise(document);
document.addEventListener("htmx:afterSwap", (event) => localise(event.target.parentElement ?? document));
