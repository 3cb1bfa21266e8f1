/** A run from its start on the page to its verdict, and what the page says when the workbench is killed. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Daemon, eventually, openBrowser, openPage, shoot } from "./daemon.mjs";

const daemon = new Daemon();
let browser;

before(async () => {
  await daemon.start();
  browser = await openBrowser();
});

after(async () => {
  await browser?.close();
  await daemon.remove();
});

async function at(hash) {
  const page = await openPage(browser, daemon);
  await page.goto(`${daemon.origin}/${hash}`);
  await page.locator(".link.live").waitFor();
  return page;
}

test("before the first run the scenarios are offered, and the workbench is said not to run", async () => {
  const page = await at("#/threads?process=workbench");
  await page.getByRole("alert").filter({ hasText: "The workbench is not running" }).waitFor();
  await page.goto(`${daemon.origin}/#/overview`);
  const offered = page.locator("[data-scenario]");
  await offered.first().waitFor();
  const names = await offered.evaluateAll((each) => each.map((one) => one.dataset.scenario));
  assert.deepEqual(names.toSorted(), (await daemon.ask("/scenarios")).scenarios.map(({ name }) => name).toSorted());
  await shoot(page, "no-run");
  await page.context().close();
});

test("a run is started on the page, ends, and shows its verdict and thresholds", async () => {
  const page = await at("#/overview");
  await page.locator('[data-scenario="quick"] button').click();
  await page.locator('[data-part="run"]').getByText("running").first().waitFor();
  // Which verdict it is depends on the machine; that the page shows the daemon's does not.
  await page.locator('[data-part="run"] [data-verdict]').waitFor();
  const { runs } = await daemon.ask("/runs");
  assert.equal(runs.length, 1);
  assert.equal(await page.locator('[data-part="run"] [data-verdict]').getAttribute("data-verdict"), runs[0].verdict ?? runs[0].phase);
  const report = await daemon.ask(`/runs/${runs[0].id}/report.json`);
  assert.ok(report.thresholds.length > 0);
  await page.locator(".thresholds li").nth(report.thresholds.length - 1).waitFor();
  // The ledger saw what a task took; with several loads the figures are folded away until asked for.
  assert.ok(report.loads.every((load) => load.heap_peak_bytes > 0));
  if (report.loads.length > 1) await page.locator(".facts summary").click();
  await page.locator(".facts").getByText("Most heap one task had in use at once (ledger)").first().waitFor();
  await shoot(page, "run-over");
  await page.context().close();
});

test("a killed workbench is said to be gone, with the way out; the finished run is still there", async () => {
  const page = await at("#/overview");
  const { workbench_pid: pid } = await daemon.ask("/pools");
  process.kill(pid, "SIGKILL");
  await eventually("the daemon says so", async () => (await daemon.ask("/health")).problems.some(({ message, fix }) => message.includes("signal 9") && fix !== null));
  await page.getByText("signal 9").first().waitFor();
  await shoot(page, "workbench-killed");
  assert.equal((await daemon.ask("/runs")).runs.length, 1, "no finished run is lost");
  await page.context().close();
});
