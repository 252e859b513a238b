// The curves of a training, drawn anew while it runs. Without this file the page shows the same curves, still.
"use strict";

(() => {
  const frame = document.querySelector("[data-curves]");
  if (!frame || typeof uPlot === "undefined") return;
  const charts = {};
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const strokes = ["--run", "--strong", "--load", "--bad"];
  const tall = 220;

  // Lines of [x, y] points as uPlot's columns: one column of x, one of y a line.
  function columns(lines) {
    const places = [...new Set(lines.flatMap(([, points]) => points.map(([x]) => x)))].sort((a, b) => a - b);
    return [places, ...lines.map(([, points]) => {
      const at = new Map(points);
      return places.map((x) => at.get(x) ?? null);
    })];
  }

  function draw(name, lines, across) {
    const box = frame.querySelector(`[data-chart=${name}]`);
    if (!lines.some(([, points]) => points.length)) return;
    const data = columns(lines);
    if (charts[name]) {
      charts[name].setData(data);
      return;
    }
    const axis = { stroke: colour("--dim"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line") } };
    const series = lines.map(([label], number) => ({
      label, stroke: colour(strokes[number % strokes.length]), width: 2, spanGaps: true,
      dash: number ? [6, 3 * number] : undefined, points: { show: data[0].length <= 30 },
      value: (_, value) => (value === null ? "—" : value.toPrecision(3)),
    }));
    box.replaceChildren();
    charts[name] = new uPlot({
      width: box.clientWidth, height: tall, scales: { x: { time: false }, y: { range: (_, low, high) => [Math.min(0, low), high * 1.05 || 1] } },
      axes: [{ ...axis, label: across, labelSize: 18 }, { ...axis, size: 54 }], series: [{ label: across }, ...series], legend: { live: true },
    }, data, box);
  }

  function show(view) {
    const since = view.run.started_us || 0;
    const watts = (part) => view.power.points.map((one) => [Math.round((one.time_us - since) / 1e5) / 10, one[part]]);
    draw("loss", [["loss", view.losses]], "step");
    draw("metrics", Object.entries(view.metrics).filter(([name]) => name !== "loss" && name !== "perplexity"), "step");
    draw("power", [["machine, W", watts("machine_watts")], ["operations, W", watts("operations_watts")]], "seconds");
  }

  async function look() {
    if (!document.hidden) {
      const answer = await fetch(frame.dataset.curves);
      if (!answer.ok) return;
      const view = await answer.json();
      show(view);
      if (!view.open) return;
    }
    setTimeout(look, 2000);
  }

  new ResizeObserver(() => {
    for (const name of Object.keys(charts)) {
      const box = frame.querySelector(`[data-chart=${name}]`);
      if (Math.abs(box.clientWidth - charts[name].width) > 2) charts[name].setSize({ width: box.clientWidth, height: tall });
    }
  }).observe(frame);
  look();
})();
