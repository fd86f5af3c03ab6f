import { STATUS_CODES } from 'node:http';
import { REASONS } from '../model/reason.ts';
import { PROOF_ALGORITHMS } from '../token/dpop-proof.ts';
import type { Refusal } from './refusal.ts';

/** A refusal, ready to be written: the one way out for every request that is not forwarded. */
export interface ProblemAnswer {
  readonly status: number;
  /** Name and value in turn. */
  readonly headers: string[];
  readonly body: string;
}

/**
 * `application/problem+json` (RFC 9457) with, on 401 and 403, the challenge of RFC 6750 §3, or that of RFC 9449 §7.1 where the
 * token came under the scheme DPoP or has to.
 */
export function problemAnswer(
  refusal: Refusal,
  requestId: string,
  dpop = false,
  resourceMetadata: string | null = null,
  known = new KnownWords(),
): ProblemAnswer {
  const entry = REASONS[refusal.reason];
  const { start, bytes, challenge } = known.of(refusal, dpop, resourceMetadata);
  // Ids are hexadecimal digits, which JSON writes as they are.
  const body = `${start}${requestId}"}`;
  const headers = [
    'content-type',
    'application/problem+json',
    'content-length',
    String(bytes + requestId.length),
    'cache-control',
    'no-store',
    'portcullis-request-id',
    requestId,
  ];
  if (challenge !== null) headers.push('www-authenticate', challenge);
  if (entry.retryAfter !== null) headers.push('retry-after', String(entry.retryAfter));
  headers.push(...refusal.headers);
  return { status: entry.status, headers, body };
}

/** What a refusal says, but for the request's id. */
export interface Words {
  /** The body up to the value of its last member. */
  readonly start: string;
  /** Length of the body without the id. */
  readonly bytes: number;
  readonly challenge: string | null;
}

/** Refusals whose words are remembered, and the longest detail of one. */
const REMEMBERED = 256;
const LONGEST_DETAIL = 256;

/** Most refusals say the same as one before, and putting that into words costs more than the rest of the answer. */
export class KnownWords {
  readonly #known = new Map<string, Words>();

  of(refusal: Refusal, dpop: boolean, resourceMetadata: string | null): Words {
    const { reason, detail, requiredScopes, condition, proofError } = refusal;
    const lasting = requiredScopes.length === 0 && condition === null && proofError === null;
    if (!lasting || (detail !== null && detail.length > LONGEST_DETAIL)) return words(refusal, dpop, resourceMetadata);
    const key = `${reason}\n${dpop}\n${resourceMetadata ?? ''}\n${detail ?? ''}`;
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    const made = words(refusal, dpop, resourceMetadata);
    // Begun anew when full: some details name what was asked for.
    if (this.#known.size >= REMEMBERED) this.#known.clear();
    this.#known.set(key, made);
    return made;
  }
}

function words(refusal: Refusal, dpop: boolean, resourceMetadata: string | null): Words {
  const entry = REASONS[refusal.reason];
  const detail = refusal.detail ?? `${entry.title}.`;
  const whole = JSON.stringify({
    type: `urn:portcullis:reason:${refusal.reason}`,
    title: entry.title,
    status: entry.status,
    detail,
    reason: refusal.reason,
    ...(refusal.condition === null ? {} : { condition: refusal.condition }),
    request_id: '',
  });
  const start = whole.slice(0, -2);
  return {
    start,
    bytes: Buffer.byteLength(whole),
    challenge: challengeOf(refusal, detail, dpop, resourceMetadata),
  };
}

/** RFC 6750 §3: no error code where no credential was presented (§3.1). `resource_metadata`: RFC 9728 §5.1. */
function challengeOf(refusal: Refusal, detail: string, dpop: boolean, resourceMetadata: string | null): string | null {
  const { challenge } = REASONS[refusal.reason];
  if (challenge === null) return null;
  const proven = dpop || refusal.proofError !== null;
  let text = `${proven ? 'DPoP' : 'Bearer'} realm="portcullis"`;
  const error = refusal.proofError ?? challenge;
  if (error !== 'none') text += `, error="${error}", error_description="${quotable(detail)}"`;
  if (proven) text += `, algs="${PROOF_ALGORITHMS.join(' ')}"`;
  if (refusal.requiredScopes.length > 0) text += `, scope="${refusal.requiredScopes.join(' ')}"`;
  if (resourceMetadata !== null) text += `, resource_metadata="${resourceMetadata}"`;
  return text;
}

/** The characters that RFC 6750 §3 allows in `error_description`. */
function quotable(text: string): string {
  return text.replace(/[^\x20-\x21\x23-\x5b\x5d-\x7e]/g, "'");
}

/** The same answer as bytes, for a connection that has no response object (an upgrade, or an unreadable request). */
export function rawProblem(answer: ProblemAnswer): string {
  let text = `HTTP/1.1 ${answer.status} ${STATUS_CODES[answer.status] ?? 'Refused'}\r\n`;
  for (let i = 0; i < answer.headers.length; i += 2) text += `${answer.headers[i]}: ${answer.headers[i + 1]}\r\n`;
  return `${text}date: ${new Date().toUTCString()}\r\nconnection: close\r\n\r\n${answer.body}`;
}
