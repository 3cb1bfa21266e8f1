/** `npm run dev`: the page from source, and the mock daemon behind it unless DAEMON names a real one. */

import { spawn } from "node:child_process";

const here = new URL("..", import.meta.url).pathname;
const children = [spawn("npx", ["vite", ...process.argv.slice(2)], { cwd: here, stdio: "inherit" })];
if (!process.env.DAEMON) children.push(spawn(process.execPath, ["dev/mock.mjs"], { cwd: here, stdio: "inherit" }));

for (const child of children) {
  child.on("exit", (code) => {
    for (const other of children) other.kill();
    process.exitCode ??= code ?? 1;
  });
}
