// The points in the lasso, or all that are shown: a list, and a CSV file.
const LISTED = 100;

class Selection {
  constructor(run, details) {
    this.run = run;
    this.details = details;
    this.points = [];
    byId("save").addEventListener("click", () => this.save());
  }

  set(points) {
    this.points = points;
    byId("selection").hidden = false;
    byId("save").disabled = !points.length;
    const rest = points.length - LISTED;
    byId("selection-count").textContent =
      `${counted(points.length, "point")} chosen` + (rest > 0 ? `; the first ${LISTED} are listed` : "");
    const items = points.slice(0, LISTED).map((point) => {
      const className = this.details.className(point);
      const text = this.details.name(point) + (className ? `, ${className}` : "");
      const choose = () => this.details.choose(point);
      return element("li", {}, element("button", { type: "button", onclick: choose }, text));
    });
    byId("selection-list").replaceChildren(...items);
  }

  lasso(polygon) {
    const { xy, visible, count } = this.run;
    const points = [];
    for (let i = 0; i < count; i++)
      if (visible[i] && isInside(xy[2 * i], xy[2 * i + 1], polygon)) points.push(i);
    this.set(points);
  }

  shown() {
    const points = [];
    for (let i = 0; i < this.run.count; i++) if (this.run.visible[i]) points.push(i);
    this.set(points);
  }

  csv() {
    const { run } = this;
    const columns = ["row", "file", "class", "neighbors_class", "split", ...DATA.measures.map((m) => m.key)];
    const lines = this.points.map((i) => [
      i,
      run.files ? run.files[i] : "",
      run.labels ? DATA.classes[run.labels[i]] : "",
      run.answers ? DATA.classes[run.answers[i]] : "",
      DATA.splits[run.splits[i]],
      ...DATA.measures.map((measure) => run.measures[measure.key][i]),
    ]);
    const quoted = (value) => (/[",\r\n]/.test(value) ? `"${String(value).replaceAll('"', '""')}"` : value);
    return [columns, ...lines].map((line) => line.map(quoted).join(",") + "\r\n").join("");
  }

  save() {
    const address = URL.createObjectURL(new Blob([this.csv()], { type: "text/csv" }));
    element("a", { href: address, download: "points.csv" }).click();
    setTimeout(() => URL.revokeObjectURL(address), 10_000);
  }
}
