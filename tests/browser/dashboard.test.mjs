/** The dashboard in a real browser, with a real daemon and its workbench behind it. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { accessible, Daemon, eventually, manyThreads, openBrowser, openPage, shoot } from "./daemon.mjs";

const daemon = new Daemon();
let browser;

before(async () => {
  await daemon.start("--scenario", "config/scenarios/demo.toml");
  browser = await openBrowser();
  await eventually("work on the pools", async () => (await daemon.ask("/pools")).pools.some((pool) => pool.done > 0));
});

after(async () => {
  await browser?.close();
  await daemon.remove();
});

/** The page at a place of the dashboard, by its address as a reader would have been sent it. */
async function at(hash, options) {
  const page = await openPage(browser, daemon, options);
  await page.goto(`${daemon.origin}/${hash}`);
  await page.locator(".link.live").waitFor();
  return page;
}

const firstRow = (page) => page.locator(".row[data-tid]").first();
/** Rows as they stand on the screen, from top to bottom. */
const onScreen = (page) =>
  page.locator(".row[data-tid]").evaluateAll((rows) =>
    rows.map((row) => ({ index: Number(row.getAttribute("aria-rowindex")), tid: Number(row.dataset.tid), name: row.querySelector(".name").textContent.trim() })).sort((a, b) => a.index - b.index));

test("the link is traded for a cookie, and the token leaves the address bar", async () => {
  const page = await openPage(browser, daemon);
  assert.ok(!page.url().includes("token"), page.url());
  const cookies = await page.context().cookies();
  assert.ok(cookies.some((cookie) => cookie.httpOnly && cookie.sameSite === "Strict"), JSON.stringify(cookies));
  assert.equal(await page.evaluate(() => document.cookie), "");
  await page.reload();
  await page.locator(".link.live").waitFor();
  assert.deepEqual(page.complaints, []);
  await page.context().close();
});

test("without the cookie the daemon tells nothing", async () => {
  const stranger = await browser.newContext();
  const page = await stranger.newPage();
  const response = await page.goto(`${daemon.origin}/`);
  assert.equal(response.status(), 401);
  await stranger.close();
});

test("the overview shows the machine, the run, its pools, and the workbench among the processes", async () => {
  const page = await at("#/overview");
  await page.locator('[data-part="machine"] .big').first().waitFor();
  const run = await eventually("a run", async () => (await daemon.ask("/runs")).runs[0]);
  await page.locator(`[data-run="${run.id}"]`).waitFor();
  await page.locator('[data-part="run"] canvas').nth(1).waitFor();
  const { pools, workbench_pid: pid } = await daemon.ask("/pools");
  for (const pool of pools) await page.locator('[data-part="pools"] article', { hasText: pool.name }).first().waitFor();
  const workbench = page.locator('[data-part="processes"] tbody tr.ours', { hasText: "workbench" });
  await workbench.waitFor();
  assert.equal(await workbench.locator("td").nth(1).textContent(), String(pid));
  await shoot(page, "overview-dark");
  await accessible(page, "overview");
  assert.deepEqual(page.complaints, []);
  await page.context().close();
});

test("processes are found by the daemon, and the address bar keeps the search", async () => {
  const page = await at("#/overview");
  await page.keyboard.press("/");
  await page.keyboard.type("no-such-process-name");
  await page.locator('[data-part="processes"] .empty').waitFor();
  assert.match(page.url(), /filter=no-such-process-name/);
  await page.keyboard.press("Escape");
  await page.locator('[data-part="processes"] tbody tr').first().waitFor();
  assert.ok(!page.url().includes("filter="));
  await page.context().close();
});

test("the rate of a run is changed, and stopping asks first", async () => {
  const page = await at("#/overview");
  const run = page.locator('[data-part="run"]');
  await run.getByRole("button", { name: "Slower" }).click();
  await run.locator("output", { hasText: "×0.5" }).waitFor();
  assert.equal((await daemon.ask("/runs")).runs[0].rate_factor, 0.5);
  await run.getByRole("button", { name: "Faster" }).click();
  await run.locator("output", { hasText: "×1" }).waitFor();
  await run.getByRole("button", { name: "Stop" }).click();
  await run.getByRole("button", { name: "Keep it" }).click();
  assert.equal((await daemon.ask("/runs")).runs[0].phase, "running");
  await page.context().close();
});

