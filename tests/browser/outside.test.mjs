/** Processes that are not ours, from outside: where their threads stand, who waits for whom, what is wrong with them. */

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { accessible, Daemon, eventually, manyThreads, openBrowser, openPage, shoot } from "./daemon.mjs";

/**
 * Two threads that wait for each other's lock, one that waits behind the first, one that waits for a condition; main
 * waits for the first to end. It tells its tids, and sleeps for good.
 */
const DEADLOCK = `
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>
#include <sys/syscall.h>

pthread_mutex_t checking = PTHREAD_MUTEX_INITIALIZER, savings = PTHREAD_MUTEX_INITIALIZER, idle = PTHREAD_MUTEX_INITIALIZER;
pthread_cond_t work = PTHREAD_COND_INITIALIZER;
static pthread_barrier_t both;
static int tids[4];

static void named(int which, const char *name) {
  pthread_setname_np(pthread_self(), name);
  tids[which] = (int)syscall(SYS_gettid);
}
__attribute__((noinline)) void take_second(pthread_mutex_t *lock) {
  pthread_mutex_lock(lock);
  __asm__ volatile("" ::: "memory");
}
static void *debit(void *unused) {
  named(0, "debit");
  pthread_mutex_lock(&checking);
  pthread_barrier_wait(&both);
  pthread_barrier_wait(&both);
  take_second(&savings);
  return unused;
}
static void *credit(void *unused) {
  named(1, "credit");
  pthread_mutex_lock(&savings);
  pthread_barrier_wait(&both);
  pthread_barrier_wait(&both);
  take_second(&checking);
  return unused;
}
static void *teller(void *unused) {
  named(2, "teller");
  pthread_barrier_wait(&both);
  pthread_barrier_wait(&both);
  take_second(&checking);
  return unused;
}
static void *clerk(void *unused) {
  named(3, "clerk");
  pthread_barrier_wait(&both);
  pthread_barrier_wait(&both);
  pthread_mutex_lock(&idle);
  pthread_cond_wait(&work, &idle);
  return unused;
}
int main(void) {
  pthread_t threads[4];
  void *(*run[4])(void *) = {debit, credit, teller, clerk};
  pthread_barrier_init(&both, NULL, 5);
  for (int i = 0; i < 4; i++) pthread_create(&threads[i], NULL, run[i], NULL);
  pthread_barrier_wait(&both);
  printf("%d %d %d %d\\n", tids[0], tids[1], tids[2], tids[3]);
  fflush(stdout);
  pthread_barrier_wait(&both);
  pthread_join(threads[0], NULL);
}
`;

const daemon = new Daemon();
const folder = mkdtempSync(join(tmpdir(), "threadscape-outside-"));
let browser, bank, tids;
const noCompiler = spawnSync("cc", ["--version"]).status !== 0 && "needs a C compiler";

before(async () => {
  await daemon.start();
  browser = await openBrowser();
  if (noCompiler) return;
  const [source, program] = [join(folder, "bank.c"), join(folder, "bank")];
  writeFileSync(source, DEADLOCK);
  const built = spawnSync("cc", ["-O1", "-g", "-pthread", "-rdynamic", "-o", program, source], { encoding: "utf8" });
  assert.equal(built.status, 0, built.stderr);
  bank = spawn(program, [], { stdio: ["ignore", "pipe", "inherit"] });
  process.on("exit", () => bank.kill("SIGKILL"));
  const [line] = await once(createInterface({ input: bank.stdout }), "line");
  const [debit, credit, teller, clerk] = line.split(" ").map(Number);
  tids = { debit, credit, teller, clerk };
  // All of them have gone to sleep when the daemon says so.
  await eventually("everybody waits", async () => (await daemon.ask(`/processes/${bank.pid}/locks`)).waits.length >= 4);
});

after(async () => {
  await browser?.close();
  bank?.kill("SIGKILL");
  await daemon.remove();
  rmSync(folder, { recursive: true, force: true });
});

