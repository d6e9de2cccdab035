// Colors of points: one for each class, and a scale for numbers.
const CLASS_COLORS = [
  "#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22",
  "#17becf",
];
const SCALE = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]]; // viridis

function classColors(count) {
  if (count <= CLASS_COLORS.length) return CLASS_COLORS.slice(0, count).map(rgbOfHex);
  return Array.from({ length: count }, (_, i) => rgbOfHue(i / count, i % 2 ? 0.42 : 0.58));
}

function rgbOfHex(text) {
  return [1, 3, 5].map((at) => parseInt(text.slice(at, at + 2), 16));
}

function rgbOfHue(hue, light) {
  const part = (n) => {
    const k = (n + hue * 12) % 12;
    const reach = 0.65 * Math.min(light, 1 - light);
    return Math.round(255 * (light - reach * Math.max(-1, Math.min(k - 3, 9 - k, 1))));
  };
  return [part(0), part(8), part(4)];
}

// The color of a share in 0..1.
function scaleColor(share) {
  const at = Math.min(Math.max(share, 0), 1) * (SCALE.length - 1);
  const low = Math.min(Math.floor(at), SCALE.length - 2);
  return SCALE[low].map((value, i) => Math.round(value + (at - low) * (SCALE[low + 1][i] - value)));
}

function css([r, g, b]) {
  return `rgb(${r} ${g} ${b})`;
}

// The color of each point by what is chosen: an index into `palette`.
function colorsBy(what, run) {
  const index = new Uint16Array(run.count);
  const named = { class: [run.labels, DATA.classes], split: [run.splits, DATA.splits] }[what];
  if (named) {
    index.set(named[0]);
    const palette = classColors(named[1].length);
    return { index, palette, legend: named[1].map((name, i) => [name, palette[i]]) };
  }
  if (what === "neighbors") {
    for (let i = 0; i < run.count; i++) index[i] = run.answers[i] === run.labels[i] ? 0 : 1;
    const palette = [rgbOfHex("#7f8fa6"), rgbOfHex("#d62728")];
    return { index, palette, legend: [["as their class", palette[0]], ["another class", palette[1]]] };
  }
  const values = run.measures[what];
  const sorted = Float32Array.from(values).sort();
  const low = sorted[Math.floor(0.01 * (run.count - 1))];
  const high = sorted[Math.ceil(0.99 * (run.count - 1))]; // some outliers would take the whole scale
  for (let i = 0; i < run.count; i++) index[i] = Math.round(255 * share(values[i], low, high));
  const palette = Array.from({ length: 256 }, (_, i) => scaleColor(i / 255));
  return { index, palette, range: [low, high] };
}

function share(value, low, high) {
  return high > low ? Math.min(Math.max((value - low) / (high - low), 0), 1) : 0;
}
