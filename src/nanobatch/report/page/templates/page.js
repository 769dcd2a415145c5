// The contact sheet: which images to show, one of them in full, and the code that finishes chosen ones.
// What came from a prompt or a model is only ever set as text.
"use strict";
(() => {
  const TILES = 120; // added at a time, so that 10,000 images do not become 100,000 nodes at once
  const byId = (id) => document.getElementById(id);
  const read = (element) => JSON.parse(element.textContent);

  const run = read(byId("run"));
  const jobs = [];
  const items = [];
  const bySlot = new Map();
  const byJob = new Map();
  const finishesOf = new Map();
  const add = (groups, key, item) => {
    if (key !== undefined) groups.has(key) ? groups.get(key).push(item) : groups.set(key, [item]);
  };
  document.querySelectorAll("script.items").forEach((element, portion) => {
    const some = read(element);
    jobs.push(...some.jobs);
    for (const item of some.items) {
      item.portion = portion;
      item.order = items.length;
      items.push(item);
    }
  });
  for (const item of items) {
    item.of = jobs[item.job] || { id: "", tag: "", prompt: "" };
    if (item.verdict === "failed") continue;
    add(bySlot, item.slot, item);
    add(byJob, item.job, item);
    add(finishesOf, item.parent, item);
  }
  for (const job of jobs) job.search = `${job.id}\n${job.prompt}`.toLowerCase();

  // Embedded thumbnails lie in portions of 100; one is parsed when its first image comes into view.
  const portions = document.querySelectorAll("script.thumbnails");
  const parsed = new Map();
  const thumbnailOf = (item) => {
    if (item.thumbnail !== true) return item.thumbnail || "";
    if (!parsed.has(item.portion)) parsed.set(item.portion, read(portions[item.portion]));
    return `data:image/webp;base64,${parsed.get(item.portion)[item.key]}`;
  };

  const WORDS = { accepted: "accepted", rejected: "rejected", held: "held", aside: "set aside", failed: "failed" };
  const SIGNS = { accepted: "✓", rejected: "✕", held: "…", aside: "–", failed: "!" };
  const nameOf = (item) => item.of.id + (item.number ? ` · ${item.number}` : "");
  const whyOf = (item) =>
    [item.kind && `${item.kind}:`, item.filter && `${item.filter}:`, item.reason, item.note].filter(Boolean).join(" ");
  const canFinish = (item) => item.verdict === "accepted" && item.tier === "lite";

  // --- Which images to show

  const form = byId("filters");
  const sheet = byId("sheet");
  const more = byId("more");
  let shown = [];
  let current = null;
  const chosen = new Set();

  const fill = (name, values) => {
    for (const value of [...new Set(values)].filter(Boolean).sort()) form[name].add(new Option(value, value));
    form[name].closest("label").hidden = form[name].length < 2;
  };
  fill("tag", jobs.map((job) => job.tag));
  fill("tier", items.map((item) => item.tier));
  fill("filter", items.map((item) => item.filter));
  if (!items.some((item) => item.score !== undefined)) form.order.querySelector("[value=score]").remove();

  const fits = () => {
    const text = form.text.value.trim().toLowerCase();
    const [tag, tier, filter] = [form.tag.value, form.tier.value, form.filter.value];
    return (item) =>
      (!tag || item.of.tag === tag) &&
      (!tier || item.tier === tier) &&
      (!filter || item.filter === filter) &&
      (!text || item.of.search.includes(text) || whyOf(item).toLowerCase().includes(text));
  };
  const ORDERS = {
    "": (a, b) => a.order - b.order,
    job: (a, b) => a.job - b.job || a.order - b.order,
    score: (a, b) => (b.score ?? -Infinity) - (a.score ?? -Infinity) || a.order - b.order,
    usd: (a, b) => Number(b.usd.replaceAll(",", "")) - Number(a.usd.replaceAll(",", "")) || a.order - b.order,
  };

  const show = () => {
    const fitting = items.filter(fits());
    const verdict = form.verdict.value;
    for (const mark of form.querySelectorAll("[data-count]")) {
      const wanted = mark.dataset.count;
      const count = wanted ? fitting.filter((item) => item.verdict === wanted).length : fitting.length;
      mark.textContent = count.toLocaleString("en");
    }
    shown = fitting.filter((item) => !verdict || item.verdict === verdict).sort(ORDERS[form.order.value]);
    const total = items.length.toLocaleString("en");
    const cut = run.failures > run.maxFailures && (!verdict || verdict === "failed");
    byId("count").textContent =
      `${shown.length.toLocaleString("en")} of ${total} shown` +
      (cut ? `; only the first ${run.maxFailures.toLocaleString("en")} failures have a tile.` : "");
    sheet.replaceChildren();
    addTiles();
  };

  const addTiles = () => {
    const from = sheet.childElementCount;
    sheet.append(...shown.slice(from, from + TILES).map(tileOf));
    more.hidden = sheet.childElementCount >= shown.length;
  };

  const coming = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries) {
        if (!isIntersecting) continue;
        coming.unobserve(target);
        target.src = thumbnailOf(target.item);
      }
    },
    { rootMargin: "600px" },
  );

  const tileOf = (item, index) => {
    const tile = byId("tile").content.cloneNode(true).firstElementChild;
    tile.item = item;
    tile.classList.add(item.verdict);
    const image = tile.querySelector("img");
    if (item.thumbnail) {
      image.item = item;
      coming.observe(image);
    } else {
      image.replaceWith(signOf(item));
    }
    tile.querySelector(".name").textContent = nameOf(item);
    tile.querySelector(".why").textContent =
      item.verdict === "accepted" ? `USD ${item.usd}, ${item.tier}` : `${SIGNS[item.verdict]} ${WORDS[item.verdict]}: ${whyOf(item)}`;
    const pick = tile.querySelector(".pick");
    if (canFinish(item)) {
      pick.querySelector("input").checked = chosen.has(item);
      pick.querySelector("span").textContent = `Select ${nameOf(item)} to finish it`;
    } else {
      pick.remove();
    }
    return tile;
  };

  const signOf = (item) => {
    const sign = document.createElement("span");
    sign.className = "sign";
    sign.setAttribute("aria-hidden", "true");
    sign.textContent = SIGNS[item.verdict];
    return sign;
  };

  // The frame has the shape of most images, so that few of them are shown with a margin.
  const shapes = new Map();
  for (const { width, height } of items) {
    if (width) add(shapes, `${width} / ${height}`, true);
  }
  const [shape] = [...shapes].sort((a, b) => b[1].length - a[1].length)[0] || ["1"];
  document.documentElement.style.setProperty("--shape", shape);

  form.querySelector(".choices").open = matchMedia("(min-width: 50rem)").matches;
  form.addEventListener("input", show);
  form.addEventListener("submit", (event) => event.preventDefault());
  more.addEventListener("click", addTiles);
  const ending = new IntersectionObserver(
    (entries) => {
      if (!entries.at(-1).isIntersecting) return;
      addTiles();
      ending.unobserve(more); // observed anew it says whether it is still in view: a screen may be large
      ending.observe(more);
    },
    { rootMargin: "900px" },
  );
  ending.observe(more);

  sheet.addEventListener("click", (event) => {
    const tile = event.target.closest(".tile");
    if (event.target.closest(".open")) open(tile.item);
  });
  sheet.addEventListener("change", (event) => choose(event.target.closest(".tile").item, event.target.checked));
  sheet.addEventListener("keydown", (event) => {
    const tile = event.target.closest(".tile");
    const columns = getComputedStyle(sheet).gridTemplateColumns.split(" ").length;
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
    if (!step || !event.target.closest(".open")) return;
    const to = sheet.children[[...sheet.children].indexOf(tile) + step];
    if (to) to.querySelector(".open").focus();
    event.preventDefault();
  });

  // --- One image

  const detail = byId("detail");
  const part = (selector) => detail.querySelector(selector);

  const open = (item) => {
    current = item;
    detail.className = item.verdict;
    byId("detail-title").textContent = nameOf(item);
    part(".badge").textContent = WORDS[item.verdict];
    part(".badge").className = `badge ${item.verdict}`;
    part(".reason").textContent = whyOf(item);
    part(".prompt").textContent = item.of.prompt;
    const length = (item.of.characters || 0).toLocaleString("en");
    const isOlder = (byJob.get(item.job) || []).some((other) => other.attempt > item.attempt);
    part(".cut").textContent = [
      item.of.characters && `The prompt has ${length} characters; only the first are shown.`,
      isOlder && "This image was drawn for an earlier prompt of this job.",
    ].filter(Boolean).join(" ");
    part("dl").replaceChildren(
      ...Object.entries({
        Cost: `USD ${item.usd}${item.parent !== undefined ? ", draft and finish together" : ""}`,
        Tag: item.of.tag,
        Tier: [item.tier, item.stage !== "candidate" && item.stage].filter(Boolean).join(", "),
        Model: item.model,
        Score: item.score?.toPrecision(3),
        Size: item.width && `${item.width} × ${item.height}, ${item.type}`,
        Slot: item.slot,
        Drawn: `${item.at.slice(0, 10)} ${item.at.slice(11, 19)}`,
      }).flatMap(([term, value]) => (value ? pairOf(term, value) : [])),
    );
    showPicture(item);
    showRelated(item);
    part(".choose").hidden = !canFinish(item);
    part(".choose input").checked = chosen.has(item);
    part("[data-step='-1']").disabled = shown.indexOf(item) <= 0;
    part("[data-step='1']").disabled = [-1, shown.length - 1].includes(shown.indexOf(item));
    if (!detail.open) detail.showModal();
  };

  const pairOf = (term, value) => {
    const [dt, dd] = [document.createElement("dt"), document.createElement("dd")];
    dt.textContent = term;
    dd.textContent = value;
    dd.dir = "auto";
    return [dt, dd];
  };

  const showPicture = (item) => {
    const [image, note, link] = [part(".picture img"), part(".picture .note"), part(".full")];
    const small = thumbnailOf(item);
    image.hidden = !small;
    image.alt = small ? `${nameOf(item)}, ${WORDS[item.verdict]}` : "";
    image.src = small || "data:,";
    image.classList.toggle("small", Boolean(small));
    note.textContent = small || item.file ? "" : "No image was kept.";
    link.hidden = !item.file;
    link.removeAttribute("href");
    if (!item.file) {
      if (small) note.textContent = "Only this thumbnail was kept.";
      return;
    }
    link.href = item.file;
    const full = new Image();
    full.onload = () => {
      if (current !== item) return;
      image.src = full.src;
      image.hidden = false;
      image.classList.remove("small");
    };
    full.onerror = () => {
      if (current === item) note.textContent = `The full image is not to be found from here: ${decodeURIComponent(item.file)}`;
    };
    full.src = item.file;
  };

  const showRelated = (item) => {
    const others = (byJob.get(item.job) || []).filter((other) => other !== item);
    const drafts = item.parent === undefined ? [] : bySlot.get(item.parent) || [];
    const finishes = (item.verdict !== "failed" && finishesOf.get(item.slot)) || [];
    const same = others.filter((other) => !drafts.includes(other) && !finishes.includes(other));
    part(".related").replaceChildren(
      ...[["Made from this draft", drafts], ["Finished as", finishes], ["Of the same prompt", same.slice(0, 12)]]
        .filter(([, some]) => some.length)
        .flatMap(([title, some]) => {
          const heading = document.createElement("h3");
          heading.textContent = title;
          const list = document.createElement("ul");
          list.append(...some.map(linkOf));
          return [heading, list];
        }),
    );
  };

  const linkOf = (item) => {
    const [entry, button] = [document.createElement("li"), document.createElement("button")];
    button.type = "button";
    button.className = `related-image ${item.verdict}`;
    button.addEventListener("click", () => open(item));
    const words = `${nameOf(item)}, slot ${item.slot}, ${WORDS[item.verdict]}`;
    button.setAttribute("aria-label", words);
    button.title = words;
    if (item.thumbnail) {
      const image = document.createElement("img");
      image.alt = "";
      image.src = thumbnailOf(item);
      button.append(image);
    } else {
      button.append(signOf(item));
    }
    entry.append(button);
    return entry;
  };

  const step = (by) => {
    const place = shown.indexOf(current);
    const to = shown[place + by];
    if (place >= 0 && to) open(to);
  };
  detail.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (by && !event.target.matches("input, pre, .prompt")) step(by);
  });
  for (const button of detail.querySelectorAll("[data-step]")) {
    button.addEventListener("click", () => step(Number(button.dataset.step)));
  }
  part(".choose input").addEventListener("change", (event) => choose(current, event.target.checked));
  detail.addEventListener("close", () => {
    const tile = [...sheet.children].find((one) => one.item === current);
    if (tile) tile.querySelector(".open").focus();
  });
  for (const dialog of document.querySelectorAll("dialog")) {
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog || event.target.closest("[data-close]")) dialog.close();
    });
  }

  // --- The code that finishes chosen images

  const choose = (item, isChosen) => {
    isChosen ? chosen.add(item) : chosen.delete(item);
    for (const tile of sheet.children) {
      if (tile.item === item) tile.querySelector("input").checked = isChosen;
    }
    showSelection();
  };

  const showSelection = () => {
    byId("selection").hidden = !chosen.size || byId("images").hidden;
    byId("selection").querySelector("p").textContent = `${chosen.size.toLocaleString("en")} selected`;
  };

  // A Python string is written like a JSON string; characters that hide or turn text are spelt out.
  const literal = (text) =>
    JSON.stringify(text).replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (one) => `\\U${one.codePointAt(0).toString(16).padStart(8, "0")}`);
  const codeOf = () => {
    const picks = [...chosen].sort((a, b) => a.order - b.order);
    const lines = picks.map((item) => `    (${literal(item.of.id)}, ${item.number}),`);
    return [
      "from nanobatch import Checkpoint",
      "",
      "chosen = {",
      ...lines,
      "}",
      `with Checkpoint.read(${literal(run.location)}) as checkpoint:`,
      "    images = [one for one in checkpoint.images() if (one.job_id, one.number) in chosen]",
      "result = await pipeline.finish(images)  # in a script: anyio.run(pipeline.finish, images)",
    ].join("\n");
  };

  const code = byId("code");
  const said = code.querySelector("[role=status]");
  byId("show-code").addEventListener("click", () => {
    code.querySelector("code").textContent = codeOf();
    said.textContent = "";
    code.showModal();
  });
  byId("copy").addEventListener("click", async () => {
    const text = code.querySelector("code");
    try {
      await navigator.clipboard.writeText(text.textContent);
      said.textContent = "Copied.";
    } catch {
      getSelection().selectAllChildren(text);
      said.textContent = "Selected: press Ctrl+C or ⌘C.";
    }
  });
  byId("clear").addEventListener("click", () => {
    for (const item of [...chosen]) choose(item, false);
  });

  // --- The parts of the page

  const route = () => {
    const views = [...document.querySelectorAll(".view")];
    const wanted = views.find((view) => `#${view.id}` === location.hash) || views[0];
    for (const view of views) view.hidden = view !== wanted;
    for (const link of document.querySelectorAll(".views a")) {
      if (link.hash === `#${wanted.id}`) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    showSelection();
  };
  addEventListener("hashchange", () => {
    route();
    scrollTo(0, 0);
  });
  document.documentElement.classList.add("scripted");
  route();
  show();
})();