async function at(hash, options) {
  const page = await openPage(browser, daemon, options);
  await page.goto(`${daemon.origin}/${hash}`);
  await page.locator(".link.live").waitFor();
  return page;
}

test("the locks screen draws the circle in red, with both threads in it and the others outside", { skip: noCompiler }, async () => {
  const page = await at(`#/locks?process=${bank.pid}`);
  const graph = page.locator('[data-graph="deadlock"]');
  await graph.waitFor();
  const inCircle = await graph.locator('[data-node="thread"][data-cycle="true"]').evaluateAll((nodes) => nodes.map((node) => Number(node.dataset.tid)));
  assert.deepEqual(inCircle.toSorted(), [tids.debit, tids.credit].toSorted());
  assert.equal(await graph.locator('[data-edge="cycle"]').count(), 4);
  const [edge, bad] = await graph.locator('[data-edge="cycle"]').first().evaluate((path) => {
    const probe = document.createElement("i");
    probe.style.color = "var(--bad)";
    document.body.append(probe);
    return [getComputedStyle(path).stroke, getComputedStyle(probe).color];
  });
  assert.equal(edge, bad, "the circle is red");
  await graph.locator(`[data-node="thread"][data-cycle="false"][data-tid="${tids.teller}"]`).waitFor();
  for (const name of ["checking", "savings"]) await graph.getByText(name, { exact: true }).waitFor();

  // A lock says who holds it and who waits; a thread opens its details; both are in the address.
  await graph.locator('[data-node="lock"]', { hasText: "checking" }).click();
  const facts = page.locator('[data-part="lock"]');
  await facts.getByRole("link", { name: `debit ${tids.debit}` }).waitFor();
  assert.match(page.url(), /lock=0x/);
  await graph.locator(`[data-tid="${tids.credit}"]`).click();
  await page.locator('[data-part="thread"]').getByRole("heading", { name: "credit" }).waitFor();
  assert.match(page.url(), new RegExp(`thread=${tids.credit}`));
  await page.locator(".steps summary").first().click();
  await page.locator(".steps .frames").getByText("take_second").first().waitFor();
  await shoot(page, "locks-deadlock");
  await accessible(page, "locks");
  await page.reload();
  await facts.waitFor();
  assert.deepEqual(page.complaints, []);
  await page.context().close();
});

test("the table of locks says the same as the picture", { skip: noCompiler }, async () => {
  const page = await at(`#/locks?process=${bank.pid}&view=table`, { colorScheme: "light" });
  const rows = page.locator('[data-table="deadlocks"] tbody tr');
  await rows.first().waitFor();
  assert.equal(await rows.count(), 2);
  const { locks, waits } = await daemon.ask(`/processes/${bank.pid}/locks`);
  assert.equal(await page.locator('[data-table="locks"] tbody tr').count(), locks.length);
  assert.equal(await page.locator('[data-table="waits"] tbody tr').count(), waits.length);
  await page.locator('[data-table="waits"]').getByText("clerk").waitFor();
  await accessible(page, "locks as tables, light");
  await page.context().close();
});

test("stacks name functions, are found by them, and lead from a thread and back", { skip: noCompiler }, async () => {
  const page = await at(`#/stacks?process=${bank.pid}`);
  const shown = page.locator("[data-stack]");
  await shown.first().waitFor();
  assert.equal(await page.locator('[data-figure="threads"]').textContent(), "5");
  await page.getByText("pthread_mutex_lock").first().waitFor();
  await page.keyboard.press("/");
  await page.keyboard.type("take_second");
  await eventually("only those that took a second lock", async () => {
    const said = await page.locator('[data-figure="shown"]').textContent();
    return / 3 threads/.test(said);
  });
  assert.match(page.url(), /find=take_second/);
  await page.keyboard.press("Enter");
  await page.keyboard.press("Enter");
  await eventually("a stack is opened or closed by a key", async () => (await page.locator('.toggle[aria-expanded="true"]').count()) > 0 || (await page.keyboard.press("Enter"), false));
  await page.locator(".frames .hit", { hasText: "take_second" }).first().waitFor();
  await shoot(page, "stacks");
  await accessible(page, "stacks");
  await page.locator("[data-search]").fill("");

  await page.locator(`.thread[data-tid="${tids.debit}"]`).or(page.locator(".toggle").first()).first().waitFor();
  await page.goto(`${daemon.origin}/#/threads?process=${bank.pid}&thread=${tids.debit}`);
  const details = page.locator('[data-part="thread"]');
  await details.getByRole("heading", { name: "debit" }).waitFor();
  await details.locator('[data-to="stacks"]').click();
  await page.locator(`.thread.chosen[data-tid="${tids.debit}"]`).waitFor();
  await details.locator('[data-to="locks"]').click();
  await page.locator(`[data-node="thread"][data-tid="${tids.debit}"][aria-pressed="true"]`).waitFor();
  assert.deepEqual(page.complaints, []);
  await page.context().close();
});

