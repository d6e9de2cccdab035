// Puts the parts together.

async function openRun() {
  const count = DATA.count;
  const [xy, labels, answers, splits, files, neighbors] = await Promise.all(
    ["xy", "labels", "answers", "splits", "files", "neighbors"].map((name) => unpack(DATA.columns[name])),
  );
  const measures = {};
  for (const { key } of DATA.measures) measures[key] = await unpack(DATA.columns[key]);
  const wide = DATA.neighbors;
  const run = { count, xy, labels, answers, splits, files, measures };
  run.neighborsOf = (point) => neighbors.subarray(point * wide, (point + 1) * wide);
  run.visible = new Uint8Array(count).fill(1);
  run.order = scattered(count);
  run.grid = new Grid(xy, count);
  for (const [kind, description] of Object.entries(DATA.pictures))
    run[kind] = new Pictures(kind, description, description.rows && (await unpack(description.rows)));
  return run;
}

async function start() {
  await showExamples();
  if (byId("map")) await showRun();
  document.documentElement.dataset.ready = "true";
}

async function showRun() {
  const run = await openRun();
  const choose = (point) => {
    details.show(point);
    map.select(point);
  };
  const details = new Details(run, choose);
  const selection = new Selection(run, details);
  const what = byId("color-by");
  run.colors = colorsBy(what.value, run);
  const map = new PointMap(run, {
    hover: (point) => {
      details.hover(point, point < 0 ? null : map.position(point));
      if (point >= 0 && map.canvas.matches(":focus")) byId("said").textContent = details.summary(point);
    },
    select: choose,
    lasso: (polygon) => selection.lasso(polygon),
    place: (place) => run.tiles && showTile(run, place),
  });
  const filters = new Filters(run, () => map.draw());
  filters.apply();
  filters.legend(what.value);
  what.addEventListener("change", () => {
    run.colors = colorsBy(what.value, run);
    filters.legend(what.value);
    map.draw();
  });
  byId("zoom-in").addEventListener("click", () => map.zoom(1.5));
  byId("zoom-out").addEventListener("click", () => map.zoom(1 / 1.5));
  byId("fit").addEventListener("click", () => map.fit());
  byId("list-shown").addEventListener("click", () => selection.shown());
  byId("lasso").addEventListener("click", (event) => {
    map.isLasso = !map.isLasso;
    event.currentTarget.setAttribute("aria-pressed", String(map.isLasso));
    map.canvas.classList.toggle("lasso", map.isLasso);
  });
  for (const id of ["worst", "best"]) {
    const items = DATA[id].map((point) =>
      element("li", {}, details.button(point, number(run.measures.error[point]), details.className(point) ?? "")));
    byId(id).replaceChildren(...items);
  }
  showConfusion(run, filters);
  for (const measure of DATA.measures) showHistogram(run, filters, measure);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  dark.addEventListener("change", () => map.draw());
  for (const [event, prints] of [["beforeprint", true], ["afterprint", false]])
    window.addEventListener(event, () => {
      document.documentElement.classList.toggle("printing", prints);
      map.drawNow();
    });
}

// What the decoder makes of the two numbers of a place, of a grid of such places.
function showTile(run, [x, y]) {
  const { columns, left, top, step } = DATA.tiles;
  const [column, row] = [Math.round((x - left) / step), Math.round((y - top) / step)];
  const canvas = byId("tile");
  const inside = column >= 0 && row >= 0 && column < columns && row < columns;
  byId("tile-text").textContent = inside ? "" : "outside of what was decoded";
  if (inside) run.tiles.draw(canvas, row * columns + column);
}

start().catch((error) => {
  const text = "This page needs a newer browser: " + error.message;
  byId("trouble").textContent = text;
  byId("trouble").hidden = false;
  console.error(error);
});
