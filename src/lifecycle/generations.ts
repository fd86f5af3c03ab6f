import { rfc3339 } from '../base/encoding.ts';
import type { MaybePromise } from '../base/result.ts';
import { Fault } from '../model/fault.ts';
import type { SupersededGeneration, TokenRecord } from '../model/token-record.ts';
import { type Actor, type LifecycleContext, tokenEvent } from './context.ts';
import { revokeToken } from './revoke.ts';

/** An old generation that was presented after its end. */
export interface Reuse {
  readonly tokenId: string;
  readonly generation: number;
  readonly tokenClass: string;
  readonly requestId: string;
  readonly ip: string;
}

/** Simultaneous changes of one token that are worked around before the request is refused. */
const ATTEMPTS = 8;
/**
 * With `on_first_use` one of a client's processes ends the old secret while the others are still sending it. For so long
 * after, that is a client in the middle of a change and not a thief: refused and reported, but no reason to revoke.
 */
const CHANGE_OVER_MS = 10_000;

/** What the rules of a class ask for when a certain generation of a token is used. One for each process. */
export class Generations {
  readonly #context: LifecycleContext;
  readonly #onFailure: (error: unknown) => void;
  /** Under way, by token: requests of a flood share one attempt. */
  readonly #retiring = new Map<string, Promise<void>>();
  readonly #revoking = new Map<string, Promise<void>>();

  constructor(context: LifecycleContext, onFailure: (error: unknown) => void) {
    this.#context = context;
    this.#onFailure = onFailure;
  }

  /**
   * Ends the generations that `retire: on_first_use` ends with a use of this one. When it resolves they are refused
   * everywhere; where it rejects (Fault), the use has to be refused too.
   */
  retireOlder(tokenId: string, used: number): Promise<void> {
    return singly(this.#retiring, `${tokenId} ${used}`, () => retireOlder(this.#context, tokenId, used));
  }

  /** Revokes the token where its class says `on_reuse: revoke`. Never rejects; at once (no promise) for other classes. */
  reused(reuse: Reuse): MaybePromise<void> {
    const { tokenId, tokenClass } = reuse;
    if (this.#context.policy()?.classes.get(tokenClass)?.onReuse !== 'revoke') return undefined;
    return singly(this.#revoking, tokenId, () => revokeReused(this.#context, reuse).catch(this.#onFailure));
  }
}

function singly(underWay: Map<string, Promise<void>>, key: string, start: () => Promise<void>): Promise<void> {
  const known = underWay.get(key);
  if (known !== undefined) return known;
  const begun = start().finally(() => underWay.delete(key));
  underWay.set(key, begun);
  return begun;
}

async function retireOlder(context: LifecycleContext, tokenId: string, used: number): Promise<void> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    const stored = await context.store.load(tokenId);
    // Gone or revoked meanwhile: nothing older is let in either.
    if (stored === null || stored.record.revoked_at !== null) return;
    const now = context.clock.now();
    const retired = retiredBy(stored.record, used, now);
    if (retired === null) return;
    if (!(await context.store.replace(stored.version, retired.record))) continue;
    await context.spread?.(tokenId);
    const details = { generation: used, retired: retired.generations, at: rfc3339(now) };
    context.audit.record(tokenEvent('token.rotated', retired.record, automatic('retire: on_first_use'), details));
    return;
  }
  throw new Fault('conflict', `token ${tokenId} keeps being changed by others while its old secret is retired`);
}

/** Null where nothing has to end. An older one never outlives one that was made after it. */
function retiredBy(
  record: TokenRecord,
  used: number,
  now: number,
): { readonly record: TokenRecord; readonly generations: readonly number[] } | null {
  const alive = (entry: SupersededGeneration): boolean => entry.generation < used && now < entry.grace_until;
  const newest = record.superseded.find((entry) => alive(entry) && entry.retire === 'on_first_use');
  if (newest === undefined) return null;
  const ends = (entry: SupersededGeneration): boolean => alive(entry) && entry.generation <= newest.generation;
  const superseded = record.superseded.map((entry) => (ends(entry) ? { ...entry, grace_until: now } : entry));
  return {
    record: { ...record, superseded, grace_until: Math.max(...superseded.map(({ grace_until }) => grace_until)) },
    generations: record.superseded.filter(ends).map(({ generation }) => generation),
  };
}

async function revokeReused(context: LifecycleContext, reuse: Reuse): Promise<void> {
  const stored = await context.store.load(reuse.tokenId);
  if (stored === null || stored.record.revoked_at !== null) return;
  const entry = stored.record.superseded.find(({ generation }) => generation === reuse.generation);
  if (entry === undefined) return;
  const over = entry.grace_until + (entry.retire === 'on_first_use' ? CHANGE_OVER_MS : 0);
  if (context.clock.now() < over) return;
  const actor = { ...automatic('on_reuse: revoke'), requestId: reuse.requestId, ip: reuse.ip };
  const reason = `an old secret (generation ${reuse.generation}) was used after its grace`;
  await revokeToken(context, actor, reuse.tokenId, { reason });
}

/** Nobody asked for it: a rule of the class did. */
export function automatic(name: string): Actor {
  return { tokenId: null, name, scopes: [], roles: [], class: null };
}
