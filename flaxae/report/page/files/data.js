// The numbers and pictures of this file: base64 in script elements that the browser does not run.
const DATA = JSON.parse(byId("data").textContent);
const SIDE = 16; // pictures in a row and in a column of a sheet

function byId(id) {
  return document.getElementById(id);
}

// The array of a packed column, or the list of texts.
async function unpack(column) {
  if (!column) return null;
  const text = atob(column.bytes);
  const packed = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) packed[i] = text.charCodeAt(i);
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  if (column.type === "text") return JSON.parse(new TextDecoder().decode(bytes));
  const kinds = { uint8: Uint8Array, uint16: Uint16Array, int32: Int32Array, float32: Float32Array };
  const array = new kinds[column.type](column.shape.reduce((a, b) => a * b, 1));
  const size = array.BYTES_PER_ELEMENT;
  const target = new Uint8Array(array.buffer);
  for (let plane = 0; plane < size; plane++)
    for (let i = 0; i < array.length; i++) target[i * size + plane] = bytes[plane * array.length + i];
  return array;
}

// The pictures of a kind: "thumbnails", "reconstructions", "targets" or "tiles".
class Pictures {
  constructor(kind, description, rows) {
    this.kind = kind;
    this.width = description.width;
    this.height = description.height;
    this.sheets = new Map();
    this.places = rows && new Map(Array.from(rows, (row, place) => [row, place]));
  }

  has(row) {
    return this.places.has(row);
  }

  sheet(number) {
    if (!this.sheets.has(number)) {
      const image = new Image();
      image.src = "data:image/webp;base64," + byId(`${this.kind}-${number}`).textContent;
      this.sheets.set(number, image.decode().then(() => image));
    }
    return this.sheets.get(number);
  }

  // Draws the picture of a row, unless the canvas was asked for another one in the meantime.
  async draw(canvas, row) {
    const place = this.places ? this.places.get(row) : row;
    canvas.dataset.shows = `${this.kind}-${row}`;
    const shows = canvas.dataset.shows;
    canvas.width = this.width;
    canvas.height = this.height;
    if (place === undefined) return false;
    const image = await this.sheet(Math.floor(place / (SIDE * SIDE)));
    if (canvas.dataset.shows !== shows) return false;
    const [left, top] = this.corner(place);
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(image, left, top, this.width, this.height, 0, 0, this.width, this.height);
    canvas.dataset.drawn = shows;
    return true;
  }

  corner(place) {
    const inside = place % (SIDE * SIDE);
    return [(inside % SIDE) * this.width, Math.floor(inside / SIDE) * this.height];
  }
}

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key in made && key !== "role") made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children); // as text, never as markup
  return made;
}

function number(value) {
  return value === 0 || Math.abs(value) >= 0.01 ? value.toFixed(4) : value.toPrecision(3);
}

function counted(count, noun) {
  return `${count.toLocaleString("en-US")} ${noun}${count === 1 ? "" : "s"}`;
}
