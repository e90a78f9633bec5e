"use strict";

// Live prices: one event stream for prices, one for minute candles. Whatever comes in waits in `dirty` until
// the next frame is drawn, so a burst of prices costs one update per asset and frame.

const MINUTES_SHOWN = 60;
const PALETTE = ["#0ea5a4", "#6366f1", "#f59e0b", "#ec4899", "#84cc16", "#0ea5e9", "#a855f7", "#ef4444"];

const assets = new Map();
const dirty = new Set();
const venueColours = new Map();
const byId = (id) => document.getElementById(id);

function colourOf(venue) {
  if (!venueColours.has(venue)) venueColours.set(venue, PALETTE[venueColours.size % PALETTE.length]);
  return venueColours.get(venue);
}

// The number of a price as it was sent: JSON.parse would round it to a double.
function exactPrice(text) {
  const found = /"data":\{"asset":"[^"]*","instrument":"[^"]*","price":(-?[0-9.]+)/.exec(text);
  return found ? found[1] : null;
}

// "64123.4" as ["64 123.4", "0"]: digits in groups, and the zeros that keep the column from jumping.
function grouped(text, places) {
  const [whole, fraction = ""] = text.split(".");
  const groups = whole.replace(/\B(?=(\d{3})+(?!\d))/g, "\u2009");
  const pad = "0".repeat(Math.max(0, places - fraction.length));
  return [groups + (fraction || pad ? "." : "") + fraction, pad];
}

function plain(text) {
  return text === null || text === undefined ? "–" : grouped(text, 0)[0];
}

function duration(ms) {
  if (ms < 10) return "0 ms";
  if (ms < 1000) return Math.round(ms / 10) * 10 + " ms";
  if (ms < 60_000) return (ms / 1000).toFixed(1) + " s";
  if (ms < 3_600_000) return Math.floor(ms / 60_000) + " min";
  if (ms < 86_400_000) return Math.floor(ms / 3_600_000) + " h";
  return Math.floor(ms / 86_400_000) + " d";
}

function assetOf(name, instrument) {
  let asset = assets.get(name);
  if (asset) return asset;
  const card = byId("asset").content.firstElementChild.cloneNode(true);
  const part = (selector) => card.querySelector(selector);
  const [base, quote] = instrument.split("-");
  part(".name").textContent = base + " ";
  const small = document.createElement("small");
  small.textContent = quote;
  part(".name").append(small);
  asset = {
    name, card, view: null, text: null, places: 0, received: 0, closes: new Map(),
    parts: {
      status: part(".status"), age: part(".age"), price: part(".price"), line: part("polyline"),
      bid: part(".bid"), ask: part(".ask"), mid: part(".mid"), confidence: part(".confidence"),
      weights: part(".weights"), summary: part("summary"), details: part("details"),
      venues: part(".venues tbody"), windows: part(".windows tbody"),
    },
  };
  asset.parts.details.addEventListener("toggle", () => draw(asset));
  assets.set(name, asset);
  const after = [...assets.values()].filter((other) => other.name > name && other.card.isConnected)
    .sort((one, other) => (one.name < other.name ? -1 : 1))[0];
  byId("assets").insertBefore(card, after ? after.card : null);
  byId("waiting").hidden = true;
  loadCandles(asset);
  return asset;
}

function onPrice(text) {
  const message = JSON.parse(text);
  const asset = assetOf(message.asset, message.data.instrument);
  asset.view = message.data;
  asset.newText = exactPrice(text) ?? String(message.data.price);
  asset.received = performance.now();
  if (dirty.size === 0) requestAnimationFrame(drawDirty);
  dirty.add(asset);
}

function drawDirty() {
  for (const asset of dirty) draw(asset);
  dirty.clear();
}

function draw(asset) {
  const { view, parts } = asset;
  if (!view) return;
  if (asset.text !== asset.newText) {
    asset.places = Math.max(asset.places, (asset.newText.split(".")[1] ?? "").length);
    const [digits, zeros] = grouped(asset.newText, asset.places);
    const pad = document.createElement("span");
    pad.className = "pad";
    pad.textContent = zeros;
    parts.price.replaceChildren(digits, pad);
    if (asset.text !== null) flash(parts.price, Number(asset.newText) > Number(asset.text) ? "up" : "down");
    asset.text = asset.newText;
  }
  const status = view.status.toLowerCase();
  parts.status.textContent = view.status.replace("_", " ");
  parts.status.className = "status " + status;
  asset.card.classList.toggle("stale", status === "stale");
  drawLevel(parts.bid, view.bid);
  drawLevel(parts.ask, view.ask);
  parts.mid.textContent = plain(view.mid);
  parts.confidence.textContent = view.confidence === null ? "–" : "± " + plain(view.confidence);
  drawWeights(asset);
  if (parts.details.open) drawDetails(asset);
}

function flash(element, kind) {
  element.classList.remove("up", "down");
  void element.offsetWidth; // restarts the animation
  element.classList.add(kind);
}

function drawLevel(element, level) {
  element.textContent = level ? plain(level.price) : "–";
  if (!level) return;
  const venue = document.createElement("small");
  venue.textContent = level.venue;
  element.append(venue);
}

function drawWeights(asset) {
  const { view, parts } = asset;
  const counted = view.constituents.filter((part) => Number(part.weight) > 0);
  const bars = counted.map((part) => {
    const bar = document.createElement("span");
    bar.style.flexGrow = part.weight;
    bar.style.background = colourOf(part.venue);
    return bar;
  });
  parts.weights.replaceChildren(...bars);
  const percent = (part) => part.venue + " " + (Number(part.weight) * 100).toFixed(0) + " %";
  const shares = counted.map(percent).join(" · ");
  parts.weights.setAttribute("aria-label", "Weights: " + (shares || "none"));
  parts.summary.textContent = shares || "No venue counts";
}

function drawDetails(asset) {
  const { view, parts } = asset;
  parts.venues.replaceChildren(...view.constituents.map((part) => {
    const line = row([part.venue, plain(part.price), (Number(part.weight) * 100).toFixed(1) + " %",
      duration(part.age_ns / 1e6), part.state.toLowerCase()]);
    const dot = document.createElement("span");
    dot.className = "dot";
    dot.style.background = colourOf(part.venue);
    line.firstElementChild.prepend(dot);
    line.classList.toggle("out", Number(part.weight) === 0);
    return line;
  }));
  parts.windows.replaceChildren(...view.vwap.map((vwap) => row([vwap.window, plain(vwap.price), plain(vwap.volume)])));
}

function row(cells) {
  const line = document.createElement("tr");
  for (const text of cells) line.insertCell().textContent = text;
  return line;
}

function drawAges() {
  const now = performance.now();
  for (const asset of assets.values()) {
    if (asset.view) asset.parts.age.textContent = duration(asset.view.age_ns / 1e6 + now - asset.received);
  }
}

async function loadCandles(asset) {
  try {
    const answer = await fetch(`/candles/${encodeURIComponent(asset.name)}?interval=1m&limit=${MINUTES_SHOWN}`);
    if (!answer.ok) return;
    for (const candle of (await answer.json()).candles) asset.closes.set(candle.start, Number(candle.close));
    drawLine(asset);
  } catch { /* the line comes with the next candles */ }
}

function onCandle(text) {
  const message = JSON.parse(text);
  const asset = assets.get(message.asset);
  if (!asset) return;
  asset.closes.set(message.data.start, Number(message.data.close));
  drawLine(asset);
}

function drawLine(asset) {
  const starts = [...asset.closes.keys()].sort();
  for (const start of starts.slice(0, -MINUTES_SHOWN)) asset.closes.delete(start);
  const closes = starts.slice(-MINUTES_SHOWN).map((start) => asset.closes.get(start));
  if (closes.length < 2) return;
  const low = Math.min(...closes);
  const span = Math.max(...closes) - low || 1;
  const point = (close, at) =>
    `${((at / (closes.length - 1)) * 120).toFixed(1)},${(34 - ((close - low) / span) * 32).toFixed(1)}`;
  asset.parts.line.setAttribute("points", closes.map(point).join(" "));
}

function lamp(name, state, text) {
  byId(name + "-lamp").className = "lamp " + state;
  byId(name + "-text").textContent = text;
}

function follow(path, event, take) {
  const source = new EventSource(path);
  source.addEventListener(event, (message) => take(message.data));
  return source;
}

async function checkHealth() {
  try {
    const report = await (await fetch("/healthz")).json();
    const bad = Object.entries(report.parts).filter(([, part]) => part.status !== "ok").map(([name]) => name);
    lamp("health", report.status, bad.length ? bad.join(", ") + ": " + report.status : "all parts well");
    byId("health-text").title = bad.map((name) => `${name}: ${report.parts[name].detail}`).join("\n");
  } catch {
    lamp("health", "down", "no answer");
  }
}

const prices = follow("/sse/prices", "prices", onPrice);
prices.onopen = () => lamp("stream", "ok", "live");
prices.onerror = () => lamp("stream", "down", "reconnecting");
follow("/sse/candles?interval=1m", "candles", onCandle);
setInterval(drawAges, 200);
setInterval(checkHealth, 2000);
checkHealth();
