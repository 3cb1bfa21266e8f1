/** Which unknown is being explained, and beside what. One explanation at a time on the page. */

import type { Unknown } from "../wire";

class HintState {
  at = $state.raw<DOMRect | null>(null);
  why = $state.raw<Unknown | null>(null);
  young = $state(false);

  show(element: Element, why: Unknown | null, young: boolean): void {
    this.at = element.getBoundingClientRect();
    this.why = why;
    this.young = young;
  }
  hide(): void {
    this.at = null;
  }
}

export const hint = new HintState();
