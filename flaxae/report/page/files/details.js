// What is known of one point: beside the pointer in short, and in full when it is chosen.

class Details {
  constructor(run, choose) {
    this.run = run;
    this.choose = choose;
  }

  name(point) {
    return this.run.files ? this.run.files[point] : `image ${point}`;
  }

  className(point) {
    return this.run.labels ? DATA.classes[this.run.labels[point]] : null;
  }

  // Name and value of everything that is known of the point.
  facts(point) {
    const { run } = this;
    const facts = [["row", String(point)]];
    if (run.files) facts.push(["file", run.files[point]]);
    if (DATA.splits.length > 1) facts.push(["split", DATA.splits[run.splits[point]]]);
    if (run.labels) facts.push(["class", this.className(point)]);
    if (run.answers) facts.push(["class of its neighbors", DATA.classes[run.answers[point]]]);
    for (const measure of DATA.measures)
      facts.push([measure.name, number(run.measures[measure.key][point])]);
    return facts;
  }

  summary(point) {
    const short = this.facts(point).filter(([name]) => name !== "row" && name !== "file");
    return [this.name(point), ...short.map(([name, value]) => `${name} ${value}`)].join(", ");
  }

  picture(pictures, point, label) {
    const canvas = element("canvas", { role: "img", "aria-label": label });
    pictures.draw(canvas, point);
    return canvas;
  }

  thumbnail(point) {
    const what = [this.name(point), this.className(point)].filter(Boolean).join(", ");
    if (!this.run.thumbnails?.has(point)) return element("span", { className: "none" }, "no picture");
    return this.picture(this.run.thumbnails, point, `image: ${what}`);
  }

  // A button with a thumbnail, which chooses the point.
  button(point, ...lines) {
    const text = lines.map((line) => element("span", {}, line));
    return element(
      "button",
      { type: "button", className: "point", onclick: () => this.choose(point), "data-point": point },
      this.thumbnail(point),
      ...text,
    );
  }

  hover(point, position) {
    const tip = byId("tip");
    tip.hidden = point < 0;
    if (point < 0) return;
    byId("tip-text").textContent = this.summary(point);
    const canvas = byId("tip-picture");
    canvas.hidden = !this.run.thumbnails?.has(point);
    if (!canvas.hidden) this.run.thumbnails.draw(canvas, point);
    const box = byId("map").parentElement;
    const [x, y] = position;
    const right = x > box.clientWidth / 2;
    const below = y < box.clientHeight / 2;
    tip.style.left = right ? "auto" : `${Math.max(x + 18, 4)}px`;
    tip.style.right = right ? `${Math.max(box.clientWidth - x + 18, 4)}px` : "auto";
    tip.style.top = below ? `${Math.max(y + 18, 4)}px` : "auto";
    tip.style.bottom = below ? "auto" : `${Math.max(box.clientHeight - y + 18, 4)}px`;
  }

  show(point) {
    const { run } = this;
    const panel = byId("details");
    const figures = element("div", { className: "figures" });
    const add = (canvas, text) => figures.append(element("figure", {}, canvas, element("figcaption", {}, text)));
    if (run.thumbnails?.has(point)) add(this.thumbnail(point), "image");
    if (run.reconstructions?.has(point)) {
      if (run.targets) add(this.picture(run.targets, point, "target"), "target");
      add(this.picture(run.reconstructions, point, "reconstruction of the image"), "reconstruction");
      const map = element("canvas", { role: "img", "aria-label": "error map", id: "error-map" });
      add(map, "error");
      drawErrorMap(map, run, point);
    } else if (run.thumbnails?.has(point)) {
      figures.append(element("p", {}, "This file has no reconstruction of it: there is no room for all."));
    }
    const list = element("dl");
    for (const [name, value] of this.facts(point))
      list.append(element("div", {}, element("dt", {}, name), element("dd", {}, value)));
    const neighbors = element("ol", { className: "neighbors" });
    for (const other of run.neighborsOf(point)) {
      const lines = [this.className(other), this.name(other)].filter(Boolean);
      neighbors.append(element("li", {}, this.button(other, ...lines)));
    }
    const count = neighbors.children.length;
    panel.replaceChildren(
      element("h3", {}, this.name(point)),
      figures,
      list,
      element("h3", {}, `Its ${count} nearest neighbors`),
      neighbors,
    );
    panel.dataset.point = point;
  }
}

const BRIGHTEST = 0.5; // the difference of pixels in 0..1 from which the map has its last color

// The mean over the channels of |reconstruction - image|, in one scale for all images.
async function drawErrorMap(canvas, run, point) {
  const [one, other] = [document.createElement("canvas"), document.createElement("canvas")];
  const wanted = run.targets ?? run.thumbnails;
  await Promise.all([wanted.draw(one, point), run.reconstructions.draw(other, point)]);
  const { width, height } = one;
  canvas.width = width;
  canvas.height = height;
  const [a, b] = [one, other].map((c) => c.getContext("2d").getImageData(0, 0, width, height).data);
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  for (let i = 0; i < a.length; i += 4) {
    const difference = [0, 1, 2].reduce((sum, c) => sum + Math.abs(a[i + c] - b[i + c]), 0) / 3 / 255;
    image.data.set([...scaleColor(difference / BRIGHTEST), 255], i);
  }
  context.putImageData(image, 0, 0);
}
