import type { Clock } from '../base/clock.ts';
import { sha256 } from '../base/encoding.ts';
import type { Logger } from '../metrics/log.ts';
import type { IdempotencyStore } from '../store/token-store.ts';
import { type Refusal, refusal } from './problem.ts';
import { type Answer, json } from './route.ts';

/** The answer of a call that makes a secret, in two halves, so that the half that is kept cannot hold the other. */
export interface SecretAnswer {
  readonly ok: true;
  readonly status: number;
  readonly record: Readonly<Record<string, unknown>>;
  /** The token, shown once. */
  readonly secret: string;
}

export interface IdempotentCall {
  /** From the `Idempotency-Key` field, or null. */
  readonly key: string | null;
  /** Token id of the caller: keys of different callers never meet. */
  readonly callerId: string;
  /** `POST /v1/tokens`: nor do those of different routes. */
  readonly route: string;
  /** Everything that tells this request from another one, JSON. */
  readonly request: unknown;
}

export interface IdempotencyOptions {
  readonly store: IdempotencyStore;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Longest `Idempotency-Key`, characters. */
export const IDEMPOTENCY_KEY_LENGTH = 255;

export function validIdempotencyKey(key: string): boolean {
  return key.length <= IDEMPOTENCY_KEY_LENGTH && /^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/.test(key);
}

/**
 * Runs `perform` once for a key within LIMITS.idempotencyMs. A repeat gets the same record with `token: null`: the
 * secret is not kept. A call that was refused or failed leaves the key free.
 */
export async function onceForKey(
  call: IdempotentCall,
  options: IdempotencyOptions,
  perform: () => Promise<SecretAnswer | Refusal>,
): Promise<Answer | Refusal> {
  if (call.key === null) return firstAnswer(await perform());
  const { store, clock, log } = options;
  const key = digest([call.callerId, call.route, call.key]);
  const fingerprint = digest(call.request);
  const earlier = await store.claim(key, fingerprint, clock.now());
  if (earlier !== null) return repeatedAnswer(earlier.fingerprint === fingerprint, earlier.value);

  let answer: SecretAnswer | Refusal;
  try {
    answer = await perform();
  } catch (error) {
    await quietly('release an Idempotency-Key', log, () => store.release(key));
    throw error;
  }
  if (!answer.ok) {
    await quietly('release an Idempotency-Key', log, () => store.release(key));
    return answer;
  }
  // The change is made, and its only secret is handed out whether or not a repeat will be recognised as one: until the
  // store lets go of the claim, a repeat is refused as one under way.
  const value = JSON.stringify({ status: answer.status, record: answer.record });
  await quietly('remember an idempotent answer', log, () => store.remember(key, fingerprint, value, clock.now()));
  return firstAnswer(answer);
}

function firstAnswer(answer: SecretAnswer | Refusal): Answer | Refusal {
  return answer.ok ? json(answer.status, { ...answer.record, token: answer.secret }) : answer;
}

function repeatedAnswer(sameRequest: boolean, value: string | null): Answer | Refusal {
  if (!sameRequest) {
    return refusal(
      'idempotency_key_reused',
      'this Idempotency-Key was used for another request within the last 24 hours',
    );
  }
  if (value === null) {
    return refusal('idempotency_in_progress', 'the first request with this Idempotency-Key has not been answered yet');
  }
  const { status, record }: { status: number; record: Record<string, unknown> } = JSON.parse(value);
  return json(status, { ...record, token: null }, { 'idempotent-replay': 'true' });
}

async function quietly(what: string, log: Logger, action: () => Promise<void>): Promise<void> {
  try {
    await action();
  } catch (error) {
    log.warn({ err: error }, `could not ${what}`);
  }
}

/** Hex SHA-256 over JSON with sorted keys. */
function digest(value: unknown): string {
  return sha256(JSON.stringify(value, sortedKeys)).toString('hex');
}

function sortedKeys(_key: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1)));
}
