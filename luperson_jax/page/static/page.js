// Everything works without this script; it adds dropping, pasting, counting and the walk on the map.
"use strict";

const all = (selector, where = document) => [...where.querySelectorAll(selector)];

for (const form of all("[data-drop]")) {
  const input = form.querySelector("input[type=file]");
  const problem = form.querySelector(".problem");
  const check = () => {
    const file = input.files[0];
    let words = "";
    if (file && file.size > Number(form.dataset.most)) {
      words = `${file.name} has ${(file.size / 2 ** 20).toFixed(1)} MiB; at most ${form.dataset.most >> 20} are taken.`;
    } else if (file && !file.type.startsWith("image/")) {
      words = `${file.name} is no picture.`;
    }
    problem.textContent = words;
    problem.hidden = !words;
    return file && !words;
  };
  const take = (files) => {
    if (!files.length) return;
    input.files = files;
    if (check()) form.requestSubmit();
  };
  input.addEventListener("change", check);
  form.addEventListener("submit", (event) => { if (!check()) event.preventDefault(); });
  for (const kind of ["dragover", "dragenter"]) {
    document.addEventListener(kind, (event) => { event.preventDefault(); form.classList.add("over"); });
  }
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) form.classList.remove("over"); });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    form.classList.remove("over");
    take(event.dataTransfer.files);
  });
  document.addEventListener("paste", (event) => take(event.clipboardData.files));
}

if (matchMedia("(max-width: 52rem)").matches) {
  for (const filters of all("aside .filters")) filters.open = false; // results come first there
}

for (const form of all("[data-choose]")) {
  const counted = form.querySelector("[data-counted]");
  const first = counted.textContent;
  const buttons = all(".actions button", form);
  const count = () => {
    const num = all("input[name=id]:checked", form).length;
    counted.textContent = num ? `${num} chosen:` : first;
    for (const button of buttons) button.disabled = !num;
  };
  form.addEventListener("change", count);
  count();
}

const threshold = document.querySelector("[data-threshold]");
if (threshold) {
  const said = document.querySelector("[data-said]");
  const cards = all("[data-distance]");
  threshold.addEventListener("input", () => {
    const limit = threshold.value === "" ? NaN : Number(threshold.value);
    let num = 0;
    for (const card of cards) {
      const verdict = card.querySelector("[data-verdict]");
      const same = Number(card.dataset.distance) <= limit;
      const known = !Number.isNaN(limit);
      num += same;
      card.classList.toggle("is-same", known && same);
      card.classList.toggle("is-different", known && !same);
      card.classList.remove("is-unsure");
      verdict.className = `verdict ${known ? (same ? "same" : "different") : ""}`;
      verdict.textContent = known ? (same ? "✓ same" : "✗ different") : "";
      const mark = card.querySelector(".mark");
      if (mark) mark.setAttribute("x", known ? (100 * limit) / Number(card.dataset.scale) - 0.5 : -9);
    }
    said.textContent = Number.isNaN(limit) ? "Distances only." : `${num} of ${cards.length} up to the threshold`;
  });
}

const map = document.getElementById("map");
if (map) {
  const circles = all("circle", map);
  const peek = document.querySelector(".peek");
  const at = (circle) => [Number(circle.getAttribute("cx")), Number(circle.getAttribute("cy"))];
  let here = null;
  const show = (circle) => {
    if (circle === here) return;
    if (here) here.classList.remove("here");
    here = circle;
    here.classList.add("here");
    const image = new Image();
    image.src = `/picture/${circle.dataset.number}`;
    image.alt = "";
    const words = document.createElement("p");
    words.textContent = circle.parentNode.getAttribute("aria-label");
    const link = document.createElement("a");
    link.href = `/search?id=${circle.dataset.number}`;
    link.textContent = "Search with it";
    const box = document.createElement("div");
    box.append(words, link);
    peek.replaceChildren(image, box);
  };
  const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  map.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && here) location.href = `/search?id=${here.dataset.number}`;
    const way = ways[event.key];
    if (!way || !circles.length) return;
    event.preventDefault();
    if (!here) return show(circles[0]);
    const [x, y] = at(here);
    let best = null, least = Infinity;
    for (const circle of circles) {
      const [dx, dy] = [at(circle)[0] - x, at(circle)[1] - y];
      const along = dx * way[0] + dy * way[1];
      const cost = along + 3 * Math.abs(dx * way[1] + dy * way[0]); // straight ahead first
      if (along > 0.1 && cost < least) [best, least] = [circle, cost];
    }
    if (best) show(best);
  });
  map.addEventListener("pointerover", (event) => { if (event.target.dataset.number) show(event.target); });
}
