// The map: all points on a plane, with zoom, pan, hover, click and lasso, by pointer and by keyboard.
const REACH = 14; // pixels from the pointer within which a point is found

class PointMap {
  constructor(run, on) {
    this.run = run;
    this.on = on; // {hover, select, lasso, place}
    this.canvas = byId("map");
    this.overlay = byId("map-overlay");
    this.hovered = -1;
    this.selected = -1;
    this.polygon = null;
    this.isLasso = false;
    this.pointers = new Map();
    this.listen();
    new ResizeObserver(() => this.resize()).observe(this.canvas);
    this.resize();
  }

  resize() {
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [this.canvas.clientWidth, this.canvas.clientHeight];
    if (!width || !height) return;
    for (const canvas of [this.canvas, this.overlay]) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    this.ratio = ratio;
    this.fit();
  }

  fit() {
    const { xy, count } = this.run;
    const low = [Infinity, Infinity];
    const high = [-Infinity, -Infinity];
    for (let i = 0; i < 2 * count; i++) {
      low[i % 2] = Math.min(low[i % 2], xy[i]);
      high[i % 2] = Math.max(high[i % 2], xy[i]);
    }
    const { width, height } = this.canvas;
    const margin = 20 * this.ratio;
    const spans = [high[0] - low[0], high[1] - low[1]].map((span) => Math.max(span, 1));
    const scale = Math.min((width - 2 * margin) / spans[0], (height - 2 * margin) / spans[1]);
    this.least = scale / 2;
    this.view = {
      scale,
      left: width / 2 - (scale * (low[0] + high[0])) / 2,
      top: height / 2 - (scale * (low[1] + high[1])) / 2,
    };
    this.draw();
  }

