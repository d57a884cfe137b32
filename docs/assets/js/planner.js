// Plans a run: memory, time and command of every method. The page's data has the terms of the
// formula (tools/site/planner.py), each a factor times a product of letters.

import { drive, make, read, shown, writeForm } from "./state.js";

const GB = 1e9;
const PATTERN = "2:4";
const SMALL_PART = 0.1; // parts of the memory below this share are not named
const SHOWN = 6; // methods that are shown at first
const COMPARABLE = 10; // largest distance of a share at which speed was measured, in per cent

const data = JSON.parse(document.querySelector("#atlas-plan-data").textContent);
const form = document.querySelector(".atlas-request");
const table = document.querySelector("#atlas-plans");
const rows = new Map([...table.tBodies[0].rows].map(row => [row.dataset.slug, row]));
const fit = document.querySelector("#atlas-planned");
const invalid = document.querySelector(".atlas-planned__invalid");
const excluded = document.querySelector(".atlas-unplanned");
const more = document.querySelector(".atlas-plans__more");
const inputs = [...form.querySelectorAll("input")];
const fields = [...new Set(inputs.map(field => field.name))];
const numbers = new Set(inputs.filter(field => field.type === "number").map(field => field.name));

const value = ([, , factor, product], letters) =>
  [...product].reduce((all, letter) => all * letters[letter], factor);
const sum = values => values.reduce((all, one) => all + one, 0);
const minimum = (list, key) => list.reduce((best, one) => key(one) < key(best) ? one : best);

/** The values of all letters of the formula. */
function lettersOf(asked, placement, method) {
  const near = minimum(data.shapes, one => Math.abs(Math.log(one.billions / asked.model)));
  const scale = Math.cbrt(asked.model / near.billions);
  const [L, d, c, a, k] = [..."Ldcak"].map(letter => scale * near[letter]);
  const [B, e] = [2 * d * (a + k) + 3 * d * c, near.tables * near.v * d];
  const { n, t, u } = data.texts[asked.calibration];
  const [b, s] = [placement.bytes, 1 - asked.share / 100];
  const q = Math.min(n, method.backward ?? n);
  return { L, d, c, a, k, v: near.v, B, e, W: b * (L * B + e), b, s, n, q, t, u, m: 1 };
}

/** Peak memory by place and time of a run with one placement of the weights. */
function estimateAt(placement, asked, method) {
  const device = data.devices[asked.device];
  const letters = lettersOf(asked, placement, method);
  const phases = method.phases.map(phase => {
    const used = { host: {}, device: {}, mapped: {} };
    for (const term of [...placement.terms, ...phase]) {
      const place = used[device.shared ? "device" : term[1]];
      place[term[0]] = (place[term[0]] ?? 0) + value(term, letters);
    }
    return used;
  });
  const total = (used, ...places) => sum(places.flatMap(place => Object.values(used[place])));
  const largest = minimum(phases, used => -total(used, "device"));
  const places = placement.whole ? ["host"] : ["host", "mapped"];
  let seconds = sum(method.work.map(term => value(term, letters))) / device.rate;
  if (!placement.whole) seconds += method.moves * letters.W / data.bus;
  return {
    placement, seconds, parts: largest.device, peak: total(largest, "device"),
    host: device.shared ? 0 : Math.max(letters.W, ...phases.map(used => total(used, ...places))),
  };
}

/** The first placement that fits into memory, or else the last possible one. */
function estimate(asked, method) {
  const possible = data.devices[asked.device].placements
    .filter(one => one.whole || method.movable)
    .map(one => estimateAt(one, asked, method));
  return possible.find(one => one.peak <= asked.memory * GB) ?? possible.at(-1);
}