test("stacks are read again on request, and a pause asks first", { skip: noCompiler }, async () => {
  const page = await at(`#/stacks?process=${bank.pid}`);
  const taken = page.locator("[data-taken]");
  await taken.waitFor();
  const before = await taken.getAttribute("data-taken");
  await page.locator("[data-refresh]").click();
  await eventually("a newer answer", async () => (await taken.getAttribute("data-taken")) !== before);
  const first = await taken.getAttribute("data-taken");
  await page.locator("[data-pause]").click();
  await page.getByRole("alertdialog").waitFor();
  assert.equal(await taken.getAttribute("data-taken"), first, "nothing happens before one has agreed");
  await page.locator("[data-pause-yes]").click();
  await eventually("an answer with a pause", async () => (await taken.getAttribute("data-taken")) !== first);
  // Everybody there is blocked: nobody needed to be stopped, and nobody was left so.
  const { threads } = await daemon.ask(`/processes/${bank.pid}/threads`);
  assert.ok(threads.every(({ state }) => state === "sleeping"), JSON.stringify(threads.map(({ state }) => state)));
  await page.context().close();
});

test("the deadlock is a finding: in the list, in the bar, beside the process' name", { skip: noCompiler }, async () => {
  // It is watched from the moment somebody looks.
  const page = await at(`#/findings?process=${bank.pid}&scope=process`);
  const finding = page.locator('[data-kind="deadlock"]');
  await finding.waitFor();
  await finding.locator(".toggle").click();
  for (const tid of [tids.debit, tids.credit]) await finding.locator(`.thread[data-tid="${tid}"]`).waitFor();
  assert.match(page.url(), /finding=/);
  await page.locator("nav [data-found]").waitFor();
  await shoot(page, "findings");
  await accessible(page, "findings");
  await page.reload();
  await finding.locator('.toggle[aria-expanded="true"]').waitFor();
  await finding.locator(`.thread[data-tid="${tids.debit}"]`).click();
  await page.locator('main[data-screen="locks"] [data-graph="deadlock"]').waitFor();

  await page.goto(`${daemon.origin}/#/processes?filter=${bank.pid}`);
  await page.locator(`[data-pid="${bank.pid}"] [data-marks]`, { hasText: "Deadlock" }).waitFor();
  await page.goto(`${daemon.origin}/#/overview`);
  await page.locator('[data-part="found"]', { hasText: "Deadlock" }).waitFor();
  assert.deepEqual(page.complaints, []);
  await page.context().close();
});

