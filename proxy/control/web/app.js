"use strict";
// The page of the admin API: reads the stream of statuses, shows it, and asks for changes.
// Nothing that comes from data becomes HTML: only textContent and attributes are set.

const $ = (id) => document.getElementById(id);
const WINDOW_MS = 5000; // over which requests a second are measured
const KEPT_MS = 60000; // of the sparkline and the measured share
const AGAIN_MS_MAX = 5000;
const TOKEN = "turnout-token";

let status = null; // the last one shown
let samples = []; // {at, requests: [first, second]}, oldest first
let weightTouched = false; // somebody is choosing a weight: the stream must not move it
let act = null; // what the open dialog is about

// -- the admin API -----------------------------------------------------------------------------------

class Problem extends Error {
  constructor(message, hint, code) {
    super(message);
    this.hint = hint || "";
    this.code = code || "";
  }
}

async function ask(method, path, body, headers = {}) {
  const token = sessionStorage.getItem(TOKEN);
  if (token) headers.Authorization = `Bearer ${token}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, { method, headers, cache: "no-store", body: body && JSON.stringify(body) });
  } catch {
    throw new Problem("The proxy does not answer.", "Is it running? Look at its log.", "unreachable");
  }
  if (response.ok) return response;
  let told = {};
  try { told = await response.json(); } catch { /* no problem+json: the status says what there is to say */ }
  if (response.status === 401) askToken(Boolean(token));
  throw new Problem(told.detail || `The proxy answered ${response.status}.`, told.hint, told.code);
}

const change = async (path, body, headers) => (await ask("POST", path, body, headers)).json();

async function listen() {
  let again_ms = 250;
  for (;;) {
    try {
      const response = await ask("GET", "/api/v1/events");
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let rest = "", part; !(part = await reader.read()).done;) {
        const events = (rest + part.value).split("\n\n");
        rest = events.pop();
        again_ms = 250;
        for (const event of events) {
          if (event.startsWith("data: ")) show(JSON.parse(event.slice(6)));
        }
      }
    } catch (error) {
      if (!(error instanceof Problem)) console.error(error);
    }
    samples = [];
    setLink("lost", "no connection to the proxy");
    await new Promise((resolve) => setTimeout(resolve, again_ms));
    again_ms = Math.min(AGAIN_MS_MAX, again_ms * 2);
  }
}

// -- small parts -------------------------------------------------------------------------------------

const number = (value) => Number(value || 0).toLocaleString("en", { maximumFractionDigits: 2 });
const setText = (node, text) => { if (node.textContent !== text) node.textContent = text; };

function element(name, text = "", className = "") {
  const node = document.createElement(name);
  node.textContent = text;
  if (className) node.className = className;
  return node;
}

function fill(list, nodes) {
  const same = list.children.length === nodes.length && nodes.every((node, i) => node.isEqualNode(list.children[i]));
  if (!same) list.replaceChildren(...nodes); // else left alone: a selection and a screen reader's place stay
}

function setLink(kind, text) {
  $("link").className = `link ${kind}`;
  setText($("link"), text);
}

function tell(text, hint = "", kind = "good") {
  $("message").className = `notice ${kind}`;
  $("message-text").textContent = text;
  $("message-hint").textContent = hint;
  $("message").hidden = false;
}

async function doing(button, work) {
  button.disabled = true;
  try {
    await work();
  } catch (error) {
    tell(error.message, error.hint, "bad");
  } finally {
    button.disabled = false;
  }
}

// -- what is -----------------------------------------------------------------------------------------

function show(next) {
  status = next;
  remember(next);
  setLink("live", "live");
  document.querySelector("main").inert = false; // before the first status there is nothing to act on
  showStage(next);
  showUpstreams(next);
  showCanary(next);
  showMirror(next);
  showMove(next);
  const wishes = [...next.pending];
  if (next.mirror.writes_held) wishes.unshift(`writes wait: ${next.mirror.writes_held}`);
  $("wishes").hidden = wishes.length === 0;
  fill($("wishes-list"), wishes.map((wish) => element("li", wish)));
  fill($("history"), next.history.slice(0, 10).map(historyLine));
  setText($("version"), `Turnout ${next.version} · epoch ${next.epoch} · journal ${next.journal} · clients at ${next.addresses.proxy || ""}`);
}

function remember(next) {
  const at = performance.now();
  const requests = Object.values(next.upstreams).map((one) => one.requests);
  const last = samples.at(-1);
  if (last && requests.some((count, i) => count < last.requests[i])) samples = []; // the proxy was restarted
  samples.push({ at, requests });
  while (samples[0].at < at - KEPT_MS) samples.shift();
}

function showStage(next) {
  const stations = [...$("track").children];
  const here = stations.findIndex((station) => station.dataset.stage === next.stage);
  stations.forEach((station, i) => {
    station.className = i === here ? "here" : i < here ? "passed" : "";
    if (i === here) station.setAttribute("aria-current", "step");
    else station.removeAttribute("aria-current");
  });
  const said = next.stage === "off" ? "Nothing is mirrored" : `Stage ${next.stage}`;
  setText($("summary"), `${said}: ${next.primary} is primary, ${next.secondary} is secondary.`);
  document.title = `${next.stage} · ${next.primary} · Turnout`;
}

function ratesNow() {
  const last = samples.at(-1);
  const first = samples.find((sample) => sample.at >= last.at - WINDOW_MS);
  const seconds = (last.at - first.at) / 1000;
  return last.requests.map((count, i) => (seconds < 0.5 ? null : (count - first.requests[i]) / seconds));
}

function showUpstreams(next) {
  const rates = ratesNow();
  const names = Object.keys(next.upstreams);
  [...$("upstreams").children].forEach((card, i) => {
    const upstream = next.upstreams[names[i]];
    card.dataset.upstream = names[i];
    setText(card.querySelector(".name"), names[i]);
    const role = card.querySelector(".role");
    setText(role, upstream.role);
    role.className = `role ${upstream.role}`;
    setText(card.querySelector(".rate"), rates[i] === null ? "–" : number(Math.round(rates[i] * 10) / 10));
    setText(card.querySelector(".total"), number(upstream.requests));
    card.querySelector("polyline").setAttribute("points", spark(i));
    fill(card.querySelector(".endpoints"), upstream.endpoints.map((endpoint) => {
      const line = element("li", `${endpoint.url} `);
      if (endpoint.up === null) line.append(element("span", "not checked"));
      else line.append(element("span", endpoint.up ? "up" : "DOWN", endpoint.up ? "up" : "down"));
      return line;
    }));
  });
  const answered = samples.at(-1).requests.map((count, i) => count - samples[0].requests[i]);
  const all = answered[0] + answered[1];
  const share = answered.map((count) => (all ? (100 * count) / all : 0));
  [...$("share").children].forEach((bar, i) => { bar.style.width = `${share[i]}%`; });
  const words = names.map((name, i) => `${name} ${share[i].toFixed(1)} %`).join(", ");
  const said = all ? `Measured in the last minute: ${words} of ${number(all)} requests` : "No requests in the last minute";
  setText($("share-text"), said);
  $("share").setAttribute("aria-label", said);
}

function spark(i) {
  const rates = samples.slice(1).map((sample, n) => ({
    at: sample.at,
    rate: (1000 * (sample.requests[i] - samples[n].requests[i])) / Math.max(1, sample.at - samples[n].at),
  }));
  const top = Math.max(1, ...rates.map((one) => one.rate));
  const now = samples.at(-1).at;
  return rates.map(({ at, rate }) => `${(120 - (120 * (now - at)) / KEPT_MS).toFixed(1)},${(27 - (25 * rate) / top).toFixed(1)}`).join(" ");
}

function showCanary(next) {
  const { enabled, weight, always, never, sticky } = next.canary;
  setText($("canary-state"), enabled ? "on" : "off");
  $("canary-state").className = `badge ${enabled ? "good" : ""}`;
  setText($("canary-text"), enabled
    ? `${next.secondary} answers ${weight} % of the requests that no rule chooses; sticky: ${sticky}.`
    : `${next.primary} answers everything. Enabled, ${next.secondary} would answer ${weight} % of the rest.`);
  $("canary-enable").hidden = enabled;
  $("canary-disable").hidden = !enabled;
  if (!weightTouched) $("weight").value = $("weight-slider").value = weight;
  const rules = [
    ...never.map((rule) => element("li", `never ${next.secondary}: ${rule}`)),
    ...always.map((rule) => element("li", `always ${next.secondary}: ${rule}`)),
  ];
  fill($("rules"), rules.length ? rules : [element("li", "none", "hint")]);
}

function showMirror(next) {
  const { mirror } = next;
  const trouble = mirror.secondary_trouble;
  const state = !mirror.enabled ? "off" : trouble ? "waiting" : mirror.lag_entries ? "carrying" : "even";
  setText($("mirror-state"), state);
  $("mirror-state").className = `badge ${state === "even" ? "good" : "wait"}`;
  setText($("mirror-text"), trouble
    ? `${next.secondary} is thought away: ${trouble}. Writes are kept in the journal.`
    : mirror.enabled ? `Each accepted write goes on to ${next.secondary}.` : "Writes are not carried to the secondary.");
  for (const node of $("mirror").querySelectorAll("[data-fact]")) {
    const { fact } = node.dataset;
    setText(node, fact === "lag_seconds" ? Number(mirror[fact] || 0).toFixed(1) : number(mirror[fact]));
    const isTrouble = mirror[fact] > 0;
    node.className = fact === "dead_letters" && isTrouble ? "bad" : fact === "in_doubt" && isTrouble ? "wait" : "";
  }
  $("dead").hidden = !mirror.dead_letters;
  $("paused").hidden = !mirror.paused;
  if (mirror.paused) setText($("paused"), `Paused by ${mirror.paused.actor} since ${mirror.paused.since}${mirror.paused.reason ? `: ${mirror.paused.reason}` : ""}. Writes wait in the journal until turnout mirror resume.`);
  $("returning").hidden = !mirror.returning;
  if (mirror.returning) setText($("returning"), `${mirror.returning.upstream} was left behind dead. It is asked and compared whole when it returns, before anything is mirrored to it.`);
  $("unproven").hidden = mirror.unproven.length === 0;
  setText($("unproven"), `Unproven: ${mirror.unproven.slice(0, 5).join(", ")}. Reads there stay with ${next.primary} until a validation finds both equal: press Validate, or run turnout validate.`);
  setText($("validated"), next.validated ? `last found equal ${moment(next.validated)}` : "never found equal yet");
}

function showMove(next) {
  $("switch").textContent = `Switch to ${next.secondary} …`;
  $("switch").disabled = !next.mirror.enabled;
  const back = { canary: "switches the canary off", switched: `makes ${next.secondary} primary again` }[next.stage];
  setText($("move-text"), `A switch makes ${next.secondary} primary; writes wait for a moment, reads never stop. ${back ? `A rollback ${back}.` : "There is nothing to roll back at this stage."}`);
}

const moment = (time) => new Date(time).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "medium" });

function historyLine(line) {
  const item = element("li");
  const time = element("time", moment(line.time));
  time.dateTime = line.time;
  const said = element("p");
  said.append(element("b", line.verb), ` ${line.detail} `);
  if (line.reason) said.append(element("em", `“${line.reason}” `));
  said.append(element("span", line.actor, "hint"));
  item.append(time, said);
  return item;
}

// -- what is wanted ----------------------------------------------------------------------------------

const seen = () => (status?.routing.etag ? { "If-Match": status.routing.etag } : {});

async function setCanary(body, said) {
  show(await change("/api/v1/canary", body, seen()));
  tell(said());
}

$("weight-form").addEventListener("submit", (event) => {
  event.preventDefault();
  doing($("weight-set"), async () => {
    await setCanary({ weight: Number($("weight").value) }, () => `The weight is ${status.canary.weight} %.`);
    weightTouched = false;
  });
});
$("weight-slider").addEventListener("input", () => { weightTouched = true; $("weight").value = $("weight-slider").value; });
$("weight").addEventListener("input", () => { weightTouched = true; $("weight-slider").value = $("weight").value; });
$("canary-enable").addEventListener("click", (event) => doing(event.currentTarget, () => setCanary({ enabled: true }, () => "The canary is on.")));
$("canary-disable").addEventListener("click", (event) => doing(event.currentTarget, () => setCanary({ enabled: false }, () => "The canary is off.")));

$("validate").addEventListener("click", (event) => doing(event.currentTarget, async () => {
  let run = await change("/api/v1/validations", {});
  tell("Comparing every record of both upstreams …");
  while (run.state === "running") {
    await new Promise((resolve) => setTimeout(resolve, 300));
    const { validations } = await (await ask("GET", "/api/v1/validations")).json();
    run = validations.find((one) => one.id === run.id) || { state: "failed", error: "the proxy was restarted", report: {} };
  }
  const compared = `${number(run.report.compared)} records compared`;
  const unproved = (run.report.not_proved || []).map((one) => `${one.collection}: ${one.why}`).join("; ");
  if (run.state === "equal") tell(`Equal: ${compared}.${run.note ? ` But ${run.note}.` : ""}`);
  else if (run.state === "unproved") throw new Problem(`Not proved: ${compared}, none differs. ${unproved}`, "See to what is named, then validate again.");
  else if (run.state === "failed") throw new Problem(`The validation failed: ${run.error}`, "Nothing was changed.");
  else throw new Problem(`Different: ${compared}, ${number((run.report.differences || []).length)} differ.`, "turnout validate --verbose names each down to the field.");
}));

function openAct(next) {
  act = next;
  $("act-title").textContent = next.title;
  $("act-text").textContent = next.text;
  $("act-go").textContent = next.go;
  $("act-go").className = next.isDanger ? "danger" : "strong";
  $("act-reason").value = next.reason;
  $("act-force").checked = false;
  showRefusals([]);
  $("act-problem").hidden = true;
  $("act").showModal();
  $("act-reason").focus();
  $("act-reason").select();
}

function showRefusals(refusals) {
  act.refusals = refusals;
  $("act-refusals").hidden = refusals.length === 0;
  fill($("act-refusals"), refusals.map((refusal) => {
    const item = element("li", refusal.text);
    item.append(element("small", refusal.hint));
    return item;
  }));
  $("act-force-row").hidden = refusals.length === 0 || !refusals.every((refusal) => refusal.forcible);
  allowGo();
}

function allowGo() {
  const isForced = $("act-force").checked && !$("act-force-row").hidden;
  $("act-go").disabled = Boolean(act.isBusy || act.isLooking || (act.refusals.length > 0 && !isForced));
}

function actProblem(error) {
  $("act-problem").textContent = [error.message, error.hint].filter(Boolean).join(" — ");
  $("act-problem").hidden = false;
}

$("switch").addEventListener("click", async () => {
  const to = status.secondary;
  openAct({
    title: `Switch to ${to}`, go: `Make ${to} primary`, reason: "", text: "Looking at what stands against it …", isLooking: true,
    run: (reason, force) => change("/api/v1/switch", { to, reason, force }),
  });
  const mine = act;
  try {
    const found = await change("/api/v1/switch", { to, reason: "looking", dry_run: true });
    if (mine !== act) return; // closed, or another one is open by now
    $("act-text").textContent = found.refusals?.length
      ? "This stands against it:"
      : `Nothing stands against it. ${number(found.lag_entries)} entries are drained first; then writes wait for under a second.`;
    mine.isLooking = false;
    showRefusals(found.refusals || []);
  } catch (error) {
    if (mine === act) actProblem(error);
  }
});

$("rollback").addEventListener("click", () => openAct({
  title: "Roll back", go: "Roll back now", reason: "Emergency rollback", isDanger: true,
  text: `${$("move-text").textContent.split(". ").at(-1)} No write is lost.`,
  run: (reason) => change("/api/v1/rollback", { reason }),
}));

$("act-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const mine = act;
  mine.isBusy = true;
  allowGo();
  $("act-problem").hidden = true;
  try {
    const done = await mine.run($("act-reason").value.trim(), $("act-force").checked);
    $("act").close();
    tell(done.detail || "Done.");
  } catch (error) {
    actProblem(error);
  } finally {
    mine.isBusy = false;
    if (act === mine) allowGo();
  }
});
$("act-force").addEventListener("change", allowGo);
$("act-cancel").addEventListener("click", () => $("act").close());
$("message-close").addEventListener("click", () => { $("message").hidden = true; });

function askToken(wasWrong) {
  if ($("ask-token").open) return;
  sessionStorage.removeItem(TOKEN);
  $("token-title").textContent = wasWrong ? "That token is not accepted" : "This proxy wants a token";
  $("token").value = "";
  $("ask-token").showModal();
}
$("ask-token").addEventListener("cancel", (event) => event.preventDefault()); // without it the page shows nothing
$("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(TOKEN, $("token").value.trim());
  location.reload();
});

listen();
