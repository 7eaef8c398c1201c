// Keeps the page current. Whatever did not change stays the same node, so focus, scroll and selection stay too.
const EVERY = 10_000;
const PATIENCE = 8_000;
const live = document.getElementById("live");
const main = document.getElementById("main");
let skew = 0;
let fresh = Date.now();
let timer;

const MINUTE = 60;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const AGES = [[730 * DAY, 365 * DAY, "y"], [60 * DAY, 30 * DAY, "mo"], [DAY, DAY, "d"], [HOUR, HOUR, "h"], [MINUTE, MINUTE, "min"], [5, 1, "s"]];
const PAIRS = [[DAY, "d", HOUR, "h"], [HOUR, "h", MINUTE, "min"], [MINUTE, "min", 1, "s"]];

function age(seconds) {
  const found = AGES.find(([from]) => seconds >= from);
  return found ? `${Math.floor(seconds / found[1])} ${found[2]} ago` : "just now";
}

function duration(seconds) {
  const found = PAIRS.find(([from]) => seconds >= from);
  if (!found) return `${Math.floor(seconds)} s`;
  const [large, name, small, rest] = found;
  const left = Math.floor((seconds % large) / small);
  return `${Math.floor(seconds / large)} ${name}${left ? ` ${left} ${rest}` : ""}`;
}

function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function selecting() {
  const selection = getSelection();
  return !selection.isCollapsed && main.contains(selection.anchorNode);
}

function tick() {
  if (document.hidden || selecting()) return;
  const since = (time) => Math.max(0, (Date.now() + skew - Date.parse(time.dateTime)) / 1000);
  for (const time of main.querySelectorAll("time[data-age]")) say(time, age(since(time)));
  for (const time of main.querySelectorAll("time[data-elapsed]")) say(time, duration(since(time)));
}

function readClock() {
  if (main.dataset.now) skew = Number(main.dataset.now) - Date.now();
}

const keyOf = (node) => node.dataset?.key;
const alike = (old, next) => old?.nodeName === next.nodeName && keyOf(old) === keyOf(next);

function patch(old, next) {
  if (old.isEqualNode(next)) return;
  if (!(old instanceof Element)) {
    old.data = next.data;
    return;
  }
  for (const { name } of [...old.attributes]) if (!next.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of next.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  patchChildren(old, next);
}

function patchChildren(old, next) {
  const wanted = new Set([...next.children].map(keyOf));
  for (const child of [...old.children]) if (keyOf(child) && !wanted.has(keyOf(child))) child.remove();
  // The line breaks around what was removed become one, or everything after them would seem moved.
  old.normalize();
  let place = old.firstChild;
  for (const child of [...next.childNodes]) {
    if (alike(place, child)) {
      const known = place;
      place = place.nextSibling;
      patch(known, child);
    } else {
      old.insertBefore(child, place);
    }
  }
  while (place) {
    const gone = place;
    place = place.nextSibling;
    gone.remove();
  }
}

function tell(state, text) {
  live.dataset.state = state;
  say(live, text);
}

function stale() {
  if (!main.dataset.etag) return;
  tell("stale", `Stale since ${new Date(fresh).toLocaleTimeString()}: the ledger does not answer`);
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
    tell("paused", "Paused while text is selected");
  } else {
    const known = main.dataset.etag ? { "If-None-Match": main.dataset.etag } : {};
    try {
      const answer = await fetch(location.pathname, { cache: "no-store", headers: known, signal: AbortSignal.timeout(PATIENCE) });
      if (answer.status !== 304) {
        if (!answer.ok) throw new Error(answer.status);
        const html = await answer.text();
        if (!selecting()) show(html);
      }
      fresh = Date.now();
      tell("live", "Live");
    } catch {
      stale();
    }
  }
  clearTimeout(timer);
  timer = setTimeout(refresh, EVERY);
}

readClock();
if (main.dataset.etag) tell("live", "Live");
setInterval(tick, 1000);
timer = setTimeout(refresh, EVERY);
document.addEventListener("visibilitychange", refresh);
addEventListener("online", refresh);
addEventListener("offline", stale);
