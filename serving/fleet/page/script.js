"use strict";
// Asks the supervisor once a second, more seldom while it does not answer, and draws what it said.

const WINDOW = 120, LEFT = 20;  // seconds that are drawn, and for which one that left is shown
const INTERVAL = 1000, SLOWEST = 15000, PATIENCE = 4000;  // milliseconds
const NONE = "–";
const part = (id) => document.getElementById(id);
const measured = [];
const left = new Map();
let token = "", wait = INTERVAL, heard = null, known = new Map();

const number = (value, digits = 3) => value === 0 ? "0" : value.toPrecision(digits > 0 && value >= 10 ** digits ? Math.ceil(Math.log10(value)) : digits).replace(/(\.\d*?)0+$/, "$1").replace(/\.$/, "");
const duration = (seconds) => seconds === null ? NONE : seconds >= 1 ? `${number(seconds)} s` : seconds > 0 && seconds < 1e-4 ? "< 0.1 ms" : `${number(1000 * seconds)} ms`;
const memory = (bytes) => bytes >= 1e9 ? `${number(bytes / 1e9)} GB` : `${Math.round(bytes / 1e6)} MB`;

function age(seconds) {
  const [size, unit] = seconds < 120 ? [1, "s"] : seconds < 7200 ? [60, "min"] : seconds < 172800 ? [3600, "h"] : [86400, "d"];
  return `${Math.floor(seconds / size)} ${unit}`;
}

function element(name, text = "", classes = "") {
  const made = document.createElement(name);
  made.textContent = text;
  if (classes) made.className = classes;
  return made;
}

