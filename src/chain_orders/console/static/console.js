/* The console's one script. Every page is complete without it; it keeps the live parts of a page current. It makes no
   markup from text: pages come parsed, and what differs is moved over. */
"use strict";

(() => {
  const POLLED = 5000, FOLLOWED = 30000, SETTLED = 8000, ANNOUNCED = 20000, RESENT = 10000;
  const parts = document.querySelectorAll("[data-live]");
  const bar = document.querySelector("[data-live-bar]");
  const order = document.body.dataset.order;
  const spoken = document.documentElement.lang, timeZone = document.body.dataset.zone;
  const clock = new Intl.DateTimeFormat(spoken, { hour: "2-digit", minute: "2-digit", second: "2-digit", timeZone });

  /* What an element is, so that it is found again when others come before it. */
  function keyOf(node) {
    if (node.nodeType !== Node.ELEMENT_NODE) return "";
    if (node.id || node.dataset.key) return node.id || node.dataset.key;
    if (node.matches("input, button, select, textarea")) return `${node.name}=${node.getAttribute("value") ?? ""}`;
    if (node.matches("tr, li")) return node.querySelector("a[href]")?.getAttribute("href") ?? "";
    return "";
  }

  function same(one, other) {
    return one.nodeName === other.nodeName && keyOf(one) === keyOf(other);
  }

  /* What has only come was not there to be chosen, also where all of a page were. */
  function unchosen(node) {
    for (const box of node.querySelectorAll?.("input:checked") ?? []) box.checked = false;
    return node;
  }

  /* Make one node like another without putting it anew: what is ticked, typed, unfolded or focused stays so. */
  function become(node, wanted) {
    if (node.nodeType !== Node.ELEMENT_NODE) {
      if (node.nodeValue !== wanted.nodeValue) node.nodeValue = wanted.nodeValue;
      return;
    }
    for (const { name, value } of wanted.attributes) {
      if (node.getAttribute(name) !== value) node.setAttribute(name, value);
    }
    for (const { name } of [...node.attributes]) {
      if (!wanted.hasAttribute(name) && !(name === "open" && node.matches("details"))) node.removeAttribute(name);
    }
    const left = [...node.childNodes];
    let at = node.firstChild;
    for (const next of [...wanted.childNodes]) {
      const found = left.findIndex((one) => same(one, next));
      const kept = found < 0 ? unchosen(document.adoptNode(next)) : left.splice(found, 1)[0];
      if (kept === at) at = at.nextSibling;
      else node.insertBefore(kept, at);
      if (found >= 0) become(kept, next);
      while (at && !left.includes(at)) at = at.nextSibling;
    }
    for (const one of left) one.remove();
  }

  function now() {
    return clock.format(new Date());
  }

  let announced = 0, told = false, changed = false;

  function refresh(fresh) {
    const focused = document.activeElement;
    let differs = false;
    for (const part of parts) {
      const found = fresh.querySelector(`[data-live="${part.dataset.live}"]`);
      if (!found) continue;
      if (found.isEqualNode(part.copy)) continue;
      part.copy = found.cloneNode(true);
      become(part, found);
      differs = true;
    }
    if (focused !== document.activeElement && focused?.isConnected) focused.focus({ preventScroll: true });
    bar.querySelector("[data-updated]").textContent = now();
    if (!differs || !(told || source?.readyState !== EventSource.OPEN)) return;
    told = false;
    changed = true;
    forget();
    if (Date.now() - announced > ANNOUNCED) {
      announced = Date.now();
      bar.querySelector("[data-told]").textContent = `${bar.dataset.changed} ${now()}`;
    }
  }

  /* What was just done is no news any more once the page has moved on. */
  function forget() {
    if (changed && performance.now() > SETTLED) document.querySelector("[data-done]")?.remove();
  }

  let source = null, timer = 0, busy = false, again = false;

  function look() {
    clearTimeout(timer);
    if (busy) { again = true; return; }
    if (document.hidden || paused()) return;
    busy = true;
    const request = new XMLHttpRequest();
    request.open("GET", location.href);
    request.responseType = "document";
    request.setRequestHeader("X-Live", "1");
    request.timeout = 20000;
    request.onload = () => {
      if (request.status === 401) { location.reload(); return; }
      if (request.status === 200 && request.response) refresh(request.response);
    };
    request.onloadend = () => {
      busy = false;
      if (again) { again = false; look(); return; }
      timer = setTimeout(look, source?.readyState === EventSource.OPEN ? FOLLOWED : POLLED);
    };
    request.send();
  }

  /* The server says when to look; polling is what is left without it. */
  function follow() {
    source?.close();
    source = null;
    if (document.hidden || paused()) return;
    source = new EventSource(`/console/live${order ? `?order=${order}` : ""}`);
    source.addEventListener("changed", () => { told = true; look(); });
    source.addEventListener("ended", () => location.reload());
    look();
  }

  function paused() {
    return sessionStorage.getItem("paused") === "yes";
  }

  function showPause() {
    const button = bar.querySelector("button");
    button.textContent = paused() ? button.dataset.resume : button.dataset.pause;
  }

  if (parts.length > 0 && bar) {
    for (const part of parts) part.copy = part.cloneNode(true);
    bar.hidden = false;
    bar.querySelector("[data-updated]").textContent = now();
    bar.querySelector("button").addEventListener("click", () => {
      sessionStorage.setItem("paused", paused() ? "no" : "yes");
      showPause();
      follow();
    });
    document.addEventListener("visibilitychange", follow);
    addEventListener("pagehide", () => source?.close());
    setTimeout(forget, SETTLED + 100);
    showPause();
    follow();
  }

  /* A double click sends a form once: its first answer is the one that is shown. Whoever has stopped the page from
     loading may send it again after a while. */
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.method !== "post") return;
    if (performance.now() - form.sent < RESENT) event.preventDefault();
    else form.sent = performance.now();
  });
  addEventListener("pageshow", () => { for (const form of document.forms) delete form.sent; });

  const zone = document.querySelector("input[data-zone]");
  if (zone) zone.value = Intl.DateTimeFormat().resolvedOptions().timeZone;

  /* Whoever is about to be signed out for sitting still is told, in time to say that they are here. */
  const warning = document.querySelector("[data-ending]");
  if (warning) {
    let waiting = 0;
    const wait = () => {
      clearTimeout(waiting);
      warning.hidden = true;
      waiting = setTimeout(() => { warning.hidden = false; }, Number(warning.dataset.ending) * 1000);
    };
    warning.querySelector("button").addEventListener("click", () => {
      const request = new XMLHttpRequest();
      request.open("GET", "/console/here");
      request.onload = () => { if (request.status === 204) wait(); else location.reload(); };
      request.send();
    });
    wait();
  }
})();
