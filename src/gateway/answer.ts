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
): ProblemAnswer {
  const entry = REASONS[refusal.reason];
  const detail = refusal.detail ?? `${entry.title}.`;
  const body = JSON.stringify({
    type: `urn:portcullis:reason:${refusal.reason}`,
    title: entry.title,
    status: entry.status,
    detail,
    reason: refusal.reason,
    ...(refusal.condition === null ? {} : { condition: refusal.condition }),
    request_id: requestId,
  });
  const headers = [
    'content-type',
    'application/problem+json',
    'content-length',
    String(Buffer.byteLength(body)),
    'cache-control',
    'no-store',
    'portcullis-request-id',
    requestId,
  ];
  const challenge = challengeOf(refusal, detail, dpop, resourceMetadata);
  if (challenge !== null) headers.push('www-authenticate', challenge);
  if (entry.retryAfter !== null) headers.push('retry-after', String(entry.retryAfter));
  headers.push(...refusal.headers);
  return { status: entry.status, headers, body };
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
