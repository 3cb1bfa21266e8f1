import { describe, expect, test } from "vitest";
import * as format from "./format";

/** Thin spaces read as plain ones here, so that the examples can be typed. */
const plain = (text: string): string => text.replaceAll("\u202f", " ").replaceAll("\u2212", "-");

function check<T>(shape: (value: T) => string, cases: [T, string][]): void {
  for (const [value, expected] of cases) expect(plain(shape(value)), String(value)).toBe(expected);
}

describe("numbers as people read them", () => {
  test("bytes have binary units and three digits", () => {
    check(format.bytes, [
      [0, "0 B"], [1023, "1023 B"], [1024, "1 KiB"], [1536, "1.50 KiB"], [1024 * 1023.7, "1.00 MiB"], [8 * 2 ** 20, "8 MiB"],
      [123.4 * 2 ** 20, "123 MiB"], [2 ** 63, "8 EiB"], [-4096, "-4 KiB"],
    ]);
  });
  test("counts are grouped from five digits on", () => {
    check(format.count, [[0, "0"], [1234, "1234"], [12345, "12 345"], [1234567, "1 234 567"], [-12345, "-12 345"], [-0.2, "0"]]);
  });
  test("compact counts keep three digits", () => {
    check(format.compact, [[7, "7"], [999, "999"], [999.7, "1.00 k"], [12345, "12.3 k"], [5e6, "5 M"], [2.5e9, "2.50 G"]]);
  });
  test("a small share is not rounded to nothing", () => {
    check(format.percent, [[0, "0 %"], [0.0001, "< 0.1 %"], [0.123, "12.3 %"], [0.9999, "100 %"], [1.5, "150 %"]]);
  });
  test("durations choose their unit", () => {
    check(format.duration, [
      [0, "0 s"], [3e-9, "3 ns"], [340e-6, "340 µs"], [0.0012, "1.20 ms"], [0.9999, "1.00 s"], [12.34, "12.3 s"], [59.99, "1 m 00 s"],
      [75, "1 m 15 s"], [7500, "2 h 05 m"], [90061, "1 d 01 h"], [-0.5, "-500 ms"],
    ]);
  });
  test("a growing clock keeps its digits", () => {
    check(format.clock, [[0.001, "1 ms"], [1.2, "1.20 s"], [59.99, "59.99 s"], [60, "1 m 00 s"]]);
  });
  test("rates are per second", () => check(format.rate, [[0, "0/s"], [1250, "1.25 k/s"]]));
  test("a stamp that is none is shown as it is", () => expect(format.timeOfDay("nonsense")).toBe("nonsense"));
  test("a name cannot hide or turn characters", () => {
    check(format.visible, [["io) pool (2", "io) pool (2"], ["a\nb\u001b[1m", "a\\x0ab\\x1b[1m"], ["x\u202egpj", "x\\u{202e}gpj"], ["线程-1", "线程-1"]]);
  });
});
