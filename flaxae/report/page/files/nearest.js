// Which point is near a place of the plane, whose coordinates are whole numbers 0..65535.
const CELLS = 256;

class Grid {
  constructor(xy, count) {
    this.xy = xy;
    this.starts = new Int32Array(CELLS * CELLS + 1);
    const cellOf = (i) => (xy[2 * i + 1] >> 8) * CELLS + (xy[2 * i] >> 8);
    for (let i = 0; i < count; i++) this.starts[cellOf(i) + 1]++;
    for (let cell = 0; cell < CELLS * CELLS; cell++) this.starts[cell + 1] += this.starts[cell];
    const next = this.starts.slice();
    this.points = new Int32Array(count);
    for (let i = 0; i < count; i++) this.points[next[cellOf(i)]++] = i;
  }

  // The nearest visible point within `reach`, or -1.
  nearest(x, y, reach, visible) {
    let best = -1;
    let least = reach * reach;
    const cell = (value) => Math.min(Math.max(Math.floor(value / 256), 0), CELLS - 1);
    for (let row = cell(y - reach); row <= cell(y + reach); row++) {
      const first = this.starts[row * CELLS + cell(x - reach)];
      const last = this.starts[row * CELLS + cell(x + reach) + 1];
      for (let k = first; k < last; k++) {
        const i = this.points[k];
        const distance = (this.xy[2 * i] - x) ** 2 + (this.xy[2 * i + 1] - y) ** 2;
        if (distance <= least && visible[i]) [best, least] = [i, distance];
      }
    }
    return best;
  }
}

// The nearest visible point that lies mainly in a direction, for the arrow keys.
function nextInDirection(from, dx, dy, xy, visible) {
  let best = from;
  let least = Infinity;
  for (let i = 0; i < visible.length; i++) {
    if (!visible[i] || i === from) continue;
    const right = xy[2 * i] - xy[2 * from];
    const down = xy[2 * i + 1] - xy[2 * from + 1];
    const along = right * dx + down * dy;
    const aside = Math.abs(right * dy - down * dx);
    if (along <= 0 || aside > along) continue;
    const distance = along + 2 * aside;
    if (distance < least) [best, least] = [i, distance];
  }
  return best;
}

function isInside(x, y, polygon) {
  let inside = false;
  for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i++) {
    const [xi, yi] = polygon[i];
    const [xj, yj] = polygon[j];
    if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) inside = !inside;
  }
  return inside;
}
