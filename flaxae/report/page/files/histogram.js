// How often each value of a measure occurs, with a threshold that can be moved.
const BINS = 60;
const SVG = "http://www.w3.org/2000/svg";

function showHistogram(run, filters, measure) {
  const values = run.measures[measure.key];
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) [low, high] = [Math.min(low, value), Math.max(high, value)];
  const span = high > low ? high - low : 1;
  const counts = new Int32Array(BINS);
  for (const value of values) counts[Math.min(Math.floor(((value - low) / span) * BINS), BINS - 1)]++;
  const most = Math.max(...counts);
  const drawing = document.createElementNS(SVG, "svg");
  drawing.setAttribute("viewBox", `0 0 ${BINS * 10} 150`);
  drawing.setAttribute("preserveAspectRatio", "none");
  drawing.setAttribute("role", "img");
  drawing.setAttribute("aria-label", `Histogram of ${measure.name}, from ${number(low)} to ${number(high)}`);
  const bars = Array.from(counts, (count, i) => {
    const bar = document.createElementNS(SVG, "rect");
    const height = count ? Math.max((148 * count) / most, 1) : 0;
    const shape = { x: i * 10 + 0.5, width: 9, y: 150 - height, height };
    for (const [name, value] of Object.entries(shape)) bar.setAttribute(name, value);
    drawing.append(bar);
    return bar;
  });
  const id = `threshold-${measure.key}`;
  const handle = element("input", { type: "range", id, min: 0, max: 1000, step: 1 });
  const start = measure.threshold ?? null;
  handle.value = start === null ? 1000 : Math.round((1000 * (start - low)) / span);
  const said = element("output", { htmlFor: id });
  const only = element("input", { type: "checkbox", className: "only-above", id: `only-${measure.key}` });
  let exact = start; // until the handle is moved, which has only a thousand places
  const update = () => {
    const value = exact ?? low + (span * handle.value) / 1000;
    let above = 0;
    for (const each of values) above += each >= value;
    said.textContent = `${number(value)}: ${above.toLocaleString("en-US")} of ${counted(run.count, "point")} at or above`;
    handle.setAttribute("aria-valuetext", said.textContent);
    bars.forEach((bar, i) => bar.classList.toggle("above", low + (span * (i + 0.5)) / BINS >= value));
    if (only.checked) filters.above = { key: measure.key, value };
    else if (filters.above?.key === measure.key) filters.above = null;
    else return;
    filters.apply();
  };
  handle.addEventListener("input", () => {
    exact = null;
    update();
  });
  only.addEventListener("change", update);
  byId(`histogram-${measure.key}`).append(
    drawing,
    element("div", { className: "ends", "aria-hidden": "true" }, element("span", {}, number(low)), element("span", {}, number(high))),
    element("label", { htmlFor: id }, start === null ? "Threshold " : `Threshold (the run's is ${number(start)}) `),
    handle,
    said,
    element("label", {}, only, " the map shows only these"),
  );
  update();
}
