/** Starts the page. `wire.ts` → `feed.ts` → `store.svelte.ts` → `derive/` → `views/` → `parts/`, `draw/`. */

import { mount } from "svelte";
import "./app.css";
import App from "./views/App.svelte";
import { store } from "./store.svelte";

// The printed link carries the token once; the server has traded it for a cookie. It must not stay in the address bar.
const address = new URL(location.href);
if (address.searchParams.has("token")) {
  address.searchParams.delete("token");
  history.replaceState(null, "", address);
}

store.begin();
mount(App, { target: document.getElementById("app") as HTMLElement });
