import type { AuditDetail, AuditEventInput } from '../model/audit-event.ts';
import { masked, number, type PrintedObjects, quoted, usualObject } from './json-member.ts';

/** Frames that are kept for one token, or for all requests without one. */
const KEPT = 4;

/** All that an access event says, but for what is another with each request. */
type Lasting = Pick<
  AuditEventInput,
  | 'actor'
  | 'api'
  | 'host'
  | 'ip'
  | 'method'
  | 'outcome'
  | 'owner'
  | 'policy'
  | 'reason'
  | 'rule'
  | 'status'
  | 'subject'
  | 'token_id'
  | 'token_type'
  | 'type'
>;

interface Frame {
  readonly of: Lasting;
  /** What stands before, between and behind the members that change, in the order of their names. */
  readonly parts: readonly [string, string, string, string, string, string, string, string];
}

/**
 * Writes the events of requests that differ from an earlier one only in what every request has of its own: byte counts, times,
 * ids and the path. The rest of such an event is text that was printed before. In the very form of `usualEvent`.
 */
export class EventFrames {
  readonly #frames = new WeakMap<object, Frame[]>();
  readonly #printed: PrintedObjects;
  /** In place of a token for events on which no policy has decided. */
  readonly #undecided: { readonly [name: string]: AuditDetail } = {};

  constructor(printed: PrintedObjects) {
    this.#printed = printed;
  }

  /** Null for an event of another make. */
  text(event: AuditEventInput, time: string, seq: number): string | null {
    const { bytes_in, bytes_out, details, duration_ms, path, request_id, trace_id, upstream_ms } = event;
    if (bytes_in === undefined || bytes_out === undefined || duration_ms === undefined) return null;
    if (path === undefined || request_id === undefined || trace_id === undefined) return null;
    const decidedAt = details?.decided_at;
    const token = details === undefined ? this.#undecided : details.token;
    if (typeof token !== 'object' || token === null) return null;
    if (details !== undefined) {
      if (typeof decidedAt !== 'number') return null;
      for (const name in details) {
        if (name !== 'decided_at' && name !== 'token' && details[name] !== undefined) return null;
      }
    }
    const frame = this.#frame(event, token);
    if (frame === null) return null;
    const [start, afterDecision, afterDuration, afterPath, afterId, afterSeq, afterTime, afterTrace] = frame.parts;
    const counts = `${start}${number(bytes_in)},"bytes_out":${number(bytes_out)}`;
    const decision = typeof decidedAt === 'number' ? `,"details":{"decided_at":${number(decidedAt)}` : '';
    const middle = `${afterDecision}${number(duration_ms)}${afterDuration}${masked(path)}${afterPath}${masked(request_id)}`;
    const end = `${afterId}${seq}${afterSeq}${quoted(time)}${afterTime}${quoted(trace_id)}${afterTrace}`;
    const upstream = upstream_ms === undefined ? '' : `,"upstream_ms":${number(upstream_ms)}`;
    return `${counts}${decision}${middle}${end}${upstream},"v":1}`;
  }

  #frame(event: AuditEventInput, token: AuditDetail & object): Frame | null {
    const known = this.#frames.get(token);
    const found = known?.find(({ of }) => isLike(of, event));
    if (found !== undefined) return found;
    const frame = frameOf(event, token === this.#undecided ? null : token, this.#printed);
    if (frame === null) return null;
    if (known === undefined) this.#frames.set(token, [frame]);
    else {
      if (known.length >= KEPT) known.shift();
      known.push(frame);
    }
    return frame;
  }
}

function isLike(a: Lasting, b: Lasting): boolean {
  return (
    a.status === b.status &&
    a.method === b.method &&
    a.rule === b.rule &&
    a.type === b.type &&
    a.outcome === b.outcome &&
    a.reason === b.reason &&
    a.api === b.api &&
    a.ip === b.ip &&
    a.host === b.host &&
    a.policy === b.policy &&
    a.token_id === b.token_id &&
    a.token_type === b.token_type &&
    a.subject === b.subject &&
    a.owner === b.owner &&
    a.actor === b.actor
  );
}

function frameOf(event: AuditEventInput, token: (AuditDetail & object) | null, printed: PrintedObjects): Frame | null {
  const { actor, api, host, ip, method, outcome, owner, policy, reason, rule, status } = event;
  const { subject, token_id, token_type, type } = event;
  const tokenText = token === null ? '' : usualObject(token, printed);
  if (tokenText === null) return null;
  const text = (name: string, value: string | undefined): string =>
    value === undefined ? '' : `"${name}":${masked(value)},`;
  return {
    of: {
      actor,
      api,
      host,
      ip,
      method,
      outcome,
      owner,
      policy,
      reason,
      rule,
      status,
      subject,
      token_id,
      token_type,
      type,
    },
    parts: [
      `{${text('actor', actor)}${text('api', api)}"bytes_in":`,
      tokenText === '' ? ',"duration_ms":' : `,"token":${tokenText}},"duration_ms":`,
      `,${text('host', host)}${text('ip', ip)}${text('method', method)}"outcome":${quoted(outcome)},${text('owner', owner)}"path":`,
      `,${text('policy', policy)}${text('reason', reason)}"request_id":`,
      `,${text('rule', rule)}"seq":`,
      `,${status === undefined ? '' : `"status":${number(status)},`}${text('subject', subject)}"time":`,
      `,${text('token_id', token_id)}${token_type === undefined ? '' : `"token_type":${quoted(token_type)},`}"trace_id":`,
      `,"type":${quoted(type)}`,
    ],
  };
}
