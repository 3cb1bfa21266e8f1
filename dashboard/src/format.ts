/**
 * Numbers as people read them. Pure; the same text in every language, except for grouping.
 *
 * A value that is not known never gets here: it is drawn by `parts/Gap.svelte`, not formatted.
 */

const THIN = "\u202f";
const MINUS = "\u2212";

/** Three significant digits: enough to compare, few enough to scan. */
function significant(value: number): string {
  const magnitude = Math.abs(value);
  if (magnitude >= 100 || Number.isInteger(value)) return Math.round(value).toString();
  return magnitude >= 10 ? value.toFixed(1) : value.toFixed(2);
}

const BINARY = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"] as const;

/** Binary units, as the kernel counts: `1536` is `1.50 KiB`. */
export function bytes(value: number): string {
  const sign = value < 0 ? MINUS : "";
  let rest = Math.abs(value);
  let unit = 0;
  // 1023.5 and more would be rounded to a four-digit "1024".
  while (rest >= (unit === 0 ? 1024 : 1023.5) && unit < BINARY.length - 1) {
    rest /= 1024;
    unit += 1;
  }
  return `${sign}${significant(rest)}${THIN}${BINARY[unit]}`;
}

/** `12345` is `12 345`: thin spaces are unambiguous in every language. */
export function count(value: number): string {
  const digits = Math.abs(Math.round(value)).toString();
  const grouped = digits.length > 4 ? digits.replace(/\B(?=(\d{3})+$)/g, THIN) : digits;
  return (value < 0 && grouped !== "0" ? MINUS : "") + grouped;
}

/** For tight places: `12 345` is `12.3 k`. */
export function compact(value: number): string {
  const magnitude = Math.abs(value);
  for (const [size, suffix] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]] as const) {
    if (magnitude >= size * 0.9995) return `${significant(value / size)}${THIN}${suffix}`;
  }
  return significant(value);
}

/** A share of one: `0.123` is `12.3 %`. A CPU ratio of 1.5 is `150 %`: one and a half CPUs. */
export function percent(ratio: number): string {
  const value = ratio * 100;
  if (value === 0) return `0${THIN}%`;
  const magnitude = Math.abs(value);
  if (magnitude < 0.05) return `<${THIN}0.1${THIN}%`;
  return `${magnitude >= 99.95 ? Math.round(value) : value.toFixed(1)}${THIN}%`;
}

/** A length of time, in the unit that fits: `340 µs`, `1.20 ms`, `2 h 05 m`. */
export function duration(seconds: number): string {
  if (seconds < 0) return MINUS + duration(-seconds);
  if (seconds === 0) return `0${THIN}s`;
  if (seconds < 999.5e-9) return `${Math.max(1, Math.round(seconds * 1e9))}${THIN}ns`;
  if (seconds < 999.5e-6) return `${significant(seconds * 1e6)}${THIN}µs`;
  if (seconds < 0.9995) return `${significant(seconds * 1e3)}${THIN}ms`;
  if (seconds < 59.95) return `${significant(seconds)}${THIN}s`;
  const whole = Math.round(seconds);
  const two = (part: number): string => padded([part], "");
  if (whole < 3600) return `${Math.floor(whole / 60)}${THIN}m${THIN}${two(whole % 60)}${THIN}s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 24 * 60) return `${Math.floor(minutes / 60)}${THIN}h${THIN}${two(minutes % 60)}${THIN}m`;
  return `${Math.floor(minutes / 1440)}${THIN}d${THIN}${two(Math.floor(minutes / 60) % 24)}${THIN}h`;
}

/** A clock that only grows, where the digits must not jump about: `12.34 s`, `1 m 02 s`. */
export function clock(seconds: number): string {
  return seconds < 59.995 && seconds >= 0.01 ? `${seconds.toFixed(2)}${THIN}s` : duration(seconds);
}

/** How often: `1 250` is `1.25 k/s`. */
export function rate(perSecond: number): string {
  return `${compact(perSecond)}/s`;
}

const padded = (parts: number[], between: string): string => parts.map((part) => part.toString().padStart(2, "0")).join(between);

/** The time of day of an RFC 3339 stamp, in the reader's zone. */
export function timeOfDay(stamp: string): string {
  const date = new Date(stamp);
  if (Number.isNaN(date.getTime())) return stamp;
  return padded([date.getHours(), date.getMinutes(), date.getSeconds()], ":");
}

/** `2026-11-24 16:42:05`, in the reader's zone. */
export function dayAndTime(stamp: string): string {
  const date = new Date(stamp);
  if (Number.isNaN(date.getTime())) return stamp;
  return `${padded([date.getFullYear(), date.getMonth() + 1, date.getDate()], "-")} ${timeOfDay(stamp)}`;
}

/** Hostile bytes made visible: control and direction-changing characters are escaped, so that no name can dress up as another. */
export function visible(name: string): string {
  return name.replace(/[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g, (character) => {
    const code = character.codePointAt(0) ?? 0;
    return code < 0x100 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u{${code.toString(16)}}`;
  });
}
