import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vitest/config";

/**
 * The daemon serves the page with `Content-Security-Policy: default-src 'self'`: every script, style and
 * image must be a file of its own. So nothing is inlined, and styles are emitted, not injected.
 */
export default defineConfig({
  plugins: [svelte()],
  build: {
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    cssCodeSplit: false,
    reportCompressedSize: false,
  },
  server: {
    // `npm run dev`: the page from here, the data from dev/mock.mjs or, with DAEMON=URL, from a real daemon.
    proxy: { "/api": { target: process.env["DAEMON"] ?? "http://127.0.0.1:7718", changeOrigin: true } },
  },
  test: { include: ["src/**/*.test.ts"], environment: "node" },
});