test("threads of the workbench are listed, filtered, sorted, and told about", async () => {
  const page = await at("#/threads");
  await firstRow(page).waitFor();
  const answer = await daemon.ask("/processes/workbench/threads?limit=1000");
  const workers = answer.threads.filter((thread) => thread.name.startsWith("ts-"));
  assert.ok(workers.length > 0);
  await page.locator('[data-search]').fill("ts-");
  await eventually("only workers", async () => {
    const rows = await onScreen(page);
    return rows.length === workers.length && rows.every((row) => row.name.startsWith("ts-"));
  });
  assert.match(page.url(), /name=ts-/);

  await page.locator('[data-sort="name"]').click();
  await eventually("names in order", async () => {
    const names = (await onScreen(page)).map((row) => row.name);
    return names.length === workers.length && JSON.stringify(names) === JSON.stringify([...names].sort());
  });
  assert.equal(await page.locator('[role="columnheader"].name').getAttribute("aria-sort"), "ascending");

  const [pool, members] = Object.entries(answer.pools)[0];
  await page.locator(`[data-pool="${pool}"]`).click();
  await eventually("only the pool", async () => (await onScreen(page)).length === members);

  const { tid, name } = (await onScreen(page))[0];
  await firstRow(page).click();
  const details = page.locator('[data-part="thread"]');
  await details.getByRole("heading", { name, exact: true }).waitFor();
  assert.match(page.url(), new RegExp(`thread=${tid}`));
  await details.locator(".bar.tall i").first().waitFor();
  await details.locator("canvas").first().waitFor();
  await shoot(page, "threads-dark");
  await accessible(page, "threads with details");

  await page.reload();
  await details.getByRole("heading", { name, exact: true }).waitFor();
  await page.keyboard.press("Escape");
  await details.waitFor({ state: "detached" });
  assert.deepEqual(page.complaints, []);
  await page.context().close();
});

test("figures move without a reload, and rows stay while one points at them", async () => {
  const page = await at("#/threads?sort=cpu_ratio");
  await firstRow(page).waitFor();
  const text = () => page.locator(".rows").textContent();
  const before = await text();
  await eventually("new figures", async () => (await text()) !== before);
  await firstRow(page).hover();
  await page.locator(".held.on").waitFor();
  const order = (await onScreen(page)).map((row) => row.tid);
  const figures = await text();
  await eventually("newer figures", async () => (await text()) !== figures);
  assert.deepEqual((await onScreen(page)).map((row) => row.tid), order);
  await page.context().close();
});

test("the whole list is reached by keys alone", async () => {
  const page = await at("#/threads?sort=tid&order=asc");
  await firstRow(page).waitFor();
  await page.keyboard.press("/");
  await page.keyboard.press("Enter");
  await page.keyboard.press("ArrowDown");
  const grid = page.getByRole("grid");
  assert.equal(await grid.getAttribute("aria-activedescendant"), "row-1");
  const { total } = await daemon.ask("/processes/workbench/threads?limit=1");
  await page.keyboard.press("End");
  await eventually("the last row", async () => Number((await grid.getAttribute("aria-activedescendant"))?.slice(4)) >= Math.min(total, 3) - 1);
  await page.keyboard.press("Home");
  await page.keyboard.press("Enter");
  await page.locator('[data-part="thread"]').waitFor();
  await page.keyboard.press("Escape");
  await page.locator('[data-part="thread"]').waitFor({ state: "detached" });
  for (const [key, screen] of [["6", "memory"], ["1", "overview"], ["2", "processes"], ["4", "stacks"], ["5", "locks"], ["7", "findings"], ["3", "threads"]]) {
    await page.keyboard.press(key);
    await page.locator(`main[data-screen="${screen}"]`).waitFor();
  }
  await page.keyboard.press("?");
  await page.getByRole("dialog", { name: "Keyboard" }).waitFor();
  await page.keyboard.press("Escape");
  await page.context().close();
});

/** How many different colours a canvas shows, on a coarse grid. */
const colours = (canvas) =>
  canvas.evaluate((element) => {
    const { width, height } = element;
    const { data } = element.getContext("2d").getImageData(0, 0, width, height);
    const seen = new Set();
    for (let at = 0; at < width * height; at += 7) if (data[at * 4 + 3] > 0) seen.add(`${data[at * 4] >> 4},${data[at * 4 + 1] >> 4},${data[at * 4 + 2] >> 4}`);
    return seen.size;
  });

