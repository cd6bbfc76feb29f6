"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const colours = ["#5cc8ff", "#ffb454", "#8fe388", "#ff7eb6", "#c9a6ff", "#ffe066", "#4fe0c8", "#ff9a76", "#9db8ff", "#d3f36b", "#f2a3e0", "#7fd1e0"];
  const hidden = new Set();
  const switchedOff = new Set();
  const state = { on: true, opacity: 0.55, lit: null };
  document.documentElement.classList.add("js");

  const spots = [];
  for (const [card, list] of Object.entries(data.spots)) for (const spot of list) spots.push({ ...spot, card, colour: colours[spots.length % colours.length] });
  const gone = (card) => hidden.has(card) || hidden.has(data.parents[card]);
  const lit = (spot) => state.lit !== null && (spot.card === state.lit || spot.card === data.parents[state.lit]);
  const visible = (spot) => state.on && !gone(spot.card) && !switchedOff.has(spot.finding);
  const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
  const heat = (v) => {
    const stops = [[40, 11, 84], [101, 21, 110], [159, 42, 99], [212, 72, 66], [245, 125, 21], [250, 193, 39], [252, 255, 164]];
    const t = v * (stops.length - 1), i = Math.min(stops.length - 2, Math.floor(t)), f = t - i;
    return stops[i].map((c, k) => c + (stops[i + 1][k] - c) * f);
  };

  const pixels = new Map();
  const load = async (uri) => {
    if (!pixels.has(uri)) {
      pixels.set(uri, (async () => {
        const image = new Image();
        image.src = uri;
        await image.decode();
        const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
        const context = canvas.getContext("2d", { willReadFrequently: true });
        context.drawImage(image, 0, 0);
        const rgba = context.getImageData(0, 0, canvas.width, canvas.height).data;
        const grey = new Uint8Array(rgba.length / 4);
        for (let i = 0; i < grey.length; i++) grey[i] = rgba[4 * i];
        return { grey, width: canvas.width, height: canvas.height };
      })());
    }
    return pixels.get(uri);
  };

  class Plane {
    constructor(figure, image) {
      this.image = image;
      this.name = figure.dataset.plane;
      this.of = Number(figure.dataset.of);
      this.canvas = figure.querySelector("canvas");
      this.where = figure.querySelector(".where");
      this.slices = all(".slice", figure);
      this.layers = data.layers[image][this.name];
      this.drawing = 0;
      figure.querySelector(".strip").classList.toggle("single", this.slices.length === 1);
      this.slices.forEach((slice, i) => slice.addEventListener("click", () => this.show(i)));
      const stage = figure.querySelector(".stage");
      stage.addEventListener("keydown", (event) => {
        const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
        if (step) { event.preventDefault(); this.show(this.at + step); }
      });
      stage.addEventListener("wheel", (event) => {
        const next = this.at + Math.sign(event.deltaY);
        if (next < 0 || next >= this.slices.length) return;
        event.preventDefault();
        this.show(next);
      }, { passive: false });
      const first = spots.find((s) => s.image === image && this.name in s.at);
      this.show(first ? first.at[this.name] : Math.floor(this.slices.length / 2), false);
    }
    show(i, scroll = true) {
      this.at = Math.max(0, Math.min(this.slices.length - 1, i));
      this.slices.forEach((slice, k) => k === this.at ? slice.setAttribute("aria-current", "true") : slice.removeAttribute("aria-current"));
      const slice = this.slices[this.at];
      if (scroll) {
        const strip = slice.parentElement;
        strip.scrollLeft = slice.offsetLeft - strip.offsetLeft - (strip.clientWidth - slice.clientWidth) / 2;
      }
      this.where.textContent = this.of > 1 ? `slice ${Number(slice.dataset.index) + 1} of ${this.of}` : "";
      this.draw();
    }
    async draw() {
      const turn = ++this.drawing;
      const slice = this.slices[this.at].querySelector("img");
      await slice.decode().catch(() => {});
      const here = spots.filter((s) => s.image === this.image);
      const layers = this.layers[this.at];
      const loaded = new Map();
      for (const ref of Object.keys(layers)) loaded.set(ref, await load(layers[ref]));
      if (turn !== this.drawing) return;
      const { naturalWidth: w, naturalHeight: h } = slice;
      const zoom = Math.max(1, Math.min(4, Math.round(1000 / Math.max(w, h))));
      this.canvas.width = w * zoom;
      this.canvas.height = h * zoom;
      const context = this.canvas.getContext("2d");
      context.imageSmoothingQuality = "high";
      context.drawImage(slice, 0, 0, w * zoom, h * zoom);
      for (const [ref, layer] of loaded) {
        const mine = here.filter((s) => s.ref === ref && visible(s));
        if (mine.length) this.paint(context, layer, mine, zoom);
      }
      for (const spot of here) if (visible(spot) && (spot.kind === "box" || lit(spot))) this.frame(context, spot, w * zoom, h * zoom);
      if (document.documentElement.dataset.status === "draft") {
        const size = Math.max(14, Math.round(Math.max(this.canvas.width, this.canvas.height) / 34));
        context.font = `600 ${size}px sans-serif`;
        context.textBaseline = "bottom";
        context.fillStyle = "rgba(243, 201, 105, 0.9)";
        context.lineWidth = size / 6;
        context.strokeStyle = "rgba(0, 0, 0, 0.75)";
        context.strokeText("DRAFT", size * 0.5, this.canvas.height - size * 0.35);
        context.fillText("DRAFT", size * 0.5, this.canvas.height - size * 0.35);
      }
    }
    paint(context, { grey, width, height }, mine, zoom) {
      const out = new ImageData(width, height);
      if (mine[0].kind === "heatmap") {
        for (let i = 0; i < grey.length; i++) {
          const v = grey[i] / 255;
          if (v < 0.15) continue;
          const [r, g, b] = heat(v);
          out.data.set([r, g, b, 255 * state.opacity * Math.min(1, 0.35 + v)], 4 * i);
        }
      } else {
        const table = new Map(mine.map((s) => [s.label, { colour: rgb(s.colour), lit: lit(s) }]));
        const whole = spots.filter((s) => s.image === mine[0].image && s.kind === "mask");
        const single = whole.some((s) => s.ref !== mine[0].ref) && whole.filter((s) => s.ref === mine[0].ref).length === 1;
        const dim = mine.some(lit) ? 0.35 : 1;
        for (let i = 0; i < grey.length; i++) {
          const entry = table.get(grey[i]);
          if (!entry) continue;
          const x = i % width;
          const edge = grey[i - 1] !== grey[i] || grey[i + 1] !== grey[i] || grey[i - width] !== grey[i] || grey[i + width] !== grey[i] || x === 0;
          const strength = entry.lit ? 1 : dim;
          const alpha = edge ? Math.min(1, state.opacity * 1.8) * strength : single && !entry.lit ? 0 : state.opacity * 0.75 * strength;
          out.data.set([...entry.colour, 255 * (entry.lit && !edge ? Math.max(alpha, 0.5 * state.opacity + 0.2) : alpha)], 4 * i);
        }
      }
      const sheet = new OffscreenCanvas(width, height);
      sheet.getContext("2d").putImageData(out, 0, 0);
      context.imageSmoothingEnabled = mine[0].kind === "heatmap";
      context.drawImage(sheet, 0, 0, width * zoom, height * zoom);
      context.imageSmoothingEnabled = true;
    }
    frame(context, spot, width, height) {
      const box = spot.boxes[this.name];
      if (!box || (this.slices.length > 1 && spot.at[this.name] !== this.at)) return;
      const [l, t, r, b] = box;
      const pad = spot.kind === "box" ? 0 : 0.008 * width;
      context.lineWidth = Math.max(2, width / 350);
      context.strokeStyle = spot.colour;
      context.globalAlpha = lit(spot) ? 1 : Math.min(1, state.opacity * 1.8);
      context.setLineDash(spot.kind === "box" ? [] : [width / 80, width / 120]);
      context.strokeRect(l * width - pad, t * height - pad, (r - l) * width + 2 * pad, (b - t) * height + 2 * pad);
      context.setLineDash([]);
      context.globalAlpha = 1;
    }
  }

  const planes = all(".viewer").flatMap((viewer) => all(".plane", viewer).map((figure) => new Plane(figure, viewer.dataset.image)));
  const redraw = () => planes.forEach((plane) => plane.draw());

  const texts = new Map(all(".card").map((card) => [card.dataset.card, card.querySelector("p").textContent]));
  const focus = document.getElementById("focus"), focusText = document.getElementById("focus-text");
  const light = (card, jump = true) => {
    state.lit = card;
    for (const node of all("[data-card]")) node.classList.toggle("lit", card !== null && node.dataset.card === card);
    for (const node of all(".sentence")) node.classList.toggle("lit", card !== null && JSON.parse(node.dataset.rests).includes(card));
    focus?.classList.toggle("lit", card !== null);
    if (focusText && card !== null) focusText.textContent = `${card}: ${texts.get(card) ?? "not on this page"}${gone(card) ? " (hidden)" : ""}`;
    if (jump && card !== null) {
      const mine = data.spots[card] ?? data.spots[data.parents[card]] ?? [];
      for (const plane of planes) {
        const spot = mine.find((s) => s.image === plane.image && plane.name in s.at);
        if (spot) { plane.show(spot.at[plane.name]); }
      }
      const viewers = all(".viewer");
      if (mine.length && viewers.length > 1) viewers.find((v) => v.dataset.image === mine[0].image)?.scrollIntoView({ block: "nearest" });
    }
    redraw();
  };

  const apply = () => {
    for (const sentence of all(".sentence")) {
      const rests = JSON.parse(sentence.dataset.rests);
      const lost = rests.filter(gone).length;
      const holds = JSON.parse(sentence.dataset.holds);
      const out = holds.some(gone);
      sentence.querySelector(".body").hidden = out;
      sentence.querySelector(".withdrawn").hidden = !out;
      sentence.querySelector(".weak").hidden = out || lost === 0;
    }
    for (const card of all(".card")) {
      const out = gone(card.dataset.card);
      card.classList.toggle("gone", out);
      const button = card.querySelector(".hide");
      button.textContent = out ? "Show" : "Hide";
      button.setAttribute("aria-pressed", String(out));
    }
    for (const cite of all("button.cite")) cite.setAttribute("aria-pressed", String(gone(cite.dataset.card)));
    for (const label of all(".legend label")) label.classList.toggle("gone", gone(label.dataset.of));
    const restore = document.getElementById("restore");
    restore.hidden = hidden.size === 0;
    redraw();
  };
  const show = (card) => { hidden.delete(card); hidden.delete(data.parents[card]); };
  const toggle = (card) => { if (gone(card)) show(card); else hidden.add(card); apply(); };

  for (const cite of all("button.cite")) {
    cite.addEventListener("mouseenter", () => light(cite.dataset.card));
    cite.addEventListener("focus", () => light(cite.dataset.card));
    cite.addEventListener("mouseleave", () => light(null));
    cite.addEventListener("blur", () => light(null));
    cite.addEventListener("click", (event) => {
      toggle(cite.dataset.card);
      if (event.detail === 0 && cite.offsetParent === null) cite.closest(".sentence").querySelector(".undo").focus(); // from the keyboard
    });
  }
  for (const card of all(".card")) {
    card.addEventListener("mouseenter", () => light(card.dataset.card));
    card.addEventListener("focus", () => light(card.dataset.card));
    card.addEventListener("mouseleave", () => light(null));
    card.querySelector(".hide").addEventListener("click", () => toggle(card.dataset.card));
  }
  for (const undo of all(".undo")) undo.addEventListener("click", (event) => {
    JSON.parse(undo.closest(".sentence").dataset.rests).forEach(show);
    apply();
    if (event.detail === 0) undo.closest(".sentence").querySelector("button.cite").focus();
  });
  document.getElementById("restore").addEventListener("click", () => { hidden.clear(); apply(); });

  const form = document.getElementById("overlays");
  if (form && spots.length) {
    form.hidden = false;
    const on = document.getElementById("overlays-on"), opacity = document.getElementById("opacity");
    on.addEventListener("change", () => { state.on = on.checked; redraw(); });
    opacity.addEventListener("input", () => {
      state.opacity = opacity.value / 100;
      document.getElementById("opacity-out").textContent = `${opacity.value}%`;
      redraw();
    });
    const legend = document.getElementById("legend");
    for (const spot of spots) {
      const label = document.createElement("label"), box = document.createElement("input"), swatch = document.createElement("i");
      label.dataset.of = spot.card;
      box.type = "checkbox";
      box.checked = true;
      swatch.style.background = spot.kind === "heatmap" ? "linear-gradient(90deg, #65156e, #f57d15, #fcffa4)" : spot.colour;
      box.addEventListener("change", () => { if (box.checked) switchedOff.delete(spot.finding); else switchedOff.add(spot.finding); redraw(); });
      label.append(box, swatch, document.createTextNode(spot.name));
      legend.append(label);
    }
    document.addEventListener("keydown", (event) => {
      if (event.key !== "o" || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input[type=text], textarea")) return;
      on.checked = !on.checked;
      state.on = on.checked;
      redraw();
    });
  }
})();
