// The ten examples after each epoch: rows of one picture.
async function showExamples() {
  const box = byId("examples");
  if (!box) return;
  const { epochs, width, height, losses } = DATA.examples;
  const image = new Image();
  image.src = "data:image/webp;base64," + byId("examples-0").textContent;
  await image.decode();
  const canvas = byId("examples-picture");
  canvas.width = width;
  canvas.height = height;
  const slider = byId("examples-epoch");
  const draw = () => {
    const row = Number(slider.value);
    const loss = losses[row] === null ? "" : `, validation loss ${number(losses[row])}`;
    const text = `epoch ${epochs[row]}${loss}`;
    canvas.getContext("2d").drawImage(image, 0, row * height, width, height, 0, 0, width, height);
    canvas.setAttribute("aria-label", `Reconstructions after ${text}`);
    slider.setAttribute("aria-valuetext", text);
    byId("examples-text").textContent = text;
  };
  slider.addEventListener("input", draw);
  draw();
}