test("the memory picture is drawn, tells numbers on hover and by keys, and its table adds up", async () => {
  const page = await at("#/memory");
  const canvas = page.locator(".sky canvas");
  await eventually("a picture", async () => (await colours(canvas)) > 8);
  assert.ok(Number(await canvas.getAttribute("data-lanes")) > 0);

  const box = await canvas.boundingBox();
  await page.mouse.move(box.x + box.width / 2, box.y + 110);
  await page.locator("[data-card]", { hasText: "heap" }).waitFor();
  await page.mouse.move(box.x + box.width - 60, box.y + 80);
  await page.locator("[data-card]", { hasText: "tid" }).waitFor();
  await shoot(page, "memory-dark");

  await page.locator(".view").focus();
  await page.keyboard.press("Home");
  await page.locator("[data-card]", { hasText: "heap" }).waitFor();
  await page.keyboard.press("End");
  await page.locator("[data-card]", { hasText: "tid" }).waitFor();
  await accessible(page, "memory picture");
  await page.keyboard.press("Enter");
  await page.locator('[data-part="thread"] h2').waitFor();
  await page.keyboard.press("Escape");

  await page.locator('[data-view="table"]').click();
  await page.locator('[data-table="kinds"]').waitFor();
  const sums = await page.locator('[data-table="kinds"] tbody tr').evaluateAll((rows) =>
    rows.map((row) => [row.dataset.row, ...[...row.querySelectorAll("td")].map((cell) => (cell.dataset.bytes === undefined ? null : Number(cell.dataset.bytes)))]));
  const byName = Object.fromEntries(sums.map(([name, ...values]) => [name, values]));
  const kinds = sums.filter(([name]) => name.startsWith("shared.") || name.startsWith("per_thread."));
  assert.equal(kinds.length, 8);
  const answer = await daemon.ask("/processes/workbench/memory");
  assert.ok(answer.total.resident_bytes > 0);
  for (let column = 1; column <= 4; column += 1) {
    assert.equal(kinds.reduce((sum, row) => sum + row[column], 0), byName.total[column - 1]);
  }
  assert.ok(byName["kernel.rollup"][1] > 0);
  await accessible(page, "memory table");
  assert.deepEqual(page.complaints, []);
  await page.context().close();
});

test("ten thousand threads: only a window of rows is on the page", async (t) => {
  const crowd = await manyThreads(10_000);
  if (crowd === null) return t.skip("needs python3 and room for 10 000 threads");
  try {
    const page = await at(`#/threads?process=${crowd.pid}&sort=tid&order=asc`);
    // On a busy machine the daemon may read fewer than all within its time, and says so; a window stays a window.
    await eventually("thousands are counted", async () => Number((await page.locator('[data-figure="threads"]').textContent()).replace(/\D/g, "")) > 1000);
    await firstRow(page).waitFor();
    assert.ok((await page.locator(".row").count()) < 120);
    const grid = page.getByRole("grid");
    await grid.focus();
    await page.keyboard.press("End");
    await eventually("the last row", async () => (await onScreen(page)).at(-1)?.index === Number(await grid.getAttribute("aria-rowcount")));
    await page.keyboard.press("Home");
    await eventually("the first row", async () => (await onScreen(page))[0]?.index === 2);
    await shoot(page, "threads-10000");
    // It ends while we look: what was read stays, and the page says so.
    crowd.kill("SIGKILL");
    await page.getByRole("alert").first().waitFor();
    await page.context().close();
  } finally {
    crowd.kill("SIGKILL");
  }
});

test("two thousand threads: only the lanes in sight are drawn", async (t) => {
  const crowd = await manyThreads(2000);
  if (crowd === null) return t.skip("needs python3");
  try {
    const page = await at(`#/memory?process=${crowd.pid}`);
    const canvas = page.locator(".sky canvas");
    await eventually("a picture", async () => (await colours(canvas)) > 8);
    assert.ok(Number(await canvas.getAttribute("data-lanes")) < 120);
    await page.locator(".view").focus();
    await page.keyboard.press("End");
    await page.locator("[data-card]", { hasText: "tid" }).waitFor();
    assert.ok((await page.locator(".view").evaluate((view) => view.scrollTop)) > 10_000);
    await shoot(page, "memory-2000");
    await page.context().close();
  } finally {
    crowd.kill("SIGKILL");
  }
});

