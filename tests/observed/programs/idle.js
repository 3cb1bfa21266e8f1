// Node.js at rest: the event loop waits for a timer, libuv's pool (started by the read) and V8's workers for work.
require("fs").readFile(__filename, () => {
  setTimeout(() => {}, 3_600_000);
  process.stdin.on("end", () => process.exit(0)).resume();
  console.log("ready");
});
