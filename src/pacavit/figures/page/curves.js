// Learning curves that tell their values under the pointer, and by arrow keys.
"use strict";
const DASHES = ["", "7 3", "2 3", "9 3 2 3"];
for (const place of document.querySelectorAll("[data-curve]")) {
  const { unit, steps, lines } = JSON.parse(place.querySelector("script[type='application/json']").textContent);
  const size = { width: 640, height: 260, left: 56, right: 12, top: 10, bottom: 36 };
  const make = (name, attributes = {}) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    return node;
  };
  const most = Math.max(...lines.flatMap((line) => line.values.filter((v) => v !== null)), 1e-9);
  const last = Math.max(...steps, 1);
  const x = (step) => size.left + (step / last) * (size.width - size.left - size.right);
  const y = (value) => size.height - size.bottom - (value / most) * (size.height - size.top - size.bottom);
  const svg = make("svg", { viewBox: `0 0 ${size.width} ${size.height}`, class: "curve", tabindex: 0, role: "application" });
  svg.setAttribute("aria-roledescription", "curve");
  svg.setAttribute("aria-label", `${place.dataset.curve}; arrow keys go from point to point`);
  svg.append(make("path", { class: "axis", d: `M${x(0)} ${size.top}V${y(0)}H${size.width - size.right}` }));
  const short = (value) => Number(value.toPrecision(3)).toLocaleString("en");
  for (const share of [0, 0.5, 1]) {
    const level = make("text", { x: size.left - 6, y: y(share * most) + 4, "text-anchor": "end" });
    level.textContent = short(share * most);
    const step = make("text", { x: x(share * last), y: size.height - size.bottom + 16, "text-anchor": ["start", "middle", "end"][2 * share] });
    step.textContent = short(share * last);
    svg.append(level, step);
  }
  const title = make("text", { x: (size.left + size.width) / 2, y: size.height - 4, "text-anchor": "middle" });
  title.textContent = "update";
  const axis = make("text", { x: 12, y: size.height / 2, "text-anchor": "middle", transform: `rotate(-90 12 ${size.height / 2})` });
  axis.textContent = unit;
  svg.append(title, axis);
  const legend = document.createElement("ul");
  legend.className = "legend";
  lines.forEach((line, i) => {
    const style = `stroke: var(--c${i % 4}); fill: none; stroke-width: 2; stroke-dasharray: ${DASHES[i % 4] || "none"}`;
    const points = steps.flatMap((step, n) => (line.values[n] === null ? [] : [`${x(step)},${y(line.values[n])}`]));
    const drawn = make("polyline", { points: points.join(" ") });
    drawn.style.cssText = style;
    svg.append(drawn);
    if (points.length === 1) {
      const [cx, cy] = points[0].split(",");
      const dot = make("circle", { cx, cy, r: 4 });
      dot.style.fill = `var(--c${i % 4})`;
      svg.append(dot);
    }
    const entry = document.createElement("li");
    const sample = make("svg", { viewBox: "0 0 32 10", "aria-hidden": "true" });
    const stroke = make("path", { d: "M0 5H32" });
    stroke.style.cssText = style;
    sample.append(stroke);
    entry.append(sample, ` ${line.name}`);
    legend.append(entry);
  });
  const cursor = make("path", { class: "cursor" });
  svg.append(cursor);
  const told = document.createElement("p");
  told.setAttribute("aria-live", "polite");
  told.textContent = "Point at the curve, or use the arrow keys on it, to read its values.";
  let at = -1;
  const show = (n) => {
    at = Math.min(steps.length - 1, Math.max(0, n));
    cursor.setAttribute("d", `M${x(steps[at])} ${size.top}V${size.height - size.bottom}`);
    const values = lines.flatMap((line) => (line.values[at] === null ? [] : [`${line.name} ${short(line.values[at])}`]));
    told.textContent = `Update ${steps[at]}: ${values.join(", ") || "nothing logged"}`;
  };
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const step = (((event.clientX - box.left) / box.width) * size.width - size.left) / (x(last) - x(0)) * last;
    let nearest = 0;
    steps.forEach((s, n) => { if (Math.abs(s - step) < Math.abs(steps[nearest] - step)) nearest = n; });
    show(nearest);
  });
  svg.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: steps.length - 1 }[event.key];
    if (move === undefined) return;
    event.preventDefault();
    show(move);
  });
  place.append(legend, svg, told);
}
