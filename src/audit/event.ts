import { canonicalJson } from '../base/canonical-json.ts';
import { LIMITS } from '../base/limits.ts';
import { maskTokens } from '../base/token-mask.ts';
import type { AuditEventInput } from '../model/audit-event.ts';
import { EventFrames } from './event-frame.ts';
import { masked, number, type PrintedObjects, quoted, usualObject } from './json-member.ts';

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
export function canonicalEvent(
  event: AuditEventInput,
  time: string,
  seq: number,
  printed: PrintedTexts = new PrintedTexts(),
): string {
  try {
    const text = printed.frames.text(event, time, seq) ?? usualEvent(event, time, seq, printed.objects);
    if (text !== null && text.length <= LONGEST_TEXT) return text;
    return oddEvent(inOrder(event, time, seq));
  } catch {
    // That something happened matters more than a detail that is no JSON.
    const { type, outcome } = event;
    const rest = { type, outcome, details: { omitted: 'the event could not be written as JSON' } };
    return canonicalJson(plain(inOrder(rest, time, seq), LONGEST_TEXT, 0));
  }
}

/** What comes again with many events, as it was printed. */
export class PrintedTexts {
  readonly objects: PrintedObjects = new WeakMap();
  readonly frames = new EventFrames(this.objects);
}

/** In time and memory proportional to the event. */
function oddEvent(members: { readonly [name: string]: unknown }): string {
  const text = maskTokens(canonicalJson(plain(members, LONGEST_TEXT, 0)));
  if (text.length <= LONGEST_EVENT) return text;
  const rest = { ...members, details: { omitted: 'the event was too long for a line' } };
  return maskTokens(canonicalJson(plain(rest, LONGEST_TEXT_OF_AN_OVERLONG_EVENT, 0)));
}

/**
 * The same for an event with nothing odd in it, which is nearly every one: put together member by member, as there is one
 * for every request. Null where only the long way is sure to be right. Names and ids that are not a client's or
 * an operator's choice can hold no token.
 */
function usualEvent(event: AuditEventInput, time: string, seq: number, printed: PrintedObjects): string | null {
  const details = event.details === undefined ? '' : usualDetails(event.details, printed);
  if (details === null) return null;
  let text = '{';
  if (event.actor !== undefined) text += `"actor":${masked(event.actor)},`;
  if (event.api !== undefined) text += `"api":${masked(event.api)},`;
  if (event.bytes_in !== undefined) text += `"bytes_in":${number(event.bytes_in)},`;
  if (event.bytes_out !== undefined) text += `"bytes_out":${number(event.bytes_out)},`;
  if (details !== '') text += `"details":${details},`;
  if (event.duration_ms !== undefined) text += `"duration_ms":${number(event.duration_ms)},`;
  if (event.host !== undefined) text += `"host":${masked(event.host)},`;
  if (event.ip !== undefined) text += `"ip":${masked(event.ip)},`;
  if (event.method !== undefined) text += `"method":${masked(event.method)},`;
  text += `"outcome":${quoted(event.outcome)},`;
  if (event.owner !== undefined) text += `"owner":${masked(event.owner)},`;
  if (event.path !== undefined) text += `"path":${masked(event.path)},`;
  if (event.policy !== undefined) text += `"policy":${masked(event.policy)},`;
  if (event.reason !== undefined) text += `"reason":${masked(event.reason)},`;
  if (event.request_id !== undefined) text += `"request_id":${masked(event.request_id)},`;
  if (event.rule !== undefined) text += `"rule":${masked(event.rule)},`;
  text += `"seq":${seq},`;
  if (event.status !== undefined) text += `"status":${number(event.status)},`;
  if (event.subject !== undefined) text += `"subject":${masked(event.subject)},`;
  text += `"time":${quoted(time)},`;
  if (event.token_id !== undefined) text += `"token_id":${masked(event.token_id)},`;
  if (event.token_type !== undefined) text += `"token_type":${quoted(event.token_type)},`;
  if (event.trace_id !== undefined) text += `"trace_id":${quoted(event.trace_id)},`;
  text += `"type":${quoted(event.type)},`;
  if (event.upstream_ms !== undefined) text += `"upstream_ms":${number(event.upstream_ms)},`;
  return `${text}"v":1}`;
}

/** Null where a member is not what JSON.stringify prints in canonical form. */
function usualDetails(details: NonNullable<AuditEventInput['details']>, printed: PrintedObjects): string | null {
  let text = '';
  let last = '';
  for (const name in details) {
    if (!Object.hasOwn(details, name)) continue;
    const value = details[name];
    if (name < last) return null;
    last = name;
    if (value === undefined) continue;
    const member = typeof value === 'object' && value !== null ? usualObject(value, printed) : usualScalar(value);
    if (member === null) return null;
    text += text === '' ? `${masked(name)}:${member}` : `,${masked(name)}:${member}`;
  }
  return `{${text}}`;
}

function usualScalar(value: string | number | boolean | null): string {
  if (typeof value === 'string') return masked(value);
  return typeof value === 'number' ? number(value) : String(value);
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
