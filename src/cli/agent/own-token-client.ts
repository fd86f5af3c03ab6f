import { asObject, type JsonObject } from '../admin-client.ts';
import { printable } from '../output.ts';

/** What the gateway says of a token to whoever holds it; moments are milliseconds since the epoch, on its clock. */
export interface OwnToken {
  readonly id: string;
  readonly expiresAt: number;
  readonly rotateAfter: number | null;
  /** Issue or last rotation; null where the gateway does not say. */
  readonly startedAt: number | null;
  readonly graceUntil: number | null;
  readonly generation: number | null;
}

/** Nothing can be renewed with this token any more. */
export interface Dead {
  readonly kind: 'dead';
  readonly reason: string;
}

/** It did not work now, and may later. */
export interface Failed {
  readonly kind: 'failed';
  readonly why: string;
}

export interface Alive {
  readonly kind: 'alive';
  readonly token: OwnToken;
  /** This secret is an old generation in its grace: a newer one exists, and is not in our hands. */
  readonly superseded: boolean;
  /** How far the gateway's clock is ahead of ours, milliseconds; 0 where they agree within the header's precision. */
  readonly clockAheadMs: number;
}

export interface Rotated {
  readonly kind: 'rotated';
  readonly secret: string;
  readonly token: OwnToken;
}

/** Reasons of a 401 after which no repetition helps (docs/reasons.md). */
const DEADLY: ReadonlySet<string> = new Set([
  'token_malformed',
  'token_unknown',
  'token_expired',
  'token_revoked',
  'token_superseded',
  'token_wrong_environment',
  'token_untrusted',
]);

const TIMEOUT_MS = 30_000;
const LARGEST_ANSWER_BYTES = 256 * 1024;

/** The `Date` header counts whole seconds (RFC 9110 §6.6.1): less than this is no difference between clocks. */
const CLOCK_PRECISION_MS = 2000;

interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: JsonObject | null;
}

/** Speaks to `/.portcullis/token` of one gateway. Failures of every kind are values; a secret is never in them. */
export class OwnTokenClient {
  readonly #base: URL;

  constructor(base: URL) {
    this.#base = base;
  }

  async status(secret: string, stop: AbortSignal): Promise<Alive | Dead | Failed> {
    const sentAt = Date.now();
    const answer = await this.#call('GET', '/.portcullis/token', secret, undefined, stop);
    if ('kind' in answer) return answer;
    if (answer.status !== 200) return this.#refusal(answer);
    const token = ownToken(answer.body);
    if (token === null) return this.#failed('did not answer with a token record; is it the traffic listener?');
    const presented = answer.body?.['presented_generation'];
    const older = typeof presented === 'number' && token.generation !== null && presented < token.generation;
    const superseded = older || answer.headers.has('portcullis-token-superseded');
    return { kind: 'alive', token, superseded, clockAheadMs: clockAhead(answer.headers, sentAt) };
  }

  /** Not to be interrupted: once it is sent, the answer holds the only copy of the new secret. */
  async rotate(secret: string, grace: string | null): Promise<Rotated | Dead | Failed> {
    const body = JSON.stringify(grace === null ? {} : { grace });
    const answer = await this.#call('POST', '/.portcullis/token/rotate', secret, body, null);
    if ('kind' in answer) return answer;
    if (answer.status !== 200 && answer.status !== 201) return this.#refusal(answer);
    const token = ownToken(answer.body);
    const next = answer.body?.['token'];
    if (token === null || typeof next !== 'string' || !/^[\x21-\x7e]{1,8192}$/.test(next) || next === secret) {
      return this.#failed('did not answer the rotation with a new secret');
    }
    return { kind: 'rotated', secret: next, token };
  }

  async #call(
    method: 'GET' | 'POST',
    path: string,
    secret: string,
    body: string | undefined,
    stop: AbortSignal | null,
  ): Promise<Answer | Failed> {
    const url = new URL(`${this.#base.pathname.replace(/\/$/, '')}${path}`, this.#base);
    const patience = AbortSignal.timeout(TIMEOUT_MS);
    const headers = { accept: 'application/json', authorization: `Bearer ${secret}` };
    try {
      const response = await fetch(url, {
        method,
        redirect: 'manual',
        signal: stop === null ? patience : AbortSignal.any([patience, stop]),
        headers: body === undefined ? headers : { ...headers, 'content-type': 'application/json' },
        ...(body === undefined ? {} : { body }),
      });
      return { status: response.status, headers: response.headers, body: parsed(await bounded(response)) };
    } catch (error) {
      return this.#failed(`cannot be reached: ${causeOf(error)}`);
    }
  }

  #refusal({ status, body }: Answer): Dead | Failed {
    const reason = typeof body?.['reason'] === 'string' ? printable(body['reason']) : '';
    if (status === 401 && DEADLY.has(reason)) return { kind: 'dead', reason };
    const detail = typeof body?.['detail'] === 'string' ? `: ${printable(body['detail'])}` : '';
    return this.#failed(`answered ${`${status} ${reason}`.trim()}${detail}`);
  }

  #failed(what: string): Failed {
    return { kind: 'failed', why: `the gateway at ${this.#base.origin} ${what}` };
  }
}

async function bounded(response: Response): Promise<string> {
  const decoder = new TextDecoder();
  let text = '';
  for await (const chunk of response.body ?? []) {
    text += decoder.decode(chunk, { stream: true });
    if (text.length > LARGEST_ANSWER_BYTES) throw new Error('its answer is too large');
  }
  return text;
}

function parsed(text: string): JsonObject | null {
  try {
    return asObject(JSON.parse(text));
  } catch {
    return null;
  }
}

function ownToken(body: JsonObject | null): OwnToken | null {
  const expiresAt = moment(body?.['expires_at']);
  const id = body?.['id'];
  if (body === null || expiresAt === null || typeof id !== 'string') return null;
  const generation = body['generation'];
  return {
    id,
    expiresAt,
    rotateAfter: moment(body['rotate_after']),
    startedAt: moment(body['rotated_at']) ?? moment(body['created_at']),
    graceUntil: moment(body['grace_until']),
    generation: typeof generation === 'number' ? generation : null,
  };
}

function moment(value: unknown): number | null {
  const time = typeof value === 'string' ? Date.parse(value) : Number.NaN;
  return Number.isNaN(time) ? null : time;
}

function clockAhead(headers: Headers, sentAt: number): number {
  const date = Date.parse(headers.get('date') ?? '');
  if (Number.isNaN(date)) return 0;
  const ahead = date - (sentAt + Date.now()) / 2;
  return Math.abs(ahead) <= CLOCK_PRECISION_MS ? 0 : ahead;
}

function causeOf(error: unknown): string {
  if (!(error instanceof Error)) return 'unknown cause';
  if (error.name === 'TimeoutError') return `no answer within ${TIMEOUT_MS / 1000} s`;
  const cause: unknown = error.cause ?? error;
  if (cause instanceof AggregateError && cause.errors[0] instanceof Error) return cause.errors[0].message;
  return cause instanceof Error && cause.message !== '' ? cause.message : error.message;
}
