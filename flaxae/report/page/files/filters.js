// Which points the map shows: classes of the legend, a cell of the confusion matrix, a threshold.

class Filters {
  constructor(run, changed) {
    this.run = run;
    this.changed = changed;
    this.hidden = new Set(); // classes
    this.pair = null; // [class, class of the neighbors]
    this.above = null; // {key, value}
    byId("show-all").addEventListener("click", () => this.clear());
  }

  clear() {
    this.hidden.clear();
    this.pair = null;
    this.above = null;
    for (const box of document.querySelectorAll(".only-above")) box.checked = false;
    for (const cell of document.querySelectorAll("#confusion button")) cell.setAttribute("aria-pressed", "false");
    this.apply();
  }

  apply() {
    const { run } = this;
    let shown = 0;
    const values = this.above && run.measures[this.above.key];
    for (let i = 0; i < run.count; i++) {
      const label = run.labels ? run.labels[i] : -1;
      const fits =
        !this.hidden.has(label) &&
        (!this.pair || (label === this.pair[0] && run.answers[i] === this.pair[1])) &&
        (!this.above || values[i] >= this.above.value);
      run.visible[i] = fits ? 1 : 0;
      shown += fits ? 1 : 0;
    }
    byId("shown").textContent = `${shown.toLocaleString("en-US")} of ${counted(run.count, "point")} shown`;
    byId("show-all").disabled = shown === run.count;
    for (const button of document.querySelectorAll("#legend button"))
      button.setAttribute("aria-pressed", String(!this.hidden.has(Number(button.dataset.label))));
    this.changed();
  }

  legend(what) {
    const box = byId("legend");
    const { colors } = this.run;
    if (colors.range) {
      const bar = element("canvas", { width: 256, height: 1, className: "scale", role: "img" });
      bar.setAttribute("aria-label", `colors from ${number(colors.range[0])} to ${number(colors.range[1])}`);
      const context = bar.getContext("2d");
      colors.palette.forEach((color, i) => {
        context.fillStyle = css(color);
        context.fillRect(i, 0, 1, 1);
      });
      const ends = colors.range.map((value) => element("span", {}, number(value)));
      box.replaceChildren(ends[0], bar, ends[1]);
      return;
    }
    const entries = colors.legend.map(([name, color], label) => {
      const swatch = element("span", { className: "swatch" });
      swatch.style.background = css(color);
      if (what !== "class") return element("span", {}, swatch, name);
      const toggle = () => {
        if (!this.hidden.delete(label)) this.hidden.add(label);
        this.apply();
      };
      const pressed = String(!this.hidden.has(label));
      return element("button", { type: "button", onclick: toggle, "aria-pressed": pressed, "data-label": label }, swatch, name);
    });
    box.replaceChildren(...entries);
  }
}

const MOST_IN_A_MATRIX = 25; // classes; with more, the most frequent confusions are a list

function showConfusion(run, filters) {
  if (!run.answers) return;
  const size = DATA.classes.length;
  const counts = Array.from({ length: size }, () => new Int32Array(size));
  for (let i = 0; i < run.count; i++) counts[run.labels[i]][run.answers[i]]++;
  const cell = (label, answer, text) => {
    const name = `class ${DATA.classes[label]}, neighbors ${DATA.classes[answer]}: ${counts[label][answer]}`;
    const press = (event) => {
      const was = event.currentTarget.getAttribute("aria-pressed") === "true";
      filters.clear();
      filters.pair = was ? null : [label, answer];
      event.currentTarget.setAttribute("aria-pressed", String(!was));
      filters.apply();
    };
    return element("button", { type: "button", title: name, "aria-label": name, "aria-pressed": "false", onclick: press }, text);
  };
  const box = byId("confusion");
  if (size > MOST_IN_A_MATRIX) {
    const pairs = [];
    counts.forEach((row, label) => row.forEach((count, answer) => {
      if (count && label !== answer) pairs.push([count, label, answer]);
    }));
    pairs.sort((a, b) => b[0] - a[0]);
    const items = pairs.slice(0, 50).map(([count, label, answer]) =>
      element("li", {}, cell(label, answer, `${DATA.classes[label]}, taken for ${DATA.classes[answer]}: ${count}`)));
    box.replaceChildren(element("ol", { className: "confusions" }, ...items));
    return;
  }
  const heads = DATA.classes.map((name) => element("th", { scope: "col" }, element("span", {}, name)));
  const rows = counts.map((row, label) => {
    const total = Math.max(row.reduce((a, b) => a + b, 0), 1);
    const cells = Array.from(row, (count, answer) => {
      const td = element("td", {}, count ? cell(label, answer, String(count)) : "");
      td.style.setProperty("--share", `${Math.round((35 * count) / total)}%`);
      if (label === answer) td.className = "right";
      return td;
    });
    return element("tr", {}, element("th", { scope: "row" }, DATA.classes[label]), ...cells);
  });
  const caption = element("caption", {}, "Rows: the class. Columns: the class of the five nearest neighbors.");
  const corner = element("td");
  box.replaceChildren(
    element("table", { className: "matrix" }, caption, element("thead", {}, element("tr", {}, corner, ...heads)), element("tbody", {}, ...rows)),
  );
}