  // Draws at the next frame; several requests become one.
  draw() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.drawNow();
    });
  }

  drawNow() {
    const start = performance.now();
    const zoomed = Math.sqrt(this.view.scale / this.least / 2);
    const side = Math.min(this.canvas.clientWidth, this.canvas.clientHeight);
    const size = Math.min(Math.max((side * 0.14) / Math.sqrt(this.run.count), 1), 4.5);
    const radius = this.ratio * Math.min(size * zoomed, 6);
    const background = getComputedStyle(this.canvas).backgroundColor.match(/\d+/g).slice(0, 3);
    drawPoints(this.canvas.getContext("2d"), this.run, this.view, radius, background.map(Number));
    this.drawOverlay();
    performance.measure("draw", { start }); // for benchmarks/report
  }

  drawOverlay() {
    const context = this.overlay.getContext("2d");
    context.clearRect(0, 0, this.overlay.width, this.overlay.height);
    context.strokeStyle = getComputedStyle(this.canvas).color;
    context.lineWidth = 2 * this.ratio;
    for (const [point, radius] of [[this.hovered, 7], [this.selected, 10]]) {
      if (point < 0) continue;
      const [x, y] = this.pixel(point);
      context.beginPath();
      context.arc(x, y, radius * this.ratio, 0, 2 * Math.PI);
      context.stroke();
    }
    if (this.polygon) {
      context.beginPath();
      for (const place of this.polygon) context.lineTo(...this.toPixel(place));
      context.closePath();
      context.setLineDash([6, 4]);
      context.stroke();
      context.setLineDash([]);
    }
  }

  toPixel([x, y]) {
    return [this.view.left + x * this.view.scale, this.view.top + y * this.view.scale];
  }

  pixel(point) {
    return this.toPixel([this.run.xy[2 * point], this.run.xy[2 * point + 1]]);
  }

  // The place on the plane of a pointer.
  place(event) {
    const box = this.canvas.getBoundingClientRect();
    const x = (event.clientX - box.left) * this.ratio;
    const y = (event.clientY - box.top) * this.ratio;
    return [(x - this.view.left) / this.view.scale, (y - this.view.top) / this.view.scale];
  }

  zoom(factor, place) {
    const { width, height } = this.canvas;
    const scale = Math.min(Math.max(this.view.scale * factor, this.least), this.least * 2000);
    const [x, y] = place ?? [
      (width / 2 - this.view.left) / this.view.scale,
      (height / 2 - this.view.top) / this.view.scale,
    ];
    this.view.left += x * (this.view.scale - scale);
    this.view.top += y * (this.view.scale - scale);
    this.view.scale = scale;
    this.draw();
  }

  pan(dx, dy) {
    this.view.left += dx;
    this.view.top += dy;
    this.draw();
  }

  listen() {
    const canvas = this.canvas;
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerup", (event) => this.up(event));
    canvas.addEventListener("pointercancel", (event) => this.pointers.delete(event.pointerId));
    canvas.addEventListener("pointerleave", () => this.hover(-1));
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener(
      "wheel",
      (event) => {
        // Else a page that is scrolled past the map would be caught by it.
        if (document.activeElement !== canvas && !event.ctrlKey) return;
        event.preventDefault();
        this.zoom(2 ** (-event.deltaY / 300), this.place(event));
      },
      { passive: false },
    );
  }

  down(event) {
    this.canvas.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, [event.clientX, event.clientY]);
    this.moved = 0;
    if (this.isLasso) this.polygon = [this.place(event)];
  }

  move(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) {
      this.hover(this.find(event), event);
      this.on.place(this.place(event));
      return;
    }
    const now = [event.clientX, event.clientY];
    const others = [...this.pointers].filter(([id]) => id !== event.pointerId);
    this.pointers.set(event.pointerId, now);
    const [dx, dy] = [now[0] - before[0], now[1] - before[1]];
    this.moved += Math.abs(dx) + Math.abs(dy);
    if (this.isLasso) {
      this.polygon?.push(this.place(event));
      this.drawOverlay();
    } else if (others.length) {
      const [, other] = others[0];
      const apart = (place) => Math.hypot(place[0] - other[0], place[1] - other[1]);
      this.zoom(apart(now) / Math.max(apart(before), 1), this.place(event));
    } else {
      this.pan(dx * this.ratio, dy * this.ratio);
    }
  }

  up(event) {
    this.pointers.delete(event.pointerId);
    if (this.polygon) {
      const polygon = this.polygon;
      this.polygon = null;
      this.drawOverlay();
      if (polygon.length > 2) this.on.lasso(polygon);
    } else if (this.moved < 5) {
      const point = this.find(event);
      if (point >= 0) this.on.select(point);
    }
  }

  find(event) {
    const [x, y] = this.place(event);
    const reach = (REACH * this.ratio) / this.view.scale;
    return this.run.grid.nearest(x, y, reach, this.run.visible);
  }

  hover(point) {
    if (point === this.hovered) return;
    this.hovered = point;
    this.canvas.classList.toggle("on-point", point >= 0);
    this.drawOverlay();
    this.on.hover(point);
  }

  select(point) {
    this.selected = point;
    const [x, y] = this.pixel(point);
    const { width, height } = this.canvas;
    if (x < 0 || y < 0 || x > width || y > height) this.pan(width / 2 - x, height / 2 - y);
    this.drawOverlay();
  }

  // The place of a point in CSS pixels of the map.
  position(point) {
    return this.pixel(point).map((value) => value / this.ratio);
  }

  key(event) {
    const step = 40 * this.ratio;
    const directions = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const direction = directions[event.key];
    if (direction && event.shiftKey) this.pan(-direction[0] * step, -direction[1] * step);
    else if (direction) this.walk(...direction);
    else if (event.key === "+" || event.key === "=") this.zoom(1.5);
    else if (event.key === "-") this.zoom(1 / 1.5);
    else if (event.key === "0") this.fit();
    else if ((event.key === "Enter" || event.key === " ") && this.hovered >= 0) this.on.select(this.hovered);
    else return;
    event.preventDefault();
  }

  // To the next point in a direction; the first time, to the one nearest to the center.
  walk(dx, dy) {
    const { run } = this;
    let point = this.hovered >= 0 ? this.hovered : this.selected;
    if (point >= 0 && run.visible[point]) {
      point = nextInDirection(point, dx, dy, run.xy, run.visible);
    } else {
      const { width, height } = this.canvas;
      const [x, y] = [(width / 2 - this.view.left), (height / 2 - this.view.top)];
      const { scale } = this.view;
      point = run.grid.nearest(x / scale, y / scale, 1e6, run.visible);
    }
    if (point < 0) return;
    this.hover(point);
    const [x, y] = this.pixel(point);
    if (x < 0 || y < 0 || x > this.canvas.width || y > this.canvas.height)
      this.pan(this.canvas.width / 2 - x, this.canvas.height / 2 - y);
    this.on.place([run.xy[2 * point], run.xy[2 * point + 1]]);
  }
}
