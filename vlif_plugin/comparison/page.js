"use strict";
(() => {
  const root = document.documentElement;

  // ---- light and dark; files opened from disk may have no storage
  const remembered = {
    get() { try { return localStorage.getItem("theme"); } catch { return null; } },
    set(theme) { try { localStorage.setItem("theme", theme); } catch { /* not kept */ } },
  };
  const button = document.getElementById("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const current = () => root.dataset.theme || (system.matches ? "dark" : "light");
  const name = () => { button.textContent = current() === "dark" ? "Light colours" : "Dark colours"; };
  const kept = remembered.get();
  if (kept === "dark" || kept === "light") root.dataset.theme = kept;
  button.hidden = false;
  button.addEventListener("click", () => {
    root.dataset.theme = current() === "dark" ? "light" : "dark";
    remembered.set(root.dataset.theme);
    name();
  });
  system.addEventListener("change", name);
  name();

  // ---- sorting: one way, the other way, as it was; what is missing stays last
  const numeric = (text) => text !== "" && !Number.isNaN(Number(text));
  function compare(a, b, sign) {
    if (a === "" || b === "") return (a === "") - (b === "");
    if (numeric(a) && numeric(b)) return sign * ((Number(a) > Number(b)) - (Number(a) < Number(b)));
    return sign * a.localeCompare(b, undefined, { numeric: true });
  }
  for (const table of document.querySelectorAll("table.data")) {
    const bodies = [...table.tBodies];
    const heads = [...table.querySelectorAll("thead tr:last-child th")];
    heads.forEach((head, column) => {
      const trigger = head.querySelector("button");
      if (!trigger) return;
      trigger.addEventListener("click", () => {
        const first = trigger.dataset.first;
        const second = first === "ascending" ? "descending" : "ascending";
        const was = head.getAttribute("aria-sort");
        const way = was === null ? first : was === first ? second : null;
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        let order = bodies;
        if (way) {
          head.setAttribute("aria-sort", way);
          const value = (body) => body.rows[0].cells[column].dataset.value ?? "";
          order = [...bodies].sort((a, b) => compare(value(a), value(b), way === "ascending" ? 1 : -1));
        }
        table.append(...order);
      });
    });
  }

  // ---- groups of columns of the measured table, shown or not
  const chooser = document.querySelector(".columns");
  const wide = document.querySelector("table.measured");
  if (chooser && wide) {
    let from = 1;
    for (const group of wide.querySelectorAll('th[scope="colgroup"]')) {
      const first = from, last = from + group.colSpan;
      from = last;
      const toggle = document.createElement("button");
      toggle.type = "button";
      toggle.textContent = group.textContent;
      toggle.setAttribute("aria-pressed", "true");
      toggle.addEventListener("click", () => {
        const off = toggle.getAttribute("aria-pressed") === "true";
        toggle.setAttribute("aria-pressed", String(!off));
        group.hidden = off;
        for (const row of wide.querySelectorAll("thead tr:last-child, tbody tr:first-child"))
          for (const cell of [...row.cells].slice(first, last)) cell.hidden = off;
      });
      chooser.append(toggle);
    }
    chooser.hidden = from === 1;
  }

  // ---- two versions of an image with a divider between them
  const pictures = JSON.parse(document.getElementById("pictures")?.textContent ?? "{}");
  for (const viewer of document.querySelectorAll(".viewer")) {
    const own = pictures[viewer.dataset.dataset];
    const find = (selector) => viewer.querySelector(selector);
    const pick = (what) => find(`[data-pick="${what}"]`);
    const stage = find(".stage"), divider = find(".divider"), frame = find(".frame");
    let view = "whole";

    function fill(select, entries, wanted) {
      const chosen = entries.some(([value]) => value === wanted) ? wanted : entries[0][0];
      select.replaceChildren(...entries.map(([value, text]) => new Option(text, value, false, value === chosen)));
    }
    function move(share) {
      const at = Math.min(Math.max(share, 0), 100);
      stage.style.setProperty("--at", `${at}%`);
      divider.setAttribute("aria-valuenow", Math.round(at));
      divider.setAttribute("aria-valuetext", `${Math.round(at)} % of the left image`);
    }
    function show() {
      const picture = own[pick("image").value];
      const [x, y, width, height] = picture.detail;
      for (const side of ["left", "right"]) {
        const panel = picture.panels.find((p) => p.key === pick(side).value);
        const image = find(`[data-side="${side}"]`);
        image.src = panel.src;
        image.alt = `${picture.image}: ${panel.name}`;
        image.style.transform = view === "detail"
          ? `scale(${1 / width}, ${1 / height}) translate(${-100 * x}%, ${-100 * y}%)` : "";
        const end = find(`[data-end="${side}"]`), label = document.createElement("b");
        label.textContent = panel.name;
        end.replaceChildren(label, panel.score ? ` ${panel.score}` : "");
      }
      stage.classList.toggle("close", view === "detail");
      const ratio = picture.width / picture.height;
      viewer.style.setProperty("--ratio", ratio);
      viewer.style.setProperty("--wide", `min(${Math.max(picture.width, 640)}px, ${80 * ratio}vh)`);
      Object.assign(frame.style, {
        left: `${100 * x}%`, top: `${100 * y}%`, width: `${100 * width}%`, height: `${100 * height}%`,
      });
      for (const button of viewer.querySelectorAll("[data-view]"))
        button.setAttribute("aria-pressed", button.dataset.view === view);
    }
    function choose() {
      const panels = own[pick("image").value].panels;
      const entries = panels.map((p) => [p.key, p.name]);
      const network = panels.find((p) => p.key.startsWith("row:")) ?? panels.at(-1);
      fill(pick("left"), entries, pick("left").value || "input");
      fill(pick("right"), entries, pick("right").value || network.key);
      show();
    }
    fill(pick("image"), own.map((picture, index) => [String(index), picture.image]), "0");
    pick("image").addEventListener("change", choose);
    pick("left").addEventListener("change", show);
    pick("right").addEventListener("change", show);
    for (const button of viewer.querySelectorAll("[data-view]"))
      button.addEventListener("click", () => { view = button.dataset.view; show(); });

    const follow = (event) => {
      const box = stage.getBoundingClientRect();
      move((100 * (event.clientX - box.left)) / box.width);
    };
    let dragged = null;
    stage.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      dragged = event.pointerId;
      try { stage.setPointerCapture(dragged); } catch { /* a pointer that is gone already */ }
      follow(event);
    });
    stage.addEventListener("pointermove", (event) => { if (event.pointerId === dragged) follow(event); });
    for (const end of ["pointerup", "pointercancel"])
      stage.addEventListener(end, () => { dragged = null; });
    divider.addEventListener("keydown", (event) => {
      const at = Number(divider.getAttribute("aria-valuenow"));
      const step = event.shiftKey ? 10 : 2;
      const to = {
        ArrowLeft: at - step, ArrowDown: at - step, ArrowRight: at + step, ArrowUp: at + step,
        PageDown: at - 10, PageUp: at + 10, Home: 0, End: 100,
      }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      move(to);
    });
    for (const part of viewer.querySelectorAll(":scope > [hidden]")) part.hidden = false;
    move(50);
    choose();
  }
})();
