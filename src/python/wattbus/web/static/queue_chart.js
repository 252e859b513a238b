// The history of a queue, drawn by uPlot; without script the small drawing that the server made stays.
"use strict";

for (const place of document.querySelectorAll("[data-history]")) {
  const shade = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const columns = (told) => [told.times_us.map((time) => time / 1e6), told.depths, told.in_hand];
  const axis = () => ({ stroke: shade("--dim"), grid: { stroke: shade("--line"), width: 1 }, ticks: { stroke: shade("--line"), width: 1 } });
  const size = () => ({ width: Math.max(240, place.clientWidth), height: 220 });
  let chart = null;

  const draw = async () => {
    if (document.hidden) return;
    const answer = await fetch(place.dataset.history, { headers: { accept: "application/json" } });
    if (!answer.ok) return;
    const told = await answer.json();
    if (chart) {
      chart.setData(columns(told));
    } else if (told.times_us.length > 1) {
      place.replaceChildren();
      const series = [
        { value: (_, seconds) => (seconds === null ? "—" : new Date(seconds * 1000).toLocaleTimeString("sv-SE")) },
        { label: "waiting", stroke: shade("--run"), fill: shade("--info-back"), width: 2 },
        { label: "in hand", stroke: shade("--warn"), dash: [5, 4], width: 1.5 },
      ];
      const whole = (_, ticks) => ticks.map((tick) => (Number.isInteger(tick) ? tick.toLocaleString("en") : ""));
      const time = (_, ticks) => {
        const close = ticks.length > 1 && ticks[1] - ticks[0] < 60;
        return ticks.map((tick) => new Date(tick * 1000).toLocaleTimeString("sv-SE").slice(0, close ? 8 : 5));
      };
      const scales = { y: { range: (_, low, high) => [0, Math.max(4, high * 1.1)] } };
      chart = new uPlot({ ...size(), scales, series, axes: [{ ...axis(), values: time }, { ...axis(), values: whole }] }, columns(told), place);
    }
  };
  draw();
  setInterval(draw, 5000);
  addEventListener("resize", () => chart?.setSize(size()));
}
