"use strict";
// Figures: read values under the pointer or by arrow keys, switch curves off, save as CSV or SVG.
// Everything that comes from the run is set as text, never as markup.
const read = (id) => {
  const element = document.getElementById("data-" + id);
  return element ? JSON.parse(element.textContent) : null;
};
const make = (tag, properties, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties || {})) {
    if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
};
const bdi = (text) => make("bdi", { textContent: text });
const shown = (value, digits = 2) => (value === null || value === undefined ? "–" : value.toFixed(digits).replace("-", "−"));

const FIGURES = read("figures") || {};

function save(name, type, content) {
  const link = make("a", { href: URL.createObjectURL(new Blob([content], { type })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function csvCell(value) {
  if (value === null || value === undefined) return "";
  let text = String(value);
  if (typeof value === "string" && /^[=+\-@\t\r]/.test(text)) text = "'" + text; // no formula for a spreadsheet
  return /[",\n\r]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
}

function saveFigure(figure, data, kind) {
  const id = figure.dataset.figure;
  if (kind === "csv") {
    const lines = [data.columns, ...data.rows].map((row) => row.map(csvCell).join(","));
    return save(id + ".csv", "text/csv", lines.join("\r\n") + "\r\n");
  }
  const svg = drawn(figure.querySelector(".plot svg.wide"));
  const text = new XMLSerializer().serializeToString(svg);
  if (kind === "svg") return save(id + ".svg", "image/svg+xml", text);
  const image = new Image();
  image.onload = () => { // three pixels for each: enough for print
    const canvas = make("canvas", { width: 3 * image.width, height: 3 * image.height });
    const pen = canvas.getContext("2d");
    pen.fillStyle = "#fff";
    pen.fillRect(0, 0, canvas.width, canvas.height);
    pen.drawImage(image, 0, 0, canvas.width, canvas.height);
    canvas.toBlob((content) => save(id + ".png", "image/png", content));
  };
  image.src = "data:image/svg+xml;charset=utf-8," + encodeURIComponent(text);
}

// Looks as attributes of each element, in the colours for paper: what every renderer draws, where many know no variables.
const LOOKS = ["fill", "stroke", "stroke-width", "stroke-dasharray", "stroke-linejoin", "opacity", "paint-order",
  "font-size", "font-family", "text-anchor", "visibility"];
function drawn(figure) {
  const svg = figure.cloneNode(true);
  const place = make("div", { className: "asfile" }, svg); // the style sheet gives this class the colours for paper
  document.body.append(place);
  for (const element of [svg, ...svg.querySelectorAll("*")]) {
    const looks = getComputedStyle(element);
    if (element.tagName !== "title") for (const name of LOOKS) element.setAttribute(name, looks.getPropertyValue(name));
  }
  for (const element of [svg, ...svg.querySelectorAll("*")]) element.removeAttribute("class");
  svg.querySelector("line[x1='-9']")?.remove(); // the guide of the pointer
  place.remove();
  return svg;
}

function bindFigure(figure) {
  const data = FIGURES[figure.dataset.figure];
  if (!data) return;
  const plot = figure.querySelector(".plot");
  const tip = figure.querySelector(".tip");
  const hidden = new Set();
  figure.querySelector(".tools").hidden = false;
  for (const button of figure.querySelectorAll("[data-save]")) {
    button.addEventListener("click", () => saveFigure(figure, data, button.dataset.save));
  }
  for (const key of figure.querySelectorAll(".key")) {
    key.addEventListener("click", () => {
      const index = Number(key.dataset.series);
      const off = !hidden.delete(index);
      if (off) hidden.add(index);
      key.setAttribute("aria-pressed", String(!off));
      for (const group of plot.querySelectorAll(`g[data-series="${index}"]`)) group.setAttribute("visibility", off ? "hidden" : "visible");
    });
  }
  if (!data.x.length) return;
  const first = data.x[0], last = data.x[data.x.length - 1];
  let place = -1;
  const show = (index) => {
    const svg = [...plot.querySelectorAll("svg")].find((s) => s.getBoundingClientRect().width > 0);
    if (!svg) return;
    place = Math.max(0, Math.min(data.x.length - 1, index));
    const left = Number(svg.dataset.left), right = Number(svg.dataset.right);
    const x = last > first ? left + ((data.x[place] - first) / (last - first)) * (right - left) : left;
    const guide = svg.querySelector(".guide");
    guide.setAttribute("x1", x);
    guide.setAttribute("x2", x);
    tip.replaceChildren(make("b", { textContent: `${data.columns[0].replace(/ k$/, "")} ${data.x[place]}` }));
    const seen = data.series.filter((series, i) => !hidden.has(i) && series.y[place] !== null);
    for (const series of seen.sort((a, b) => b.y[place] - a.y[place])) {
      const low = series.low[place], high = series.high[place];
      const band = low === null || low === undefined ? "" : ` [${shown(low)}, ${shown(high)}]`;
      const dot = make("span", { className: "dot dot" + (series.style % 8) });
      tip.append(make("div", {}, dot, bdi(series.name), ` ${shown(series.y[place])}${band}`));
    }
    tip.hidden = false;
    const box = svg.getBoundingClientRect(), at = (x * box.width) / svg.viewBox.baseVal.width;
    const room = plot.clientWidth - at - 14 >= tip.offsetWidth;
    tip.style.left = Math.max(0, room ? at + 14 : at - 14 - tip.offsetWidth) + "px";
  };
  const hide = () => {
    tip.hidden = true;
    place = -1;
    for (const guide of plot.querySelectorAll(".guide")) { guide.setAttribute("x1", -9); guide.setAttribute("x2", -9); }
  };
  const follow = (event) => {
    const svg = event.target.closest("svg");
    if (!svg) return;
    const box = svg.getBoundingClientRect();
    const x = ((event.clientX - box.left) * svg.viewBox.baseVal.width) / box.width;
    const left = Number(svg.dataset.left), right = Number(svg.dataset.right);
    const value = first + ((x - left) / (right - left)) * (last - first);
    let best = 0;
    data.x.forEach((v, i) => { if (Math.abs(v - value) < Math.abs(data.x[best] - value)) best = i; });
    show(best);
  };
  plot.addEventListener("pointermove", follow);
  plot.addEventListener("pointerdown", follow);
  plot.addEventListener("pointerleave", hide);
  plot.addEventListener("blur", hide);
  plot.addEventListener("keydown", (event) => {
    if (event.key === "Escape") return hide();
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    event.preventDefault();
    show(event.key === "ArrowRight" ? place + 1 : place < 0 ? data.x.length - 1 : place - 1);
  });
}

document.querySelectorAll("[data-figure]").forEach(bindFigure);

const themeButton = document.querySelector(".theme");
themeButton.hidden = false;
themeButton.addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme:dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
});
