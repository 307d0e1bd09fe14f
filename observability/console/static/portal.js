// Sends the calls of the reference from this page. The key lives in its field and nowhere else: not stored, not in an address, not in a form.
// Without this file the page reads the same.
const PATIENCE = 30_000;
const MOST = 200_000;
const key = document.getElementById("try-key");
const meanings = new Map();
for (const row of document.querySelectorAll("#headers tbody tr")) {
  const said = row.lastElementChild.textContent.trim();
  for (const name of row.querySelectorAll("th code")) meanings.set(name.textContent.toLowerCase(), said);
}

function element(tag, text, ...inside) {
  const made = document.createElement(tag);
  if (text) made.textContent = text;
  made.append(...inside);
  return made;
}

function freshKey() {
  return crypto.randomUUID?.() ?? [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, "0")).join("");
}

function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** What the form says: method, address, headers without the credentials, body. */
function written(form) {
  let path = form.dataset.path;
  const query = new URLSearchParams();
  const headers = { "API-Version": form.dataset.version };
  for (const field of form.querySelectorAll("[data-in]")) {
    const value = field.value.trim();
    if (field.dataset.in === "path") path = path.replace(`{${field.name}}`, encodeURIComponent(value));
    else if (value && field.dataset.in === "query") query.append(field.name, value);
    else if (value && field.dataset.in === "header") headers[field.name] = value;
  }
  const body = form.querySelector("textarea")?.value;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const target = path + (query.size ? `?${query}` : "");
  return { method: form.dataset.method, target, headers, body };
}

function asCurl({ method, target, headers, body }) {
  const lines = [`curl -i${method === "GET" ? "" : ` -X ${method}`} ${quoted(location.origin + target)}`, '-H "Authorization: Bearer $KEY"'];
  for (const [name, value] of Object.entries(headers)) lines.push(`-H ${quoted(`${name}: ${value}`)}`);
  if (body !== undefined) lines.push(`-d ${quoted(body)}`);
  return lines.join(" \\\n  ");
}

function pretty(text, type) {
  if (type.includes("json")) {
    try { text = JSON.stringify(JSON.parse(text), null, 2); } catch { /* shown as it came */ }
  }
  return text.length > MOST ? `${text.slice(0, MOST)}\n… ${text.length - MOST} characters more` : text;
}

function table(headers) {
  const rows = [...headers].map(([name, value]) =>
    element("tr", "", element("th", name), element("td", value), element("td", meanings.get(name.toLowerCase()) ?? "")));
  for (const row of rows) row.firstElementChild.scope = "row";
  const head = element("thead", "", element("tr", "", element("th", "Header"), element("th", "Value"), element("th", "What it says")));
  const box = element("div", "", element("table", "", head, element("tbody", "", ...rows)));
  box.className = "scroll";
  box.tabIndex = 0;
  box.setAttribute("role", "region");
  box.setAttribute("aria-label", "Headers of the answer");
  return box;
}

function block(text, label) {
  const made = element("pre", text);
  made.tabIndex = 0;
  made.setAttribute("aria-label", label);
  return made;
}

async function send(event) {
  event.preventDefault();
  const form = event.target;
  const out = form.nextElementSibling;
  const request = written(form);
  const credential = key.value.trim();
  const button = form.querySelector("[type=submit]");
  if (!/^[!-~]+$/.test(credential)) {  // fetch would call it a lost connection
    out.replaceChildren(element("p", credential ? "This is no key: a key is one word of ASCII characters. Copy it whole." : "Give a key first."));
    key.focus();
    return;
  }
  button.disabled = true;
  out.replaceChildren(element("p", "Asking…"));
  const shown = [element("h4", "Sent"), block(asCurl(request), "the request as curl")];
  const began = performance.now();
  try {
    const answer = await fetch(request.target, {
      method: request.method,
      headers: { ...request.headers, Authorization: `Bearer ${credential}` },
      body: request.body,
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
      signal: AbortSignal.timeout(PATIENCE),
    });
    const text = await answer.text();
    const type = answer.headers.get("content-type") ?? "";
    const status = element("p", `${answer.status} ${answer.statusText} in ${Math.round(performance.now() - began)} ms`);
    status.className = `answered s${String(answer.status)[0]}`;
    shown.push(element("h4", "Answered"), status);
    const code = type.includes("problem+json") ? /"code":\s*"(\w+)"/.exec(text)?.[1] : undefined;
    if (code && document.getElementById(`problem-${code}`)) {
      const link = element("a", `what ${code} means, and what to do`);
      link.href = `/problems/${encodeURIComponent(code)}`;
      shown.push(element("p", "", link));
    }
    shown.push(text ? block(pretty(text, type), "the body of the answer") : element("p", "No body."), table(answer.headers));
  } catch (error) {
    const why = error.name === "TimeoutError" ? `no answer in ${PATIENCE / 1000} seconds` : "no answer: the connection failed";
    const failed = element("p", request.method === "GET" ? why : `${why}. Send it again with the same Idempotency-Key: it is done once.`);
    failed.className = "answered s5";
    shown.push(element("h4", "Answered"), failed);
  } finally {
    button.disabled = false;
  }
  out.replaceChildren(...shown);
}

for (const here of document.querySelectorAll("[data-origin]")) here.textContent = location.origin;
for (const part of document.querySelectorAll("[data-try]")) part.hidden = false;
for (const part of document.querySelectorAll("[data-without]")) part.hidden = true;
for (const form of document.querySelectorAll("form.try")) form.addEventListener("submit", send);
for (const field of document.querySelectorAll("[name=Idempotency-Key]")) field.value = freshKey();
for (const button of document.querySelectorAll("[data-fresh]")) {
  button.addEventListener("click", () => { button.previousElementSibling.value = freshKey(); });
}
document.getElementById("try-demo")?.addEventListener("click", (event) => {
  key.value = event.currentTarget.dataset.key;
  key.focus();
});
addEventListener("pagehide", () => { if (key) key.value = ""; });