const gigabytes = size => `${(size / GB).toFixed(size < 100 * GB ? 1 : 0)} GB`;
function duration(seconds) {
  if (seconds < 90) return `${seconds.toFixed(0)} s`;
  return seconds < 5400 ? `${(seconds / 60).toFixed(0)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

/** The share measured nearest to the one asked for. */
function nearest(measured, asked) {
  const known = Object.keys(measured)
    .filter(share => (share === PATTERN) === (asked.removes === PATTERN))
    .map(share => ({ share, distance: share === PATTERN ? 0 : Math.abs(share - asked.share) }));
  return known.sort((a, b) => a.distance - b.distance || (a.share < b.share ? -1 : 1))[0];
}

function mismatch(asked, method, [gain, text]) {
  if (!method.phases) return `not measured with the protocol ${data.protocol}, from which the estimates come`;
  if (asked.removes === "units" && !method.units) return "sets single weights to zero";
  if (asked.removes === "weights" && method.units) return "removes whole units";
  if (asked.removes === PATTERN && !method.patterns) return "does not support 2:4";
  return gain === null ? text : "";
}

function tooMuch(asked, { peak, parts, seconds }) {
  const found = [];
  if (peak > asked.memory * GB) {
    const named = Object.entries(parts).filter(([, size]) => size >= SMALL_PART * peak)
      .sort(([, a], [, b]) => b - a).map(([label, size]) => `${label} ${gigabytes(size)}`);
    found.push(`needs ${gigabytes(peak)} (${named.join(", ")})`);
  }
  if (seconds > asked.hours * 3600) found.push(`takes ${duration(seconds)}`);
  return found.join("; ");
}

function commandOf(slug, method, asked, placement) {
  const share = asked.removes === PATTERN
    ? `--pattern ${PATTERN}` : `--sparsity ${Number((asked.share / 100).toFixed(6))}`;
  return [
    `atlas run ${slug} --model my-model ${share} --protocol ${asked.calibration}`,
    placement.options,
    ...(method.result === "prompt" ? [] : ["--save pruned"]),
  ].join(" ");
}

function plan(slug, asked) {
  const method = data.methods[slug];
  const verdict = data.verdicts[asked.removes === PATTERN ? PATTERN : method.result][asked.target];
  const near = nearest(method.losses, asked);
  const [ratio, text, collapsed, kind, note] = near ? method.losses[near.share] : [Infinity, "", false, Infinity, ""];
  const unit = share => share === PATTERN ? share : `${share}\u00a0%`;
  const timed = asked.target === "gguf" ? undefined : nearest(method.speeds ?? {}, asked);
  const speed = timed?.distance <= COMPARABLE ? timed : undefined;
  const result = {
    slug,
    rank: [!verdict[0], collapsed, kind, near?.distance ?? Infinity, ratio],
    loss: near ? `${text} × dense at ${unit(near.share)}` : "",
    note,
    verdict: verdict[1],
    speed: speed ? `Decoding measured at ${method.speeds[speed.share]} × dense at ${unit(speed.share)} on a CPU.` : "",
    reason: mismatch(asked, method, verdict),
  };
  if (result.reason) return result;
  const run = estimate(asked, method);
  return {
    ...result,
    reason: tooMuch(asked, run),
    memory: gigabytes(run.peak),
    place: run.placement.about + (run.host ? `; ${gigabytes(run.host)} of main memory` : ""),
    time: duration(run.seconds),
    command: commandOf(slug, method, asked, run.placement),
  };
}

function compare(one, other) {
  const place = one.rank.findIndex((part, i) => part !== other.rank[i]);
  return place < 0 ? 0 : one.rank[place] - other.rank[place] || 0;
}

function answers() {
  return Object.fromEntries(fields.map(name => [
    name, numbers.has(name) ? Number(form.elements[name].value) : form.elements[name].value,
  ]));
}

/** Without a plan, say which numbers are possible. */
function refuse(wrong) {
  fit.textContent = "–";
  invalid.textContent = wrong.map(field =>
    `. ${field.labels[0].textContent}: enter a number from ${field.min} to ${field.max}`).join("");
  table.parentElement.hidden = more.hidden = excluded.hidden = true;
}

/** The share of a pattern is fixed. */
const fix = () => { form.elements.share.disabled = form.elements.removes.value === PATTERN; };

function show() {
  fix();
  const asked = answers();
  if (asked.removes === PATTERN) asked.share = 50;
  const plans = Object.keys(data.methods).map(slug => plan(slug, asked));
  const fitting = plans.filter(one => !one.reason).sort(compare);
  for (const row of rows.values()) row.hidden = true;
  for (const one of fitting) {
    const row = rows.get(one.slug);
    row.hidden = false;
    for (const part of ["loss", "note", "memory", "place", "time", "verdict", "speed", "command"]) {
      row.querySelector(`[data-part="${part}"]`).textContent = one[part];
    }
    row.querySelector("button").dataset.clipboardText = one.command;
    table.tBodies[0].append(row);
  }
  const hidden = [...rows.values()].filter(row => row.hidden);
  table.tBodies[0].append(...hidden);
  const out = plans.filter(one => one.reason);
  fit.textContent = fitting.length;
  invalid.textContent = "";
  table.parentElement.hidden = false;
  more.hidden = fitting.length <= SHOWN || table.classList.contains("is-all");
  more.firstElementChild.textContent = `Show all ${fitting.length} methods`;
  excluded.hidden = !out.length;
  const groups = new Map(out.map(one => [one.reason, []]));
  for (const one of out) groups.get(one.reason).push(one);
  excluded.querySelector("ul").replaceChildren(...[...groups].map(([reason, those]) => {
    const links = those.flatMap(({ slug }, i) => {
      const link = rows.get(slug).querySelector("a");
      return [i ? ", " : "", make("a", { href: link.getAttribute("href") }, link.textContent)];
    });
    return make("li", {}, ...links, ": ", make("span", {}, reason));
  }));
  shown();
}

/** Fill in the form from the address; unknown values are ignored. */
function restore() {
  const state = read();
  empty();
  for (const name of fields) {
    const given = state.get(name);
    const field = form.elements[name];
    if (given === null) continue;
    if (!numbers.has(name)) {
      if ([...field].some(radio => radio.value === given)) field.value = given;
      continue;
    }
    field.value = given;
    if (!field.value || !field.checkValidity()) field.value = field.defaultValue;
  }
  show();
}

function empty() {
  for (const field of inputs) {
    if (field.type === "radio") field.checked = field.defaultChecked;
    else field.value = field.defaultValue;
  }
}

const unchanged = () => inputs.every(field =>
  field.type === "radio" ? field.checked === field.defaultChecked : field.value === field.defaultValue);

/** Write the request into the address, beside the state of the rest of the page. */
function change({ typed = false } = {}) {
  fix();
  const wrong = inputs.filter(field => !field.checkValidity());
  if (wrong.length) {
    refuse(wrong);
    return;
  }
  const given = Object.entries(answers()).filter(([, one]) => one !== "");
  writeForm(form, unchanged() ? {} : Object.fromEntries(given), { typed });
  show();
}

drive(form, { change: () => change(), empty, restore });
form.addEventListener("input", event => {
  if (event.target.type === "number") change({ typed: true });
});
more.firstElementChild.addEventListener("click", () => {
  table.classList.add("is-all");
  show();
});

for (const link of document.querySelectorAll('a[href="#estimate"]')) {
  link.addEventListener("click", () => { document.querySelector("#estimate").open = true; });
}

form.hidden = false;
restore();
