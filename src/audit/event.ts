import { canonicalJson } from '../base/canonical-json.ts';
import { LIMITS } from '../base/limits.ts';
import { maskTokens, SHORTEST_MASKED } from '../base/token-mask.ts';
import type { AuditDetail, AuditEventInput } from '../model/audit-event.ts';

/** An event as it stands in a line: with its place in the chain, and `time` in RFC 3339. */
export interface AuditEvent extends Omit<AuditEventInput, 'time'> {
  readonly v: 1;
  readonly seq: number;
  readonly time: string;
  readonly prev: string;
  readonly hash: string;
}

/**
 * The canonical text of an event, in two halves around the value of `seq`: that is known only when the line is
 * written, everything else when the event happens.
 */
export interface SerialisedEvent {
  readonly beforeSeq: string;
  readonly afterSeq: string;
}

const LONGEST_TEXT = 16 * 1024;
const LONGEST_TEXT_OF_AN_OVERLONG_EVENT = 512;

/** Printable ASCII without quote and backslash: what stands in JSON as it is. */
const PLAIN = /^[ !#-[\]-~]*$/;

/**
 * The event in canonical JSON (RFC 8785) without `prev` and `hash`. Members that are not in the vocabulary are not
 * written. Tokens within texts are masked, lone surrogates become U+FFFD, texts over 16 KiB are cut; an event that is too long for a
 * line all the same loses its details and keeps the beginnings of its texts. Throws RangeError for a `time` that
 * is no time.
 *
 * `time` is RFC 3339 text. Written member by member, in the sorted order: on the hot path this takes half
 * the time of sorting or of an intermediate object.
 */
export function serialiseEvent(event: AuditEventInput, time: string): SerialisedEvent {
  const details = event.details === undefined ? '' : `"details":${serialiseDetails(event.details)},`;
  const whole = assemble(event, time, details, LONGEST_TEXT);
  // A UTF-16 code unit takes at most three bytes of UTF-8; the rest is room for seq, prev and hash.
  if ((whole.beforeSeq.length + whole.afterSeq.length) * 3 + 256 <= LIMITS.auditLineBytes) return whole;
  const shortened = '"details":{"omitted":"the event was too long for a line"},';
  return assemble(event, time, shortened, LONGEST_TEXT_OF_AN_OVERLONG_EVENT);
}

function assemble(event: AuditEventInput, time: string, details: string, longest: number): SerialisedEvent {
  const beforeSeq =
    '{' +
    text('"actor":', event.actor, longest) +
    text('"api":', event.api, longest) +
    number('"bytes_in":', event.bytes_in) +
    number('"bytes_out":', event.bytes_out) +
    details +
    number('"duration_ms":', event.duration_ms) +
    text('"host":', event.host, longest) +
    text('"ip":', event.ip, longest) +
    text('"method":', event.method, longest) +
    text('"outcome":', event.outcome, longest) +
    text('"owner":', event.owner, longest) +
    text('"path":', event.path, longest) +
    text('"policy":', event.policy, longest) +
    text('"reason":', event.reason, longest) +
    text('"request_id":', event.request_id, longest) +
    text('"rule":', event.rule, longest) +
    '"seq":';
  const afterSeq =
    ',' +
    number('"status":', event.status) +
    text('"subject":', event.subject, longest) +
    `"time":"${time}",` +
    text('"token_id":', event.token_id, longest) +
    text('"token_type":', event.token_type, longest) +
    text('"trace_id":', event.trace_id, longest) +
    text('"type":', event.type, longest) +
    number('"upstream_ms":', event.upstream_ms) +
    '"v":1}';
  return { beforeSeq, afterSeq };
}

function text(label: string, value: string | undefined, longest: number): string {
  return value === undefined ? '' : `${label}${quote(value, longest)},`;
}

function number(label: string, value: number | undefined): string {
  if (value === undefined) return '';
  return Number.isFinite(value) ? `${label}${value},` : `${label}null,`;
}

function quote(value: string, longest: number): string {
  const cut = value.length > longest ? `${value.slice(0, longest)}…` : value;
  const masked = cut.length < SHORTEST_MASKED ? cut : maskTokens(cut);
  return PLAIN.test(masked) ? `"${masked}"` : JSON.stringify(masked.toWellFormed());
}

function serialiseDetails(details: { readonly [name: string]: AuditDetail }): string {
  try {
    return canonicalJson(withoutSecrets(details, 0));
  } catch {
    // The event matters more than a detail that is no JSON.
    return '{"omitted":"the details could not be written as JSON"}';
  }
}

function withoutSecrets(value: AuditDetail, depth: number): AuditDetail {
  if (typeof value === 'string') return maskTokens(value.slice(0, LONGEST_TEXT)).toWellFormed();
  if (typeof value === 'number') return Number.isFinite(value) ? value : null;
  if (typeof value !== 'object' || value === null) return value;
  if (depth > 32) throw new TypeError('details are nested too deeply');
  if (isList(value)) return value.map((item) => withoutSecrets(item, depth + 1));
  const copy: Record<string, AuditDetail> = {};
  for (const [name, member] of Object.entries(value)) {
    if (member === undefined) continue;
    // Not by assignment: a member may be named `__proto__`.
    Object.defineProperty(copy, maskTokens(name).toWellFormed(), {
      value: withoutSecrets(member, depth + 1),
      enumerable: true,
      configurable: true,
    });
  }
  return copy;
}

function isList(value: AuditDetail): value is readonly AuditDetail[] {
  return Array.isArray(value);
}

/** True for what a line of the audit file parses to; only the members that every event has are looked at. */
export function isAuditEvent(value: unknown): value is AuditEvent {
  if (typeof value !== 'object' || value === null) return false;
  return (
    'seq' in value &&
    Number.isSafeInteger(value.seq) &&
    'time' in value &&
    typeof value.time === 'string' &&
    'type' in value &&
    typeof value.type === 'string'
  );
}
