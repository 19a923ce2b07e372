"use strict";
(async () => {
  const PAGE = 50;
  const byId = (id) => document.getElementById(id);
  const make = (tag, text, className) => {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
  };

  // every text enters the page as text, never as markup
  async function unpacked() {
    const block = byId("report-data");
    if (block.type === "application/json") return JSON.parse(block.textContent);
    const bytes = Uint8Array.from(atob(block.textContent), (character) => character.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return JSON.parse(await new Response(stream).text());
  }

  function duration(seconds) {
    if (seconds < 0.01) return seconds ? "under 0.01 s" : "0 s";
    if (seconds < 10) return `${significant(seconds, 2)} s`;
    const whole = Math.round(seconds);
    for (const [large, size, small, part] of [["d", 86400, "h", 3600], ["h", 3600, "min", 60], ["min", 60, "s", 1]]) {
      if (whole >= size) {
        const rest = Math.floor((whole % size) / part);
        return `${Math.floor(whole / size)} ${large}` + (rest ? ` ${rest} ${small}` : "");
      }
    }
    return `${whole} s`;
  }

  const significant = (value, digits) => {
    const size = Math.abs(value);
    return size !== 0 && (size < 1e-4 || size >= 10 ** digits)
      ? value.toExponential(digits - 1).replace(/\.?0+e/, "e") : String(Number(value.toPrecision(digits)));
  };

  function shown(value, style) {
    if (value === null || value === undefined) return "–";
    if (typeof value === "string") return value;
    if (style === "count") return value.toLocaleString("en-US", { maximumFractionDigits: 0 });
    if (style === "percent") return `${(100 * value).toFixed(1)} %`;
    if (style === "fixed") return value.toFixed(2);
    if (style === "seconds") return duration(value);
    if (style === "bytes") return value >= 1024 ? `${(value / 1024).toFixed(1)} GB` : `${value.toFixed(0)} MB`;
    if (style === "short") {
      for (const [unit, size] of [["G", 1e9], ["M", 1e6], ["k", 1e3]]) {
        if (Math.abs(value) >= size) return `${significant(value / size, 3)} ${unit}`;
      }
    }
    return significant(value, 4);
  }

  function contents() {
    for (const section of document.querySelectorAll("main section[id]")) {
      const heading = section.querySelector("h2");
      if (!heading) continue;
      const link = make("a", heading.textContent);
      link.href = `#${section.id}`;
      const item = make("li");
      item.append(link);
      byId("contents").append(item);
    }
  }

  function themes() {
    const button = byId("theme");
    const names = { "": "automatic", light: "light", dark: "dark" };
    const order = Object.keys(names);
    let current = 0;
    button.hidden = false;
    button.addEventListener("click", () => {
      current = (current + 1) % order.length;
      if (order[current]) document.documentElement.dataset.theme = order[current];
      else delete document.documentElement.dataset.theme;
      button.textContent = `Colours: ${names[order[current]]}`;
    });
  }

  function table(data) {
    const { columns, noun, of } = data;
    const count = columns[0].values.length;
    const node = byId("table");
    const status = columns.find((column) => column.name === "status" || column.name === "state");
    let order = [...Array(count).keys()];
    let kept = order;
    let start = 0;
    let sorted = columns.findIndex((column) => column.name === data.sort);
    let descending = data.descending;

    const heads = columns.map((column, index) => {
      const head = make("th", undefined, column.style === "text" ? "text" : "number");
      head.scope = "col";
      const button = make("button", column.label);
      button.type = "button";
      button.addEventListener("click", () => {
        descending = sorted === index ? !descending : column.style !== "text" && column.name !== "number";
        sorted = index;
        arrange();
      });
      head.append(button);
      return head;
    });
    const row = make("tr");
    row.append(...heads);
    node.tHead.append(row);

    if (status) {
      for (const name of [...new Set(status.values)].sort()) {
        const option = make("option", name);
        option.value = name;
        byId("status").append(option);
      }
    } else byId("status").parentElement.hidden = true;

    // what a row shows, in lower case; made when it is first searched
    let texts = null;
    const searched = () => {
      texts ??= [...Array(count).keys()].map((index) =>
        columns.map((column) => shown(column.values[index], column.style)).join("\n").toLowerCase());
      return texts;
    };

    function arrange() {
      heads.forEach((head, index) => {
        if (index === sorted) head.setAttribute("aria-sort", descending ? "descending" : "ascending");
        else head.removeAttribute("aria-sort");
      });
      if (sorted >= 0) {
        const { values } = columns[sorted];
        const sign = descending ? -1 : 1;
        order = [...Array(count).keys()].sort((a, b) => {
          const [one, other] = [values[a], values[b]];
          if (one === other) return a - b;
          if (one === null) return 1;
          if (other === null) return -1;
          return (one < other ? -1 : 1) * sign;
        });
      }
      keep();
    }

    function keep() {
      const wanted = byId("filter").value.trim().toLowerCase();
      const state = byId("status").value;
      const all = wanted ? searched() : null;
      kept = order.filter((index) =>
        (!all || all[index].includes(wanted)) && (!state || status.values[index] === state));
      start = 0;
      draw();
    }

    function draw() {
      const rows = kept.slice(start, start + PAGE).map((index) => {
        const line = make("tr");
        const key = columns[0].values[index];
        columns.forEach((column, position) => {
          const text = shown(column.values[index], column.style);
          const cell = make(position ? "td" : "th", text, column.style === "text" ? "text" : "number");
          if (text.length > 60) cell.classList.add("long");
          if (!position) cell.scope = "row";
          cell.dataset.fact = `rows.${key}.${column.name}`;
          line.append(cell);
        });
        return line;
      });
      node.tBodies[0].replaceChildren(...rows);
      const last = Math.min(start + PAGE, kept.length);
      const whole = of > count ? `the best ${count.toLocaleString("en-US")} of ${of.toLocaleString("en-US")}` : count.toLocaleString("en-US");
      byId("count").textContent = kept.length
        ? `${(start + 1).toLocaleString("en-US")} to ${last.toLocaleString("en-US")} of ${kept.length.toLocaleString("en-US")} ${noun}s kept, of ${whole}`
        : `no ${noun} is kept, of ${whole}`;
      byId("previous").disabled = start === 0;
      byId("next").disabled = last >= kept.length;
    }

    byId("filter").addEventListener("input", keep);
    byId("status").addEventListener("change", keep);
    byId("previous").addEventListener("click", () => { start = Math.max(0, start - PAGE); draw(); });
    byId("next").addEventListener("click", () => { start += PAGE; draw(); });
    document.querySelector(".controls").hidden = false;
    document.querySelector(".pages").hidden = count <= PAGE;
    arrange();
  }

  function slider({ classes, cells }) {
    const input = byId("slider");
    const rows = [...byId("by-class").tBodies[0].rows];
    const total = cells.reduce((sum, cell) => sum + cell[3], 0);
    function update() {
      const threshold = Number(input.value);
      const answered = classes.map(() => 0);
      const right = classes.map(() => 0);
      const all = classes.map(() => 0);
      for (const [label, predicted, hundredths, count] of cells) {
        all[label] += count;
        if (hundredths < threshold) continue;
        answered[predicted] += count;
        if (label === predicted) right[label] += count;
      }
      const given = answered.reduce((a, b) => a + b, 0);
      const good = right.reduce((a, b) => a + b, 0);
      rows.forEach((row, index) => {
        row.cells[2].textContent = answered[index] ? shown(right[index] / answered[index], "percent") : "–";
        row.cells[3].textContent = all[index] ? shown(right[index] / all[index], "percent") : "–";
      });
      byId("threshold-value").textContent = `${threshold} %`;
      input.setAttribute("aria-valuetext", `${threshold} percent`);
      byId("threshold-summary").textContent =
        `${given.toLocaleString("en-US")} of ${total.toLocaleString("en-US")} pictures get an answer, ` +
        `${(total - given).toLocaleString("en-US")} are “none of these”. ` +
        (given ? `Of the answers, ${shown(good / given, "percent")} are right.` : "");
    }
    input.addEventListener("input", update);
    document.querySelector(".slider").hidden = false;
    update();
  }

  contents();
  themes();
  const data = await unpacked();
  if (data.table && byId("table")) table(data.table);
  if (data.scores && byId("slider")) slider(data.scores);
  document.documentElement.dataset.ready = "yes";
})();
