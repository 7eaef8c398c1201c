// Keeps the page current. Unchanged nodes stay, and with them focus, scroll position and selection.
const INTERVAL = 10_000;
const TIMEOUT = 8_000;
const live = document.getElementById("live");
const main = document.getElementById("main");
let skew = 0;
let updated = Date.now();
let timer;

const MINUTE = 60;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const AGES = [
  [730 * DAY, 365 * DAY, "y"],
  [60 * DAY, 30 * DAY, "mo"],
  [DAY, DAY, "d"],
  [HOUR, HOUR, "h"],
  [MINUTE, MINUTE, "min"],
  [5, 1, "s"],
];
const PAIRS = [[DAY, "d", HOUR, "h"], [HOUR, "h", MINUTE, "min"], [MINUTE, "min", 1, "s"]];

function age(seconds) {
  const match = AGES.find(([from]) => seconds >= from);
  return match ? `${Math.floor(seconds / match[1])} ${match[2]} ago` : "just now";
}

function duration(seconds) {
  const match = PAIRS.find(([from]) => seconds >= from);
  if (!match) return `${Math.floor(seconds)} s`;
  const [large, largeName, small, smallName] = match;
  const rest = Math.floor((seconds % large) / small);
  return `${Math.floor(seconds / large)} ${largeName}${rest ? ` ${rest} ${smallName}` : ""}`;
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function selecting() {
  const selection = getSelection();
  return !selection.isCollapsed && main.contains(selection.anchorNode);
}

function tick() {
  if (document.hidden || selecting()) return;
  const since = (time) => Math.max(0, (Date.now() + skew - Date.parse(time.dateTime)) / 1000);
  for (const time of main.querySelectorAll("time[data-age]")) setText(time, age(since(time)));
  for (const time of main.querySelectorAll("time[data-elapsed]")) {
    setText(time, duration(since(time)));
  }
}

function readClock() {
  if (main.dataset.now) skew = Number(main.dataset.now) - Date.now();
}

const keyOf = (node) => node.dataset?.key;
const isSame = (old, next) => old?.nodeName === next.nodeName && keyOf(old) === keyOf(next);

function patch(old, next) {
  if (old.isEqualNode(next)) return;
  if (!(old instanceof Element)) {
    old.data = next.data;
    return;
  }
  for (const { name } of [...old.attributes]) {
    if (!next.hasAttribute(name)) old.removeAttribute(name);
  }
  for (const { name, value } of next.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  patchChildren(old, next);
}

function patchChildren(old, next) {
  const keys = new Set([...next.children].map(keyOf));
  for (const child of [...old.children]) {
    if (keyOf(child) && !keys.has(keyOf(child))) child.remove();
  }
  // Join the line breaks around removed nodes, or the nodes after them would not match.
  old.normalize();
  let current = old.firstChild;
  for (const child of [...next.childNodes]) {
    if (isSame(current, child)) {
      const known = current;
      current = current.nextSibling;
      patch(known, child);
    } else {
      old.insertBefore(child, current);
    }
  }
  while (current) {
    const removed = current;
    current = current.nextSibling;
    removed.remove();
  }
}

function setState(state, text) {
  live.dataset.state = state;
  setText(live, text);
}

function stale() {
  if (!main.dataset.etag) return;
  const time = new Date(updated).toLocaleTimeString();
  setState("stale", `Stale since ${time}: the ledger does not answer`);
}

function show(html) {
  const page = new DOMParser().parseFromString(html, "text/html");
  if (page.documentElement.dataset.build !== document.documentElement.dataset.build) {
    location.reload();
    return;
  }
  document.title = page.title;
  patch(main, page.getElementById("main"));
  readClock();
  tick();
}

async function refresh() {
  clearTimeout(timer);
  if (document.hidden) return;
  if (selecting()) {
    setState("paused", "Paused while text is selected");
  } else {
    const known = main.dataset.etag ? { "If-None-Match": main.dataset.etag } : {};
    try {
      const answer = await fetch(location.pathname, {
        cache: "no-store",
        headers: known,
        signal: AbortSignal.timeout(TIMEOUT),
      });
      if (answer.status !== 304) {
        if (!answer.ok) throw new Error(answer.status);
        const html = await answer.text();
        if (!selecting()) show(html);
      }
      updated = Date.now();
      setState("live", "Live");
    } catch {
      stale();
    }
  }
  clearTimeout(timer);
  timer = setTimeout(refresh, INTERVAL);
}

readClock();
if (main.dataset.etag) setState("live", "Live");
setInterval(tick, 1000);
timer = setTimeout(refresh, INTERVAL);
document.addEventListener("visibilitychange", refresh);
addEventListener("online", refresh);
addEventListener("offline", stale);
