"use strict";
// Keeps the list of flows up to date with server-sent events. The page also works without.
const flows = document.getElementById("flows"), state = document.getElementById("state");
const pause = document.getElementById("pause"), total = document.getElementById("total");
const limit = Number(flows.dataset.limit);
let version = flows.dataset.version, paused = false, source;

function connect() {
  const query = new URLSearchParams(location.search);
  query.set("since", version);
  source = new EventSource("/-/events?" + query);
  source.onopen = () => state.textContent = "Live";
  source.onerror = () => {
    state.textContent = "Not connected";
    if (source.readyState === EventSource.CLOSED) setTimeout(() => paused || connect(), 5000);
  };
  source.addEventListener("reload", () => { source.close(); location.reload(); });
  source.addEventListener("total", e => { version = e.lastEventId; total.textContent = e.data; });
  source.addEventListener("flow", e => update(JSON.parse(e.data)));
}

function update({id, html}) {
  const old = document.getElementById(id);
  if (!html) return old?.remove();
  const parsed = document.createElement("template");
  parsed.innerHTML = html;
  const item = parsed.content.firstElementChild;
  if (!old) {
    document.getElementById("empty")?.remove();
    flows.prepend(item);
    while (flows.children.length > limit) flows.lastElementChild.remove();
    return;
  }
  for (const open of old.querySelectorAll("details[open]")) item.querySelector("#" + open.id)?.setAttribute("open", "");
  const focus = old.contains(document.activeElement) ? document.activeElement.id : "";
  old.replaceWith(item);
  if (focus) document.getElementById(focus)?.focus({preventScroll: true});
}

pause.hidden = false;
pause.onclick = () => {
  paused = !paused;
  pause.setAttribute("aria-pressed", paused);
  source.close();
  if (paused) state.textContent = "Paused"; else connect();
};
connect();
