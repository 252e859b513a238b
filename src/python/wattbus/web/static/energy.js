// Live power: the buckets as stacked areas. The table on the page says the same without this file.
"use strict";

(() => {
  const place = document.querySelector("[data-power]");
  if (!place || !window.uPlot) return;
  const buckets = ["operations", "overhead", "others", "idle"];
  const names = { operations: "operations", overhead: "overhead of the bus", others: "other processes", idle: "idle" };
  const kept = 120;
  let newest = 0, steps = [], chart = null;

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const colours = () => ({ operations: colour("--run"), overhead: colour("--load"), others: colour("--bad"), idle: colour("--wait") });

  function data() {
    const rows = [steps.map((step) => step.started_at_us / 1e6)];
    const below = steps.map(() => 0);
    for (const name of buckets) {
      steps.forEach((step, at) => { below[at] += step[`${name}_watts`]; });
      rows.push([...below]);
    }
    return [rows[0], ...rows.slice(1).reverse()]; // the highest line first, so that lower areas lie over it
  }

  function draw() {
    const paint = colours();
    const order = [...buckets].reverse();
    const axis = { stroke: colour("--dim"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line") } };
    chart = new uPlot({
      width: place.clientWidth, height: 240, legend: { live: false },
      scales: { y: { range: (_, low, high) => [0, Math.max(1, high * 1.1)] } },
      axes: [axis, { ...axis, values: (_, ticks) => ticks.map((tick) => `${tick} W`), size: 56 }],
      series: [{}, ...order.map((name) => ({ label: names[name], stroke: paint[name], fill: paint[name], width: 1, points: { show: false } }))],
    }, data(), place);
  }

  async function ask() {
    if (document.hidden) return;
    try {
      const answer = await fetch(`${place.dataset.power}?since=${newest}`, { headers: { accept: "application/json" } });
      if (!answer.ok) return;
      const view = await answer.json();
      if (!view.steps.length) return;
      newest = view.steps[view.steps.length - 1].started_at_us;
      steps = [...steps, ...view.steps].slice(-kept);
      chart ? chart.setData(data()) : draw();
    } catch { /* the next second is another */ }
  }

  ask();
  setInterval(ask, 1000);
  addEventListener("resize", () => chart?.setSize({ width: place.clientWidth, height: 240 }));
  document.addEventListener("click", (event) => {
    if (chart && event.target.closest("[data-theme-button]")) { chart.destroy(); draw(); }
  });
})();
