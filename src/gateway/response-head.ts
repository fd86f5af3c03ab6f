import type { AnswerHead } from './answer-heads.ts';
import type { Exchange } from './exchange.ts';
import type { Gateway } from './gateway.ts';
import { AnswerFieldKind, AnswerFieldKinds } from './header-kinds.ts';

/** What one walk over an upstream's header fields found. */
export interface ResponseHead {
  /** What goes to the client, name and value in turn. */
  readonly fields: readonly string[];
  /** -1 where the answer has no Content-Length. */
  readonly contentLength: number;
  readonly eventStream: boolean;
  readonly hasDate: boolean;
  /** `fields` as lines of a head, each with its CRLF; null until somebody has written them. */
  lines: string | null;
}

/** Reads the fields of answers and trailers. */
export class ResponseHeadReader {
  readonly #kinds = new AnswerFieldKinds();

  /**
   * Reads the fields of an answer (name and value in turn, latin1) and drops what ends here. Null for a transfer
   * coding other than `chunked`: what arrives is still encoded, and nobody behind this connection would know (RFC 9112
   * §6.1). `mayTrail` false drops the announcement of trailers that cannot follow.
   */
  read(raw: readonly string[], status: number, mayTrail: boolean): ResponseHead | null {
    const fields: string[] = [];
    let contentLength = -1;
    let eventStream = false;
    let hasDate = false;
    let trailer: string | null = null;
    let named: Set<string> | null = null;
    for (let i = 0; i < raw.length; i += 2) {
      const name = raw[i] ?? '';
      const value = raw[i + 1] ?? '';
      switch (this.#kinds.of(name)) {
        case AnswerFieldKind.drop:
          continue;
        case AnswerFieldKind.connection:
          named = connectionOptions(value, named);
          continue;
        case AnswerFieldKind.transferEncoding:
          if (value.toLowerCase() !== 'chunked') return null;
          continue;
        case AnswerFieldKind.trailer:
          trailer = trailer === null ? value : `${trailer}, ${value}`;
          continue;
        case AnswerFieldKind.contentLength:
          // RFC 9110 §8.6: not in a 204; elsewhere it is what the reader of the answer has checked already.
          if (status === 204) continue;
          contentLength = Number(value);
          break;
        case AnswerFieldKind.contentType:
          eventStream = value.toLowerCase().startsWith('text/event-stream');
          break;
        case AnswerFieldKind.date:
          hasDate = true;
          break;
        default:
          break;
      }
      fields.push(name, value);
    }
    if (named !== null) {
      for (let i = fields.length - 2; i >= 0; i -= 2) {
        if (named.has(fields[i]?.toLowerCase() ?? '')) fields.splice(i, 2);
      }
    }
    if (trailer !== null && mayTrail && contentLength < 0) fields.push('trailer', trailer);
    return { fields, contentLength, eventStream, hasDate, lines: null };
  }

  /** The same for an answer whose head may have come before. */
  relayed({ status, fields, memo }: AnswerHead, mayTrail: boolean): ResponseHead | null {
    const known = mayTrail ? memo?.relayedWithTrailers : memo?.relayed;
    if (known !== undefined && known !== null) return known;
    const head = this.read(fields, status, mayTrail);
    if (memo !== null) memo[mayTrail ? 'relayedWithTrailers' : 'relayed'] = head;
    return head;
  }

  /** Trailer fields that may follow a body (RFC 9110 §6.5.1): none that frames, routes or authenticates. */
  readTrailers(raw: readonly string[]): [string, string][] {
    const trailers: [string, string][] = [];
    for (let i = 0; i < raw.length; i += 2) {
      const name = raw[i] ?? '';
      const kind = this.#kinds.of(name);
      if (DROPPED_FROM_TRAILERS.has(kind) || FORBIDDEN_TRAILERS.has(name.toLowerCase())) continue;
      trailers.push([name, raw[i + 1] ?? '']);
    }
    return trailers;
  }
}

const DROPPED_FROM_TRAILERS: ReadonlySet<AnswerFieldKind> = new Set([
  AnswerFieldKind.drop,
  AnswerFieldKind.connection,
  AnswerFieldKind.transferEncoding,
]);

/** The gateway's own fields of an answer: the request's id, and what the token's holder should know (contract of tokens). */
export function ownFields(gateway: Gateway, exchange: Exchange): string[] {
  const fields = ['portcullis-request-id', exchange.requestId];
  if (exchange.rateFields !== null) fields.push(...exchange.rateFields);
  if (exchange.proofNonce !== null) fields.push('dpop-nonce', exchange.proofNonce);
  const { principal } = exchange;
  if (principal === null) return fields;
  if (principal.supersededUntil !== null) {
    fields.push('portcullis-token-superseded', new Date(principal.supersededUntil).toISOString());
  }
  if (principal.expiresAt - gateway.options.clock.now() <= gateway.options.expiryWarningMs) {
    fields.push('portcullis-token-expires', new Date(principal.expiresAt).toISOString());
  }
  return fields;
}

/** Names of `Connection` that are fields to drop (RFC 9110 §7.6.1); null where there are none. */
function connectionOptions(value: string, known: Set<string> | null): Set<string> | null {
  if (value === 'keep-alive' || value === 'close') return known;
  let named = known;
  for (const option of value.split(',')) {
    const name = option.trim().toLowerCase();
    if (name === '' || name === 'keep-alive' || name === 'close') continue;
    if (name === 'content-length' || name === 'date') continue;
    named ??= new Set();
    named.add(name);
  }
  return named;
}

const FORBIDDEN_TRAILERS: ReadonlySet<string> = new Set([
  'content-length',
  'content-type',
  'content-encoding',
  'content-range',
  'host',
  'authorization',
  'set-cookie',
  'www-authenticate',
  'trailer',
  'cache-control',
  'location',
]);

/** The upstream's words where they can stand in a status line (RFC 9112 §4); they say nothing that the code does not. */
export function reasonPhrase(text: string | undefined): string {
  return text !== undefined && /^[\x20-\x7e\t]*$/.test(text) ? text : '';
}
