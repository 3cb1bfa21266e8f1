/** A real daemon on a free port, and a real browser that looks at it. */

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

export const root = new URL("../../", import.meta.url).pathname;
const require = createRequire(join(root, "dashboard/package.json"));
const { chromium } = require("playwright-core");
const axeSource = require("axe-core").source;
/** Generous: a loaded machine is slow, and a test that passes does not wait. */
export const PATIENCE = 60_000;

const screenshots = join(root, "target/screenshots");
mkdirSync(screenshots, { recursive: true });

/** Every process we started; whatever happens, none is left behind. */
const children = new Set();
process.on("exit", () => children.forEach((child) => child.kill("SIGKILL")));

export class Daemon {
  #stateDir = mkdtempSync(join(tmpdir(), "threadscape-browser-"));
  #child = null;
  port = 0;
  link = "";

  /** Starts, or starts again on the same port with the same token. */
  async start(...more) {
    const binary = process.env.THREADSCAPE_BIN;
    if (!binary) throw new Error("THREADSCAPE_BIN must name the threadscape binary; `make test-browser` sets it");
    const child = spawn(binary, ["serve", "--listen", `127.0.0.1:${this.port}`, "--state-dir", this.#stateDir, ...more], { cwd: root, stdio: ["ignore", "pipe", "pipe"] });
    children.add(child);
    child.on("exit", () => children.delete(child));
    this.#child = child;
    let errors = "";
    child.stderr.on("data", (text) => (errors = (errors + text).slice(-4000)));
    this.link = await new Promise((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`the daemon printed no link: ${errors}`)), PATIENCE);
      child.on("error", reject);
      child.on("exit", (code) => reject(new Error(`the daemon ended with ${code}: ${errors}`)));
      createInterface({ input: child.stdout }).on("line", (line) => {
        const found = /open (http:\/\/\S+)/.exec(line);
        if (!found) return;
        clearTimeout(late);
        resolve(found[1]);
      });
    });
    this.port = Number(new URL(this.link).port);
  }

  get origin() {
    return `http://127.0.0.1:${this.port}`;
  }

  get token() {
    return new URL(this.link).searchParams.get("token");
  }

  async kill(signal = "SIGKILL") {
    const child = this.#child;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    child.kill(signal);
    await once(child, "exit");
  }

  async remove() {
    await this.kill("SIGTERM");
    rmSync(this.#stateDir, { recursive: true, force: true });
  }

  /** A question past the page, to check what it shows. */
  async ask(path, init = {}) {
    const response = await fetch(`${this.origin}/api/v1${path}`, { ...init, headers: { Authorization: `Bearer ${this.token}`, "Content-Type": "application/json" } });
    if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
    return response.json();
  }
}

/** Asks again until the answer pleases, or patience ends. */
export async function eventually(what, attempt) {
  const end = Date.now() + PATIENCE;
  let last;
  while (Date.now() < end) {
    try {
      const value = await attempt();
      if (value) return value;
    } catch (error) {
      last = error;
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`${what} did not come about`, { cause: last });
}

export async function openBrowser() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"],
  });
}

/** A page of its own that has come in through the link. `page.complaints` holds what the browser complained about. */
export async function openPage(browser, daemon, { width = 1440, height = 900, ...context } = {}) {
  const own = await browser.newContext({ viewport: { width, height }, locale: "en-US", colorScheme: "dark", ...context });
  const page = await own.newPage();
  page.setDefaultTimeout(PATIENCE);
  page.complaints = [];
  page.on("console", (message) => message.type() === "error" && page.complaints.push(message.text()));
  page.on("pageerror", (error) => page.complaints.push(String(error)));
  await page.goto(daemon.link);
  await page.locator(".link.live").waitFor();
  return page;
}

export async function shoot(page, name) {
  await page.screenshot({ path: join(screenshots, `${name}.png`) });
}

/** Nothing serious that axe would complain about. */
export async function accessible(page, what) {
  await page.evaluate(axeSource);
  const violations = await page.evaluate(async () => {
    // Rows that are on their way would be measured where they are not.
    await Promise.all(document.getAnimations().filter((each) => each.effect.getTiming().iterations !== Infinity).map((each) => each.finished.catch(() => {})));
    const { violations } = await window.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"] });
    return violations.filter(({ impact }) => impact === "serious" || impact === "critical").map(({ id, nodes }) => `${id}: ${nodes.slice(0, 3).map((node) => `${node.html.slice(0, 160)} ${node.failureSummary}`).join(" | ")}`);
  });
  assert.deepEqual(violations, [], what);
}

/** A process with many blocked threads; null where there is no python3 to make it. */
export async function manyThreads(count) {
  if (spawnSync("python3", ["-c", "pass"]).status !== 0) return null;
  const program = `
import sys, threading
threading.stack_size(65536)
stop = threading.Event()
for i in range(${count} - 1):
    threading.Thread(target=stop.wait, daemon=True).start()
print("ready", flush=True)
sys.stdin.read()
`;
  const child = spawn("python3", ["-c", program], { stdio: ["pipe", "pipe", "inherit"] });
  children.add(child);
  child.on("exit", () => children.delete(child));
  const ready = await new Promise((resolve) => {
    child.stdout.once("data", () => resolve(true));
    child.on("exit", () => resolve(false));
  });
  return ready ? child : null;
}
