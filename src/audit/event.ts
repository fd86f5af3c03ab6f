import { canonicalJson } from '../base/canonical-json.ts';
import { LIMITS } from '../base/limits.ts';
import { maskTokens } from '../base/token-mask.ts';
import type { AuditDetail, AuditEventInput } from '../model/audit-event.ts';

/** An event as it stands in a line: with its place in the chain, and `time` in RFC 3339. */
export interface AuditEvent extends Omit<AuditEventInput, 'time'> {
  readonly v: 1;
  readonly seq: number;
  readonly time: string;
  readonly prev: string;
  readonly hash: string;
}

const LONGEST_TEXT = 16 * 1024;
const LONGEST_TEXT_OF_AN_OVERLONG_EVENT = 512;
const MAX_DEPTH = 16;
/** A UTF-16 code unit takes at most three bytes of UTF-8; the rest is room for `prev` and `hash`. */
const LONGEST_EVENT = Math.floor(LIMITS.auditLineBytes / 3) - 256;

/**
 * The event in canonical JSON (RFC 8785) without `prev` and `hash`. `time` is RFC 3339 text. Never throws.
 *
 * Members that are not in the vocabulary are not written. Tokens within texts are masked, lone surrogates become U+FFFD, numbers
 * that are not finite null, texts over 16 KiB are cut; an event that is too long for a line all the same loses
 * its details and keeps the beginnings of its texts.
 */
export function canonicalEvent(event: AuditEventInput, time: string, seq: number): string {
  try {
    const members = inOrder(event, time, seq);
    // The hot path: nothing odd. The members are in order already, and JSON.stringify prints
    // texts and numbers as RFC 8785 asks; only a lone surrogate, which it escapes, has no canonical form.
    if (isInOrder(event.details, 0)) {
      const text = maskTokens(JSON.stringify(members));
      if (text.length <= LONGEST_TEXT && !text.includes('\\ud')) return text;
    }
    const text = maskTokens(canonicalJson(plain(members, LONGEST_TEXT, 0)));
    if (text.length <= LONGEST_EVENT) return text;
    const rest = { ...members, details: { omitted: 'the event was too long for a line' } };
    return maskTokens(canonicalJson(plain(rest, LONGEST_TEXT_OF_AN_OVERLONG_EVENT, 0)));
  } catch {
    // That something happened matters more than a detail that is no JSON.
    const { type, outcome } = event;
    const rest = { type, outcome, details: { omitted: 'the event could not be written as JSON' } };
    return canonicalJson(plain(inOrder(rest, time, seq), LONGEST_TEXT, 0));
  }
}

/** The members in the order of their names. */
function inOrder(event: AuditEventInput, time: string, seq: number): { readonly [name: string]: unknown } {
  return {
    actor: event.actor,
    api: event.api,
    bytes_in: event.bytes_in,
    bytes_out: event.bytes_out,
    details: event.details,
    duration_ms: event.duration_ms,
    host: event.host,
    ip: event.ip,
    method: event.method,
    outcome: event.outcome,
    owner: event.owner,
    path: event.path,
    policy: event.policy,
    reason: event.reason,
    request_id: event.request_id,
    rule: event.rule,
    seq,
    status: event.status,
    subject: event.subject,
    time,
    token_id: event.token_id,
    token_type: event.token_type,
    trace_id: event.trace_id,
    type: event.type,
    upstream_ms: event.upstream_ms,
    v: 1,
  };
}

/**
 * Whether JSON.stringify would print this in canonical form: members in the order of their names, numbers finite. Most
 * details are made that way, and looking costs a tenth of sorting them.
 */
function isInOrder(value: AuditDetail | undefined, depth: number): boolean {
  if (typeof value === 'number') return Number.isFinite(value);
  if (typeof value !== 'object' || value === null) return true;
  if (depth > MAX_DEPTH) return false;
  if (isList(value)) return value.every((item) => isInOrder(item, depth + 1));
  let last = '';
  // Integer-like names come first, in the order of their numbers; where that is not the order of their texts, it shows here.
  for (const name of Object.keys(value)) {
    if (name < last || !isInOrder(value[name], depth + 1)) return false;
    last = name;
  }
  return true;
}

function isList(value: AuditDetail): value is readonly AuditDetail[] {
  return Array.isArray(value);
}

/** A copy that canonical JSON can express. */
function plain(value: unknown, longest: number, depth: number): unknown {
  if (typeof value === 'string') {
    return (value.length > longest ? `${value.slice(0, longest)}…` : value).toWellFormed();
  }
  if (typeof value === 'number') return Number.isFinite(value) ? value : null;
  if (typeof value !== 'object' || value === null) return value;
  if (depth > MAX_DEPTH) throw new TypeError('nested too deeply');
  if (Array.isArray(value)) return value.map((item) => plain(item, longest, depth + 1) ?? null);
  // Through entries, not by assignment: a member may be named `__proto__`.
  const members = Object.entries(value).map(([name, member]) => [
    name.toWellFormed(),
    plain(member, longest, depth + 1),
  ]);
  return Object.fromEntries(members);
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