test("processes stand below their parents, fold by keys, and lead to their screens", { skip: noCompiler }, async () => {
  const page = await at("#/processes?shape=tree&process_sort=pid&process_order=asc");
  await page.locator(".row[data-pid]").first().waitFor();
  await page.locator("[data-search]").fill("bank");
  const row = page.locator(`.row[data-pid="${bank.pid}"]`);
  await row.waitFor();
  // This test is its parent, and stands above it.
  const parent = page.locator(`.row[data-pid="${process.pid}"]`);
  await parent.waitFor();
  const level = async (of) => Number(await of.getAttribute("aria-level"));
  assert.equal(await level(row), (await level(parent)) + 1);
  await shoot(page, "processes-tree");
  await accessible(page, "processes as a tree");
  await page.locator("[data-search]").fill("");
  const grid = page.getByRole("treegrid");
  await grid.focus();
  const before = Number(await grid.getAttribute("aria-rowcount"));
  await page.keyboard.press("Home");
  await page.keyboard.press("ArrowLeft");
  await eventually("the first is folded", async () => Number(await grid.getAttribute("aria-rowcount")) < before || (await page.locator(".row .fold").count()) === 0);
  await page.locator('[data-shape="list"]').click();
  await page.locator("[data-search]").fill(String(bank.pid));
  await page.locator(`.row[data-pid="${bank.pid}"] [data-to="stacks"]`).click();
  await page.locator('main[data-screen="stacks"] [data-stack]').first().waitFor();
  assert.match(page.url(), new RegExp(`process=${bank.pid}`));
  await page.context().close();
});

test("a process without lock waits has none, and one that is not there is said to be so", async () => {
  const idle = spawn("sleep", ["600"]);
  process.on("exit", () => idle.kill("SIGKILL"));
  try {
    const page = await at(`#/locks?process=${idle.pid}`);
    await page.getByText("No thread waits for a lock").waitFor();
    await page.goto(`${daemon.origin}/#/findings?process=${idle.pid}&scope=process`);
    await page.getByText("Nothing is found wrong").waitFor();
    for (const screen of ["stacks", "locks"]) {
      await page.goto(`${daemon.origin}/#/${screen}?process=4194303`);
      await page.getByRole("alert").waitFor();
    }
    await page.context().close();
  } finally {
    idle.kill("SIGKILL");
  }
});

test("thousands of threads in a few stacks stay a few rows", async (t) => {
  const crowd = await manyThreads(4000);
  if (crowd === null) return t.skip("needs python3 and room for 4000 threads");
  try {
    const page = await at(`#/stacks?process=${crowd.pid}`);
    await page.locator("[data-stack]").first().waitFor();
    const toggle = page.locator('.toggle').first();
    if ((await toggle.getAttribute("aria-expanded")) === "false") await toggle.click();
    await page.locator(".frames").first().waitFor();
    assert.ok((await page.locator(".thread").count()) < 200, "threads are shown a few at a time");
    await page.locator(".thread.more").first().click();
    await eventually("more of them", async () => (await page.locator(".thread").count()) > 200);
    await page.goto(`${daemon.origin}/#/locks?process=${crowd.pid}`);
    await page.locator("[data-figure='waits']").waitFor();
    await eventually("all but one wait", async () => Number((await page.locator("[data-figure='waits']").textContent()).replace(/\D/g, "")) > 3000);
    assert.ok((await page.locator("main *").count()) < 3000);
    await page.context().close();
  } finally {
    crowd.kill("SIGKILL");
  }
});

test("on a telephone nothing of it runs off the side", { skip: noCompiler }, async () => {
  for (const width of [480, 390]) {
    const page = await at("#/overview", { width, height: 800, colorScheme: width === 390 ? "light" : "dark" });
    for (const hash of [`#/stacks?process=${bank.pid}&thread=${tids.debit}`, `#/locks?process=${bank.pid}&thread=${tids.debit}`, `#/locks?process=${bank.pid}&view=table`, `#/findings?process=${bank.pid}&scope=process`, "#/processes", "#/processes?shape=tree"]) {
      await page.goto(`${daemon.origin}/${hash}`);
      await page.locator("[data-stack], [data-graph], [data-table], [data-finding], .row[data-pid]").first().waitFor();
      const [inner, outer] = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
      assert.ok(inner <= outer, `${hash} at ${width}: ${inner} > ${outer}`);
      await accessible(page, `${hash} at ${width}`);
      if (width === 390) await shoot(page, `phone${hash.replace(/\?.*/, "").replace(/\W+/g, "-")}`);
    }
    await page.context().close();
  }
});
