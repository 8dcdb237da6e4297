// The view on which one clicks a patch and sees its clusters; its numbers are those of figures/clusters.py.
"use strict";
async function unpacked(text) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).json();
}

async function show(place) {
  const images = await unpacked(place.querySelector("script[type='application/gzip']").textContent);
  const part = (name) => place.querySelector(`[data-part='${name}']`);
  const state = { image: 0, stage: 0, head: 0, row: 0, column: 0, cluster: 0 };
  const decoded = new Map();

  // The numbers are little-endian, as every browser's machine has them today.
  const numbers = (text, type = Uint8Array) => {
    if (!decoded.has(text)) {
      decoded.set(text, new type(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer));
    }
    return decoded.get(text);
  };
  const stage = () => images[state.image].stages[state.stage];
  const patch = () => state.row * stage().width + state.column;
  const named = (cluster) => (stage().names ? stage().names[cluster] : `cluster ${cluster}`);

  // Weights of the clicked patch: over clusters, or over patches where there are none.
  const weights = () => {
    const { attention, attention_peaks, height, width, clusters } = stage();
    const count = clusters || height * width;
    const row = state.head * height * width + patch();
    const peak = numbers(attention_peaks, Float32Array)[row];
    return Array.from(numbers(attention).subarray(row * count, (row + 1) * count), (w) => (w / 255) * peak);
  };
  const lookedAt = () => {
    const { clusters, peaks, assignment, height, width } = stage();
    const given = weights();
    if (!clusters) return given;
    const maps = numbers(assignment), size = height * width, sum = new Array(size).fill(0);
    for (let m = 0; m < clusters; m++) {
      const weight = (given[m] * peaks[m]) / 255;
      for (let n = 0; weight && n < size; n++) sum[n] += weight * maps[m * size + n];
    }
    return sum;
  };

  // Dark blue over grey to yellow, which stay apart for the colour-blind and in grey.
  const heat = (share) => {
    const stops = [[0, 34, 78], [124, 123, 120], [254, 232, 56]];
    const at = Math.min(1, Math.max(0, share)) * 2, low = Math.min(1, Math.floor(at));
    return stops[low].map((value, i) => value + (stops[low + 1][i] - value) * (at - low));
  };
  const hue = (cluster) => [1, 3, 5].map((i) => parseInt(stage().colours[cluster].slice(i, i + 2), 16));

  const paint = (canvas, colours) => {
    const { height, width } = stage();
    const scale = Math.max(2, Math.ceil(512 / Math.max(height, width)));
    canvas.width = width * scale;
    canvas.height = height * scale;
    const context = canvas.getContext("2d");
    colours(context, scale);
    for (const [colour, line] of [["#fff", 8], ["#000", 4]]) {
      context.strokeStyle = colour;
      context.lineWidth = line;
      context.strokeRect(state.column * scale, state.row * scale, scale, scale);
    }
  };
  const cells = (values, colour) => (context, scale) => {
    const { width } = stage();
    values.forEach((value, n) => {
      context.fillStyle = `rgb(${colour(value).map(Math.round).join(" ")})`;
      context.fillRect((n % width) * scale, Math.floor(n / width) * scale, scale, scale);
    });
  };
  // As heat() in figures/clusters.py.
  const scaled = (values) => {
    const sorted = Float64Array.from(values).sort();
    const most = sorted[Math.ceil(0.99 * (sorted.length - 1))] || sorted[sorted.length - 1] || 1;
    return Array.from(values, (value) => Math.sqrt(Math.min(1, value / most)));
  };

  const pictures = images.map((image) => {
    const picture = new Image();
    picture.addEventListener("load", () => draw());
    picture.src = image.image;
    return picture;
  });

  function draw() {
    const { clusters, strongest, assignment, height, width } = stage();
    const size = height * width, picture = pictures[state.image];
    paint(part("image"), (context) => {
      if (picture.complete) context.drawImage(picture, 0, 0, context.canvas.width, context.canvas.height);
      if (!clusters || !part("overlay").checked) return;
      context.globalAlpha = 0.6;
      cells(numbers(strongest, Uint16Array), hue)(context, Math.floor(context.canvas.width / width));
      context.globalAlpha = 1;
    });
    paint(part("looked-at"), cells(scaled(lookedAt()), heat));
    const where = `Where this patch looks${stage().name === "head" ? "" : ", in the stage's first block"}`;
    part("looked-at-caption").textContent = clusters
      ? `${where}: its attention to the clusters, spread over the patches these consist of.`
      : `${where}: its attention to the patches.`;
    part("cluster-figure").hidden = !clusters;
    if (clusters) {
      const map = numbers(assignment).subarray(state.cluster * size, (state.cluster + 1) * size);
      paint(part("cluster"), cells(scaled(map), heat));
      part("cluster-name").textContent = named(state.cluster);
    }
    tell();
  }

  function tell() {
    const { clusters, strongest } = stage();
    const where = `Patch in row ${state.row + 1}, column ${state.column + 1}`;
    const buttons = part("chosen");
    buttons.replaceChildren();
    if (!clusters) {
      part("told").textContent = `${where}: attends to patches, since this stage has no clusters.`;
      return;
    }
    const given = weights();
    const best = [...given.keys()].sort((a, b) => given[b] - given[a]).slice(0, 6);
    for (const cluster of best) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = `${named(cluster)}: ${Math.round(100 * given[cluster])} %`;
      button.setAttribute("aria-pressed", String(cluster === state.cluster));
      button.addEventListener("click", () => {
        state.cluster = cluster;
        draw();
        [...buttons.children].find((b) => b.getAttribute("aria-pressed") === "true")?.focus();
      });
      buttons.append(button);
    }
    part("told").textContent =
      `${where}: belongs most to ${named(numbers(strongest, Uint16Array)[patch()])}; head ${state.head + 1} attends most to ${named(best[0])}.`;
  }

  function choose(row, column) {
    const { height, width, clusters, strongest } = stage();
    state.row = Math.min(height - 1, Math.max(0, row));
    state.column = Math.min(width - 1, Math.max(0, column));
    if (clusters) state.cluster = numbers(strongest, Uint16Array)[patch()];
    draw();
  }
  function fill(select, labels) {
    select.replaceChildren(...labels.map((label, i) => new Option(label, i)));
  }
  function open() {
    const { heads, height, width } = stage();
    state.head = Math.min(state.head, heads - 1);
    fill(part("head"), Array.from({ length: heads }, (_, i) => `head ${i + 1}`));
    part("head").value = state.head;
    choose(Math.floor(height / 2), Math.floor(width / 2));
  }

  fill(part("choose-image"), images.map((image) => image.name));
  fill(part("stage"), images[0].stages.map((s) => (s.clusters ? `${s.name}, ${s.clusters} clusters` : `${s.name}, no clusters`)));
  for (const [name, key] of [["choose-image", "image"], ["stage", "stage"]]) {
    part(name).addEventListener("change", (event) => {
      state[key] = Number(event.target.value);
      open();
    });
  }
  part("head").addEventListener("change", (event) => {
    state.head = Number(event.target.value);
    draw();
  });
  part("overlay").addEventListener("change", draw);
  for (const name of ["image", "looked-at", "cluster"]) {
    part(name).addEventListener("click", (event) => {
      const box = event.target.getBoundingClientRect();
      choose(
        Math.floor(((event.clientY - box.top) / box.height) * stage().height),
        Math.floor(((event.clientX - box.left) / box.width) * stage().width),
      );
    });
  }
  part("image").addEventListener("keydown", (event) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!step) return;
    event.preventDefault();
    choose(state.row + step[0], state.column + step[1]);
  });
  open();
  place.hidden = false;
}

document.querySelectorAll("[data-clusters]").forEach(show);
