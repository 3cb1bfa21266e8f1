/** Findings as the page keeps them: which is which, in what order, and what a piece of news does to the list. */

import { bytes, compact, count, duration, percent } from "../format";
import type { Finding, FindingNews, Severity } from "../wire";

export const severities = ["critical", "warning", "notice"] as const satisfies readonly Severity[];

/** Of these a process may have several at once: they are told apart by who is in them. */
const several = new Set(["deadlock", "abandoned_lock", "inherited_lock", "blocked_behind", "same_place"]);

/** Names a finding in the address bar and in the list: it stays the same while the finding lasts. */
export function findingKey(finding: Finding): string {
  const which = several.has(finding.kind) ? `-${Math.min(...finding.culprits, Number.MAX_SAFE_INTEGER)}` : "";
  return `${finding.pid}-${finding.kind}-${Date.parse(finding.since) || finding.since}${which}`;
}

/** For a list on the screen, where no two may have one key: should two findings be told apart by nothing, they are numbered. */
export function keyed(findings: readonly Finding[]): { key: string; finding: Finding }[] {
  const seen = new Map<string, number>();
  return findings.map((finding) => {
    const key = findingKey(finding);
    const before = seen.get(key) ?? 0;
    seen.set(key, before + 1);
    return { key: before === 0 ? key : `${key}-${before + 1}`, finding };
  });
}

/** Most severe first, then the oldest. */
export function inOrder(findings: readonly Finding[]): Finding[] {
  return [...findings].sort((a, b) =>
    severities.indexOf(a.severity) - severities.indexOf(b.severity) || (a.since < b.since ? -1 : a.since > b.since ? 1 : 0) || a.pid - b.pid);
}

export function afterNews(findings: readonly Finding[], { state, ...finding }: FindingNews): Finding[] {
  const key = findingKey(finding);
  const others = findings.filter((each) => findingKey(each) !== key);
  return state === "cleared" ? others : inOrder([...others, finding]);
}

export function worst(findings: readonly { severity: Severity }[]): Severity | null {
  return severities.find((severity) => findings.some((each) => each.severity === severity)) ?? null;
}

export function bySeverity(findings: readonly Finding[]): Record<Severity, number> {
  const counts: Record<Severity, number> = { critical: 0, warning: 0, notice: 0 };
  for (const { severity } of findings) counts[severity] += 1;
  return counts;
}

/** A figure in its unit; a unit that is new to us is written out. */
export function figure(value: number, unit: string): string {
  switch (unit) {
    case "ratio": return percent(value);
    case "bytes": return bytes(value);
    case "seconds": return duration(value);
    case "threads": case "count": return count(value);
    case "per_second": return `${compact(value)}/s`;
    case "bytes_per_second": return `${bytes(value)}/s`;
    default: return `${compact(value)} ${unit.replaceAll("_", " ")}`;
  }
}

export const tones = { critical: "bad", warning: "warn", notice: "accent" } as const satisfies Record<Severity, string>;