function drawn(name, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

// A path through what was measured; where nothing was, it is broken. `steps`: a number keeps its value until the next.
function line(points, value, top, now, steps) {
  let path = "", open = false, before = 0;
  for (const point of points) {
    const at = value(point);
    if (at === null) { open = false; continue; }
    const x = (240 * (1 - (now - point.time) / WINDOW)).toFixed(1), y = (58 - 54 * at / top).toFixed(1);
    path += !open ? `M${x} ${y}` : steps ? `L${x} ${before}L${x} ${y}` : `L${x} ${y}`;
    open = true;
    before = y;
  }
  return path;
}

const TILES = [
  { name: "Replicas", value: (p) => p.serving, wanted: (p) => p.desired, show: String, steps: true,
    more: (p) => `of ${p.desired} wanted` + (p.ready > p.serving ? `, ${p.ready - p.serving} spare` : "") },
  { name: "Predictions a second", value: (p) => p.rate, show: (v) => number(v), more: (p, top) => `peak ${number(top)} in 2 min` },
  { name: "p99, slowest replica", value: (p) => p.p99, show: duration, more: (p, top) => `peak ${duration(top)} in 2 min` },
  { name: "Time in the queue", value: (p) => p.queue, show: duration, more: (p, top) => `peak ${duration(top)} in 2 min` },
];

function tile({ name, value, wanted, show, steps, more }, points) {
  const last = points[points.length - 1], now = last.time;
  const seen = points.map(value).filter((each) => each !== null);
  const most = Math.max(0, ...seen), top = Math.max(most, ...(wanted ? points.map(wanted) : [])) || 1;
  const box = element("div", "", "tile");
  const at = value(last);
  const chart = drawn("svg", { class: "chart", viewBox: "0 0 240 60", preserveAspectRatio: "none", role: "img",
    "aria-label": `${name} over two minutes, now ${at === null ? "nothing" : show(at)}` });
  chart.append(drawn("path", { class: "base", d: "M0 58L240 58" }));
  const path = line(points, value, top, now, steps);
  for (const piece of path.split("M").slice(1)) {
    const xs = piece.split("L").map((pair) => pair.split(" ")[0]);
    chart.append(drawn("path", { class: "area", d: `M${piece}L${xs[xs.length - 1]} 58L${xs[0]} 58Z` }));
  }
  if (wanted) chart.append(drawn("path", { class: "wanted", d: line(points, wanted, top, now, true) }));
  chart.append(drawn("path", { d: path }));
  box.append(element("div", name, "name"), element("div", at === null ? NONE : show(at), "value"), chart,
    element("div", seen.length ? more(last, most) : "not asked in 2 min", "more"));
  return box;
}

function point(said) {
  const figures = said.replicas.map((each) => each.figures).filter((each) => each !== null);
  const sum = (name) => figures.reduce((total, each) => total + each[name], 0);
  const p99 = figures.map((each) => each.p99_seconds).filter((each) => each !== null);
  const ready = said.replicas.filter((each) => each.phase === "ready");
  const busy = ready.filter((each) => each.serving);
  const waits = busy.filter((each) => each.figures !== null).map((each) => each.figures.waiting_seconds);
  return {
    time: said.time, desired: said.desired, ready: ready.length, serving: busy.length, rate: sum("requests_per_second"),
    p99: p99.length ? Math.max(...p99) : null,
    queue: waits.length ? waits.reduce((total, each) => total + each, 0) / waits.length : null,
  };
}

function cell(name, text) {
  const made = element("td", text);
  made.dataset.name = name;
  return made;
}

function row(replica, gone) {
  const made = element("tr", "", gone ? "gone" : ""), head = element("th", replica.name), state = element("td", "", "state");
  head.scope = "row";
  made.dataset.replica = replica.name;
  made.dataset.state = gone ? "gone" : replica.phase;
  made.append(head, state);
  if (gone) {
    state.colSpan = 9;
    state.append(element("span", "gone", "mark"));
    return made;
  }
  const look = replica.ill ? "ill" : replica.phase !== "ready" ? "coming" : replica.serving ? "well" : "";
  state.append(element("span", replica.phase === "ready" && !replica.serving ? "ready, spare" : replica.phase, `mark ${look}`));
  for (const why of [replica.ill, replica.retiring]) if (why) state.append(element("span", why, "why"));
  const figures = replica.figures, of = (text) => figures === null ? NONE : text(figures);
  made.append(
    cell("Cores", replica.cores.length ? replica.cores.join(", ") : "all"),
    cell("Age", age(replica.seconds)),
    cell("Weight", replica.weight === null ? NONE : number(replica.weight)),
    cell("Rate", of((f) => `${number(f.requests_per_second)}/s`)),
    cell("p99", of((f) => duration(f.p99_seconds))),
    cell("Queue", of((f) => duration(f.waiting_seconds))),
    cell("Busy", of((f) => `${Math.round(100 * f.utilisation)}%`)),
    cell("Memory", of((f) => f.resident_bytes ? memory(f.resident_bytes) : NONE)));
  return made;
}

function decision(entry) {
  const made = element("li"), when = element("time", new Date(1000 * entry.time).toLocaleTimeString([], { hour12: false }));
  when.dateTime = new Date(1000 * entry.time).toISOString();
  const what = entry.event === "scale" && "desired" in entry ? `scale to ${entry.desired}` : entry.event;
  made.append(when, element("span", entry.replica ? `${entry.replica} ${what}` : what, "what"), element("span", entry.why, "reason"));
  return made;
}

function show(said) {
  const now = point(said), count = said.replicas.length;
  measured.push(now);
  while (measured[0].time < now.time - WINDOW) measured.shift();
  const present = new Map(said.replicas.map((each) => [each.name, each]));
  for (const [name, replica] of known) if (!present.has(name)) left.set(name, { replica, until: said.time + LEFT });
  for (const [name, { until }] of left) if (until < said.time || present.has(name)) left.delete(name);
  known = present;
  document.title = `${said.name}: ${now.serving} of ${said.desired}`;
  part("name").textContent = said.name;
  part("about").textContent = `A fleet of ${count} ${count === 1 ? "process" : "processes"}, release ${said.release}` +
    (said.updating_from === null ? "." : `, which replaces release ${said.updating_from}.`);
  const lack = said.desired - now.serving;
  part("verdict").textContent = `${now.serving} of ${said.desired} ${said.desired === 1 ? "replica answers" : "replicas answer"}` +
    (lack > 0 ? `; ${lack} ${lack === 1 ? "is" : "are"} on the way.` : ".") + (said.reason ? ` Why: ${said.reason}.` : "");
  const alarms = [said.crash_loop && "Replicas end again and again: see their logs.", said.disk_full && "The disk has too little room."];
  part("alarms").replaceChildren(...alarms.filter(Boolean).map((text) => element("li", text)));
  part("tiles").replaceChildren(...TILES.map((each) => tile(each, measured)));
  const gone = [...left.values()].map(({ replica }) => row(replica, true));
  part("replicas").replaceChildren(...said.replicas.map((each) => row(each, false)), ...gone);
  const balancer = said.balancer;
  part("counts").textContent = `${said.starts} started so far; ${said.failures} crashed, had to be killed or could not be started` +
    (balancer === null ? "; the balancer has not answered yet." : `; ${balancer.open_requests} ${balancer.open_requests === 1 ? "request" : "requests"} open, ${balancer.retries + balancer.redispatches} asked again elsewhere, ${balancer.errors_5xx} answered with an error of the server.`);
  part("decisions").replaceChildren(...said.decisions.slice().reverse().map(decision));
}

function silence(why) {
  part("fleet").classList.add("stale");
  const since = heard === null ? "" : ` What is below is ${age((Date.now() - heard) / 1000)} old.`;
  part("silent").textContent = `The supervisor does not answer (${why}). Replicas and balancer go on without it.${since} It is asked again in ${Math.round(wait / 1000)} s.`;
  part("silent").hidden = false;
}

// Without a token nothing was wrong yet.
function refuse(status) {
  part("access").hidden = false;
  part("about").textContent = "";
  part("refused").hidden = !token;
  part("refused").textContent = status === 403 ? "This token has no scope read." : "This token is not known, or has expired.";
  part("token").focus();
}

async function ask() {
  const headers = token ? { authorization: `Bearer ${token}` } : {};
  const reply = await fetch("/monitoring/fleet", { headers, cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
  if (reply.status === 401 || reply.status === 403) { refuse(reply.status); return false; }
  if (!reply.ok) throw new Error(`status ${reply.status}`);
  const said = await reply.json();
  heard = Date.now();
  show(said);
  return true;
}

async function poll() {
  try {
    if (!await ask()) return;  // until a token is given
    wait = INTERVAL;
    part("silent").hidden = part("access").hidden = true;
    part("fleet").hidden = false;
    part("fleet").classList.remove("stale");
  } catch (error) {
    wait = Math.min(2 * wait, SLOWEST);
    silence(error.name === "TimeoutError" ? "no answer in time" : error.message);
  }
  setTimeout(poll, wait);
}

part("access").addEventListener("submit", (event) => {
  event.preventDefault();
  token = part("token").value.trim();
  part("token").value = "";
  poll();
});
poll();
