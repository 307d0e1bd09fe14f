// Replaces the parts marked data-live every few seconds with what the server renders now. Without it the pages still work.
const PERIOD = 4000;
const parts = () => document.querySelectorAll("[data-live][id]");
const status = document.getElementById("freshness");
const button = document.getElementById("pause");
let paused = false;
let timer = 0;

function say(text, trouble) {
  status.textContent = text;
  status.classList.toggle("trouble", trouble);
}

function replace(old, fresh) {
  const focus = old.contains(document.activeElement) ? document.activeElement : null;
  const index = focus ? [...old.querySelectorAll("a, button, [tabindex]")].indexOf(focus) : -1;
  const scrolled = [old, ...old.querySelectorAll(".scroll")].map((box) => box.scrollLeft);
  const next = document.importNode(fresh, true);
  const same = focus === old;
  old.replaceWith(next);
  [next, ...next.querySelectorAll(".scroll")].forEach((box, i) => { box.scrollLeft = scrolled[i] ?? 0; });
  const target = same ? next : index >= 0 ? next.querySelectorAll("a, button, [tabindex]")[index] : null;
  target?.focus({ preventScroll: true });
}

async function refresh() {
  if (paused || document.hidden || !getSelection().isCollapsed) return;
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html", "X-Refresh": "1" }, signal: AbortSignal.timeout(PERIOD * 2) });
    if (answer.redirected) throw new Error("signed out; reload this page to sign in");
    if (!answer.ok) throw new Error(`the gateway answered ${answer.status}`);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const old of parts()) {
      const fresh = page.getElementById(old.id);
      if (fresh && fresh.outerHTML !== old.outerHTML) replace(old, fresh);
    }
    document.title = page.title;
    say(page.getElementById("freshness").textContent.trim(), false);
  } catch (error) {
    say(`not fresh: ${error.name === "TimeoutError" ? "no answer" : error.message}`, true);
  }
}

// Where only the head of the page lives, nobody waits for it.
function next() {
  const period = parts().length > 1 ? PERIOD : 4 * PERIOD;
  timer = setTimeout(async () => { await refresh(); next(); }, period);
}

if (parts().length) {
  button.hidden = false;
  button.addEventListener("click", () => {
    paused = !paused;
    button.setAttribute("aria-pressed", String(paused));
    button.textContent = paused ? "Resume" : "Pause";
    if (!paused) refresh();
  });
  document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
  next();
}
addEventListener("pagehide", () => clearTimeout(timer));
addEventListener("pageshow", (event) => { if (event.persisted && parts().length) next(); });

// Copies what the server says under data-copy, or the address of a permalink.
async function copied(button, text) {
  const before = button.textContent;
  try {
    await navigator.clipboard.writeText(await text());
    button.textContent = "Copied";
  } catch {
    button.textContent = "Could not copy";
  }
  setTimeout(() => { button.textContent = before; }, 2000);
}

if (navigator.clipboard) {
  for (const button of document.querySelectorAll("[data-copy]")) {
    button.hidden = false;
    button.addEventListener("click", () => copied(button, async () => {
      const answer = await fetch(button.dataset.copy, { signal: AbortSignal.timeout(PERIOD * 2) });
      if (!answer.ok || answer.redirected) throw new Error("no answer");
      return answer.text();
    }));
  }
  for (const link of document.querySelectorAll("[data-permalink]")) {
    link.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      copied(link, async () => link.href);
    });
  }
}
