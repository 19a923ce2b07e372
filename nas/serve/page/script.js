"use strict";

// Names of files and classes reach the page only as text, never as HTML.

const MAX_FILES = 500;
const SMALL_PICTURE = 64; // pixels; a smaller one is enlarged without blurring
const byId = (id) => document.getElementById(id);
const results = byId("results");
const waiting = [];
let model = null;
let working = false;

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

const percent = (probability) => `${(100 * probability).toFixed(1)}\u00a0%`;
const pictures = (number) => `${number} ${number === 1 ? "picture" : "pictures"}`;

async function readModel() {
  const answer = await fetch("model.json");
  model = await answer.json();
  byId("name").textContent = model.name;
  document.title = `${model.name}: label pictures`;
  const facts = [];
  if (model.test_accuracy !== null) facts.push(`test accuracy ${model.test_accuracy.toFixed(4)}`);
  facts.push(
    model.threshold > 0
      ? `“none of these” below ${percent(model.threshold)}`
      : "every picture gets one of the classes",
  );
  byId("about").textContent = facts.join(" · ");
  const classes = byId("classes");
  classes.querySelector("summary").textContent = `${model.classes.length} ${model.classes.length === 1 ? "class" : "classes"}`;
  classes.querySelector("p").textContent = model.classes.join(", ");
  classes.hidden = false;
  byId("privacy").textContent = model.is_local
    ? "Pictures stay on this computer and are not stored."
    : `Pictures are sent to ${location.host} and are not stored there.`;
}

function card(file) {
  const made = element("li", "card");
  const preview = element("div", "preview");
  const image = element("img");
  image.alt = "";
  image.src = URL.createObjectURL(file);
  image.addEventListener("load", () => {
    if (Math.max(image.naturalWidth, image.naturalHeight) <= SMALL_PICTURE) image.classList.add("small");
  });
  image.addEventListener("error", () => {
    URL.revokeObjectURL(image.src);
    preview.replaceChildren("no preview");
  });
  preview.append(image);
  const said = element("div", "said");
  said.append(element("p", "file", file.name), element("p", "why", "waiting …"));
  made.append(preview, said);
  return made;
}

function show(made, answer) {
  const said = made.querySelector(".said");
  said.querySelector(".why").remove();
  if (answer.error) {
    said.append(element("p", "error", answer.error));
    return;
  }
  said.append(element("p", answer.is_none ? "label none" : "label", answer.label));
  if (answer.is_none) {
    said.append(element("p", "why", `${answer.top[0].class} is likeliest, but below ${percent(model.threshold)}`));
  }
  const bars = element("ul", "bars");
  for (const { class: name, probability } of answer.top) {
    const row = element("li");
    const label = element("span", "class", name);
    label.title = name;
    const track = element("span", "track");
    const fill = element("div", "fill");
    fill.style.width = `${100 * probability}%`;
    track.append(fill);
    row.append(label, track, element("span", "percent", percent(probability)));
    bars.append(row);
  }
  said.append(bars);
}

async function ask(file) {
  if (file.size > model.max_bytes) {
    return { error: `This file has ${Math.ceil(file.size / 2 ** 20)} MB; expected at most ${model.max_bytes / 2 ** 20} MB` };
  }
  let data;
  try {
    data = await file.arrayBuffer();
  } catch {
    return { error: "This file cannot be read by the browser" };
  }
  try {
    const answer = await fetch("predict", {
      method: "POST",
      body: data,
      headers: { "Content-Type": "application/octet-stream" },
    });
    return answer.ok ? await answer.json() : { error: (await answer.text()).trim() };
  } catch {
    return { error: "The server does not answer; is nas serve still running?" };
  }
}

function report(left) {
  const done = results.querySelectorAll(".label").length;
  const failed = results.querySelectorAll(".card .error").length;
  const parts = [];
  if (left) parts.push(`${pictures(left)} left`);
  if (done || !failed) parts.push(`${pictures(done)} labelled`);
  if (failed) parts.push(`${failed} could not be read`);
  byId("status").textContent = parts.join(", ");
  byId("clear").hidden = !results.children.length;
}

async function work() {
  if (working) return;
  working = true;
  while (waiting.length) {
    const [file, made] = waiting.shift();
    made.querySelector(".why").textContent = "reading …";
    const answer = await ask(file);
    if (made.isConnected) {
      show(made, answer);
      report(waiting.length);
    }
  }
  working = false;
}

function add(files) {
  if (!files.length || !model) return;
  const taken = files.slice(0, MAX_FILES);
  const cards = taken.map(card);
  results.prepend(...cards); // the newest first, in their order
  waiting.push(...taken.map((file, index) => [file, cards[index]]));
  report(waiting.length);
  if (files.length > MAX_FILES) {
    const more = element("li", "error", `${files.length - MAX_FILES} more were left out: nas predict labels a whole folder`);
    results.prepend(more);
  }
  work();
}

function removeAll() {
  for (const image of results.querySelectorAll("img")) URL.revokeObjectURL(image.src);
  waiting.length = 0;
  results.replaceChildren();
  byId("status").textContent = "";
  byId("clear").hidden = true;
  byId("choose").focus();
}

const isPicture = (name) => !name.startsWith(".") && model.suffixes.some((suffix) => name.toLowerCase().endsWith(suffix));

// The files of a dropped folder and its folders, as far as their names are those of pictures.
async function filesOf(entry) {
  if (entry.isFile) return [await new Promise((resolve, reject) => entry.file(resolve, reject))];
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    const entries = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!entries.length) return found;
    for (const inside of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
      if (inside.isDirectory ? !inside.name.startsWith(".") : isPicture(inside.name)) found.push(...(await filesOf(inside)));
    }
  }
}

async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const files = [...transfer.files];
  if (!entries.some((entry) => entry.isDirectory)) return files;
  try {
    return (await Promise.all(entries.map(filesOf))).flat();
  } catch {
    byId("status").textContent = "This folder cannot be read by the browser";
    return [];
  }
}

const drop = byId("drop");
let depth = 0; // of elements that a dragged file is over

document.addEventListener("dragenter", (event) => {
  event.preventDefault();
  depth += 1;
  drop.classList.add("over");
});
document.addEventListener("dragleave", () => {
  depth -= 1;
  if (depth <= 0) drop.classList.remove("over");
});
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", async (event) => {
  event.preventDefault();
  depth = 0;
  drop.classList.remove("over");
  const files = await dropped(event.dataTransfer);
  if (files.length) add(files);
  else if (!byId("status").textContent) byId("status").textContent = "There was no picture in what was dropped";
});
document.addEventListener("paste", (event) => add([...event.clipboardData.files]));
byId("choose").addEventListener("change", (event) => {
  add([...event.target.files]);
  event.target.value = ""; // the same file may be chosen again
});
byId("clear").addEventListener("click", removeAll);
readModel();
