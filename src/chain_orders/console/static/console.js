/* The console's one script. Every page is complete without it; it keeps the live parts of a page current and
   writes moments in the reader's zone. It makes no markup from text: pages come parsed, and are moved over. */
"use strict";

(() => {
  const EVERY = 5000;
  const short = new Intl.DateTimeFormat(document.documentElement.lang, { day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", timeZoneName: "short" });
  const exact = new Intl.DateTimeFormat(document.documentElement.lang, { day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short" });

  function writeMoments(root) {
    for (const time of root.querySelectorAll("time[datetime]")) {
      const at = new Date(time.dateTime);
      if (Number.isNaN(at.getTime()) || time.title) continue;
      time.title = time.textContent;
      time.textContent = (time.hasAttribute("data-seconds") ? exact : short).format(at);
    }
  }

  /* A part that somebody is in the middle of, with an open fold, a mark or the focus inside, is left alone. */
  function busy(part) {
    return part.contains(document.activeElement) || part.querySelector("details[open], input:checked") !== null;
  }

  const last = new Map();

  function refresh(fresh) {
    for (const part of document.querySelectorAll("[data-live]")) {
      const name = part.getAttribute("data-live");
      const found = fresh.querySelector(`[data-live="${name}"]`);
      if (!found) continue;
      const source = found.innerHTML;
      if (source === last.get(name) || busy(part)) continue;
      last.set(name, source);
      writeMoments(found);
      part.replaceChildren(...[...found.childNodes].map((node) => document.adoptNode(node)));
    }
  }

  function poll() {
    if (document.hidden) { setTimeout(poll, EVERY); return; }
    const request = new XMLHttpRequest();
    request.open("GET", location.href);
    request.responseType = "document";
    request.setRequestHeader("X-Live", "1");
    request.timeout = 20000;
    request.onload = () => {
      if (request.status === 401) { location.reload(); return; }
      if (request.status === 200 && request.response) refresh(request.response);
      setTimeout(poll, EVERY);
    };
    request.onerror = request.ontimeout = () => setTimeout(poll, EVERY * 2);
    request.send();
  }

  for (const part of document.querySelectorAll("[data-live]")) last.set(part.getAttribute("data-live"), part.innerHTML);
  writeMoments(document);
  if (last.size > 0) setTimeout(poll, EVERY);
})();