test("dark and light follow the system until told otherwise, and the choice is kept", async () => {
  const page = await at("#/overview", { colorScheme: "light" });
  const theme = () => page.evaluate(() => document.documentElement.dataset.theme);
  assert.equal(await theme(), "light");
  await page.locator('[data-part="machine"] .big').first().waitFor();
  await shoot(page, "overview-light");
  await accessible(page, "overview, light");
  await page.locator("[data-theme-toggle]").click();
  assert.equal(await theme(), "dark");
  await page.reload();
  await page.locator(".link.live").waitFor();
  assert.equal(await theme(), "dark");
  await page.context().close();

  const threads = await at("#/threads", { colorScheme: "light" });
  await firstRow(threads).waitFor();
  await accessible(threads, "threads, light");
  await threads.context().close();
});

test("the language is a choice that the address bar carries", async () => {
  const page = await at("#/threads");
  await page.locator("[data-language-toggle]").click();
  await page.locator("nav a", { hasText: "线程" }).waitFor();
  assert.match(page.url(), /lang=zh/);
  assert.equal(await page.evaluate(() => document.documentElement.lang), "zh-CN");
  await firstRow(page).waitFor();
  await shoot(page, "threads-chinese");
  await page.locator("[data-language-toggle]").click();
  await page.locator("nav a", { hasText: "Threads" }).waitFor();
  await page.context().close();
  const chinese = await openPage(browser, daemon, { locale: "zh-CN" });
  await chinese.locator("nav a", { hasText: "概览" }).waitFor();
  await chinese.context().close();
});

test("on a telephone nothing runs off the side", async () => {
  for (const width of [480, 360]) {
    const page = await at("#/overview", { width, height: 780 });
    await page.locator('[data-part="machine"] .big').first().waitFor();
    for (const hash of ["#/overview", "#/threads", "#/memory", "#/memory?view=table"]) {
      await page.goto(`${daemon.origin}/${hash}`);
      await page.locator(hash.includes("threads") ? ".row[data-tid]" : hash.includes("table") ? "[data-table]" : hash.includes("memory") ? ".sky canvas" : ".tile").first().waitFor();
      const [inner, outer, widest] = await page.evaluate(() => {
        const { scrollWidth, clientWidth } = document.documentElement;
        const over = [...document.querySelectorAll("main *")].filter((each) => !each.closest(".scroll-x") && each.getBoundingClientRect().right > clientWidth).map((each) => each.outerHTML.slice(0, 100));
        return [scrollWidth, clientWidth, over.slice(0, 5).join("\n")];
      });
      assert.ok(inner <= outer, `${hash} at ${width}: ${inner} > ${outer}: ${widest}`);
      if (width === 360) await shoot(page, `phone${hash.replace(/\W+/g, "-")}`);
    }
    await page.goto(`${daemon.origin}/#/threads`);
    await firstRow(page).click();
    await page.locator('[data-part="thread"] h2').waitFor();
    await accessible(page, `thread details at ${width}`);
    await page.context().close();
  }
});

test("a process that is not there and a thread that is not there are said to be so", async () => {
  const page = await at("#/threads?process=4194303");
  await page.getByRole("alert").waitFor();
  await page.getByRole("button", { name: "Choose another process" }).click();
  await page.locator('main[data-screen="overview"]').waitFor();
  await page.goto(`${daemon.origin}/#/threads?thread=4194303`);
  await page.locator('[data-part="thread"] [role="alert"]').waitFor();
  await page.context().close();
});

// Last: it ends the daemon that the others look at.
test("the daemon is killed and comes back: the page says so, waits, and goes on", async () => {
  const page = await at("#/threads");
  await firstRow(page).waitFor();
  await daemon.kill("SIGKILL");
  await page.locator(".banner").waitFor();
  assert.ok((await page.locator(".row[data-tid]").count()) > 0, "what was known stays");
  await shoot(page, "disconnected");
  await accessible(page, "disconnected");
  await daemon.start("--scenario", "config/scenarios/demo.toml");
  await page.locator(".link.live").waitFor();
  await page.locator(".banner").waitFor({ state: "detached" });
  const { workbench_pid: pid } = await eventually("a new workbench", async () => {
    const pools = await daemon.ask("/pools");
    return pools.workbench_pid !== null && pools;
  });
  await eventually("threads of the new workbench", async () => (await page.locator("[data-picker]").textContent()).includes(String(pid)));
  const text = () => page.locator(".rows").textContent();
  const before = await text();
  await eventually("new figures", async () => (await text()) !== before);
  await page.context().close();
});
