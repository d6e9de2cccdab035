// Draws all points at once into the canvas's pixels, which is faster than a call for each.

// The pixels of a dot: their places, and how much of each it covers, in 0..256.
function dot(radius) {
  const places = [];
  const reach = Math.ceil(radius);
  for (let dy = -reach; dy <= reach; dy++)
    for (let dx = -reach; dx <= reach; dx++) {
      const covered = Math.min(Math.max(radius + 0.5 - Math.hypot(dx, dy), 0), 1);
      if (covered > 0) places.push([dx, dy, Math.round(256 * covered)]);
    }
  return places;
}

// `view` is {scale, left, top}: the pixel of a place is left + x * scale, top + y * scale.
function drawPoints(context, run, view, radius, background) {
  const { width, height } = context.canvas;
  const image = context.createImageData(width, height);
  const words = new Uint32Array(image.data.buffer);
  const word = ([r, g, b]) => ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;
  words.fill(word(background));
  const palette = Uint32Array.from(run.colors.palette, word);
  const places = dot(radius);
  const margin = Math.ceil(radius);
  const { xy, visible, order } = run;
  const index = run.colors.index;
  for (let k = 0; k < order.length; k++) {
    const i = order[k];
    if (!visible[i]) continue;
    const x = Math.round(view.left + xy[2 * i] * view.scale);
    const y = Math.round(view.top + xy[2 * i + 1] * view.scale);
    if (x < margin || y < margin || x >= width - margin || y >= height - margin) continue;
    const color = palette[index[i]];
    for (const [dx, dy, covered] of places) {
      const at = (y + dy) * width + x + dx;
      words[at] = covered === 256 ? color : mixed(words[at], color, covered);
    }
  }
  context.putImageData(image, 0, 0);
}

function mixed(below, above, covered) {
  const rest = 256 - covered;
  const odd = (((below & 0xff00ff) * rest + (above & 0xff00ff) * covered) >>> 8) & 0xff00ff;
  const even = (((below & 0x00ff00) * rest + (above & 0x00ff00) * covered) >>> 8) & 0x00ff00;
  return (0xff000000 | odd | even) >>> 0;
}

// All numbers below `count` in an order without pattern, so that no class covers another.
function scattered(count) {
  const order = Int32Array.from({ length: count }, (_, i) => i);
  let state = 1;
  for (let i = count - 1; i > 0; i--) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const j = Math.floor((state / 2 ** 32) * (i + 1));
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}
