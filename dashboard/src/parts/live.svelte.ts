/**
 * A question that is asked again and again, while somebody looks.
 *
 * One request at a time; a new question aborts the old; an answer to an old question is thrown away. Between
 * answers the last one stays on the screen. Hidden pages ask nothing.
 */

import { Refused } from "../feed";

export class Live<T> {
  value = $state.raw<T | null>(null);
  error = $state.raw<Refused | null>(null);
  asking = $state(false);
  #running: AbortController | null = null;
  #key: string | null = null;

  /** `key` names the question. A question under way with the same key is not asked twice. */
  async ask(key: string, question: (signal: AbortSignal) => Promise<T>): Promise<void> {
    if (this.#running && this.#key === key) return;
    this.#running?.abort();
    const mine = new AbortController();
    this.#running = mine;
    this.#key = key;
    this.asking = true;
    try {
      const value = await question(mine.signal);
      if (this.#running !== mine) return;
      this.value = value;
      this.error = null;
    } catch (error) {
      if (this.#running !== mine) return;
      // Without an answer the connection's banner speaks; what was known stays.
      if (error instanceof Refused) this.error = error;
      else throw error;
    } finally {
      if (this.#running === mine) {
        this.#running = null;
        this.asking = false;
      }
    }
  }

  /** Forget: the next answer is about something else. */
  clear(): void {
    this.#running?.abort();
    this.#running = null;
    this.value = null;
    this.error = null;
    this.asking = false;
  }
}

/** Calls `act` now and every so often while the page is visible. For `$effect`: returns its own end. */
export function whileVisible(act: () => void, milliseconds: number): () => void {
  const turn = (): void => {
    if (!document.hidden) act();
  };
  turn();
  const timer = setInterval(turn, milliseconds);
  document.addEventListener("visibilitychange", turn);
  return () => {
    clearInterval(timer);
    document.removeEventListener("visibilitychange", turn);
  };
}
