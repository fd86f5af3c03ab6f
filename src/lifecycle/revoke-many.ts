import { type AddressRange, parseAddress, rangeContains } from '../base/address-range.ts';
import { equalDigests } from '../base/encoding.ts';
import { err, ok, type Result } from '../base/result.ts';
import { Fault, type FaultCode } from '../model/fault.ts';
import { statusAt, type TokenRecord } from '../model/token-record.ts';
import type { Store, StoredToken } from '../store/token-store.ts';
import { digestToken, parseToken } from '../token/opaque-format.ts';
import type { Actor, FieldError, LifecycleContext, LifecycleError, Propagation } from './context.ts';
import { checkText } from './fields.ts';
import { parseIpBlock } from './ip-block.ts';
import { revokeToken } from './revoke.ts';
import { parseTimestamp } from './timestamp.ts';

/** Which tokens are meant: those that fit every selector that is given. At least one is. */
export interface RevocationSelector {
  readonly subject?: string;
  readonly owner?: string;
  readonly class?: string;
  /** Id of a token. */
  readonly jti?: string;
  /** Of JWTs; tokens of this gateway have none, so it fits nothing here. */
  readonly issuer?: string;
  /** RFC 3339, exclusive. By `created_at`: whoever stole a token may have rotated it since. */
  readonly issued_before?: string;
  /** An address or CIDR block, in which the token, or one of its older generations, was last used. */
  readonly seen_from?: string;
  /** A whole token, of whatever generation. Never written anywhere. */
  readonly token?: string;
}

export interface RevokeManyRequest {
  readonly selector: RevocationSelector;
  /** Null only where nothing is revoked. */
  readonly reason: string | null;
  /** True: only counts and lists. */
  readonly dryRun: boolean;
}

export interface MatchedToken {
  readonly id: string;
  readonly name: string;
  readonly owner: string;
  readonly class: string;
}

export interface FailedRevocation {
  readonly id: string;
  readonly reason: FaultCode;
  readonly message: string;
}

/** `matched` = `revoked` + `already_revoked` + `failed` (in a dry run `revoked` is 0). Expired tokens are not counted in it. */
export interface RevokeManyReport {
  readonly matched: number;
  readonly revoked: number;
  readonly already_revoked: number;
  /** Fit, but have expired: nothing lets them in, so they are left as they are. */
  readonly expired: number;
  readonly failed: number;
  /** The first LIST_LENGTH that matched. */
  readonly tokens: readonly MatchedToken[];
  /** The first LIST_LENGTH that failed. */
  readonly failures: readonly FailedRevocation[];
  /** Why it ended before every token had been looked at, or null. */
  readonly interrupted: FaultCode | null;
  /** Over all revocations: the fewest acknowledgements, all closed streams; `elapsed_ms` is that of the whole call. */
  readonly propagation: Propagation;
}

/** Entries of each list of a report. */
export const LIST_LENGTH = 1000;
/** Revocations under way at the same time: enough for their audit events to share a flush of the disk. */
const CONCURRENCY = 32;
const PAGE = 500;
/** A token that somebody issues while the list is walked is met by the next walk; so often at most. */
const MAX_WALKS = 5;
/**
 * Tokens that were revoked so short a time ago are revoked once more: the first call may have failed before it had
 * reached everybody. Longer than any lease, and than clocks of different machines differ.
 */
const REPEAT_WITHIN_MS = 10 * 60_000;

/**
 * Revokes every token that fits, each as `revokeToken` does it and with its promise: when this resolves with no failure and
 * not interrupted, none of them is let in anywhere any more. The actor's own token comes last, so that a call that fails on the way
 * can be repeated. Faults of single tokens are counted; a Fault is thrown only while nothing has been changed.
 */
export async function revokeMany(
  context: LifecycleContext,
  actor: Actor,
  request: RevokeManyRequest,
): Promise<Result<RevokeManyReport, LifecycleError>> {
  const compiled = compileSelector(context, request.selector);
  const errors = [
    ...(request.reason === null ? [] : checkText('reason', request.reason)),
    ...(compiled.ok ? [] : compiled.error),
  ];
  if (errors.length > 0 || !compiled.ok) return err({ kind: 'invalid', errors });
  const began = context.clock.monotonic();
  const run = new Run(context, actor, request);
  try {
    for (let walk = 0; walk < MAX_WALKS; walk += 1) {
      const before = run.changed;
      for await (const stored of candidates(context, compiled.value)) await run.take(stored);
      await run.settled();
      if (request.dryRun || run.changed === before || !compiled.value.open) break;
    }
    await run.finish();
  } catch (fault) {
    await run.settled();
    if (!run.touched || !(fault instanceof Fault)) throw fault;
    run.interrupted(fault);
  }
  return ok(run.report(context.clock.monotonic() - began));
}

interface Selection {
  readonly fits: (stored: StoredToken) => boolean;
  /** For the store's own index. */
  readonly filter: { readonly owner?: string; readonly class?: string; readonly subject?: string };
  /** Set where at most one token can fit. */
  readonly id: string | null;
  /** False where nothing can. */
  readonly possible: boolean;
  /** True where tokens that do not exist yet could fit. */
  readonly open: boolean;
}

function compileSelector(
  context: LifecycleContext,
  selector: RevocationSelector,
): Result<Selection, readonly FieldError[]> {
  const errors: FieldError[] = [];
  const given = Object.values(selector).filter((value) => value !== undefined);
  if (given.length === 0) errors.push({ path: '', message: NO_SELECTOR });
  for (const name of ['subject', 'owner', 'class', 'jti', 'issuer', 'token'] as const) {
    if (selector[name] === '') errors.push({ path: name, message: 'must not be empty' });
  }
  const tests: ((stored: StoredToken) => boolean)[] = [];
  const { subject, owner, jti, issuer, issued_before, seen_from, token } = selector;
  const filter = definedOnly({ subject, owner, class: selector.class });
  let before: number | null = null;
  if (issued_before !== undefined) {
    const parsed = parseTimestamp(issued_before);
    if (!parsed.ok) errors.push({ path: 'issued_before', message: parsed.error });
    else before = parsed.value;
  }
  if (seen_from !== undefined) {
    const block = parseIpBlock(seen_from);
    if (!block.ok) errors.push({ path: 'seen_from', message: block.error });
    else tests.push((stored) => seenFrom(stored, block.value));
  }
  if (errors.length > 0) return err(errors);
  if (before !== null) {
    const bound = before;
    tests.push(({ record }) => record.created_at < bound);
  }
  let id = jti ?? null;
  let possible = issuer === undefined && (id === null || /^[0-9A-Za-z]{12}$/.test(id));
  if (token !== undefined) {
    const parsed = parseToken(token);
    if (!parsed.ok || (id !== null && id !== parsed.value.id)) possible = false;
    else {
      id = parsed.value.id;
      const digest = Buffer.from(digestToken(token, context.tokens.pepper), 'latin1');
      // The id stands in the token for all to see; only the digest shows that the secret is one of it.
      tests.push(({ record }) => digestsOf(record).some((known) => equalDigests(Buffer.from(known, 'latin1'), digest)));
    }
  }
  const named = Object.entries(filter) as [keyof typeof filter, string][];
  tests.push(({ record }) => named.every(([name, value]) => record[name] === value));
  const inThePast = before !== null && before <= context.clock.now();
  return ok({
    fits: (stored) => tests.every((test) => test(stored)),
    filter,
    id,
    possible,
    open: id === null && !inThePast,
  });
}

const NO_SELECTOR =
  'needs at least one of subject, owner, class, jti, issuer, issued_before, seen_from, token: nothing selects everything by mistake';

function digestsOf(record: TokenRecord): string[] {
  return [record.digest, ...record.superseded.map(({ digest }) => digest)];
}

function seenFrom({ record, usage }: StoredToken, block: AddressRange): boolean {
  return [usage.last_used_ip, ...record.superseded.map(({ last_used_ip }) => last_used_ip)].some((text) => {
    const address = text === null ? null : parseAddress(text);
    return address !== null && rangeContains(block, address);
  });
}

function definedOnly<T extends Readonly<Record<string, string | undefined>>>(values: T): { [K in keyof T]?: string } {
  const entries = Object.entries(values).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as { [K in keyof T]?: string };
}

async function* candidates(context: LifecycleContext, selection: Selection): AsyncGenerator<StoredToken> {
  if (!selection.possible) return;
  if (selection.id !== null) {
    const stored = await context.store.load(selection.id);
    if (stored !== null && selection.fits(stored)) yield stored;
    return;
  }
  let cursor: string | null = null;
  do {
    const page: Awaited<ReturnType<Store['list']>> = await context.store.list(selection.filter, {
      limit: PAGE,
      cursor,
      now: context.clock.now(),
    });
    for (const stored of page.tokens) if (selection.fits(stored)) yield stored;
    cursor = page.cursor;
  } while (cursor !== null);
}

/** One bulk revocation while it goes on. */
class Run {
  readonly #context: LifecycleContext;
  readonly #actor: Actor;
  readonly #request: RevokeManyRequest;
  readonly #seen = new Set<string>();
  readonly #tokens: MatchedToken[] = [];
  readonly #failures: FailedRevocation[] = [];
  readonly #underWay = new Set<Promise<void>>();
  #own: StoredToken | null = null;
  #matched = 0;
  #revoked = 0;
  #already = 0;
  #expired = 0;
  #failed = 0;
  #lost: Fault | null = null;
  #replicas = 0;
  #acknowledged = Number.POSITIVE_INFINITY;
  #streams = 0;

  constructor(context: LifecycleContext, actor: Actor, request: RevokeManyRequest) {
    this.#context = context;
    this.#actor = actor;
    this.#request = request;
  }

  /** Grows with every token that was revoked. */
  get changed(): number {
    return this.#revoked;
  }

  /** True once a token may have been changed. */
  get touched(): boolean {
    return !this.#request.dryRun && this.#revoked + this.#failed > 0;
  }

  /** Begins with a token that fits; waits while too many are under way. Rejects once the store is lost. */
  async take(stored: StoredToken): Promise<void> {
    const { record } = stored;
    if (this.#seen.has(record.id)) return;
    this.#seen.add(record.id);
    const now = this.#context.clock.now();
    const status = statusAt(record, now);
    if (status === 'expired') {
      this.#expired += 1;
      return;
    }
    this.#matched += 1;
    if (this.#tokens.length < LIST_LENGTH) {
      this.#tokens.push({ id: record.id, name: record.name, owner: record.owner, class: record.class });
    }
    if (record.revoked_at !== null) this.#already += 1;
    if (this.#request.dryRun || (record.revoked_at !== null && now - record.revoked_at > REPEAT_WITHIN_MS)) return;
    if (record.id === this.#actor.tokenId) {
      this.#own = stored;
      return;
    }
    await this.#begin(record);
  }

  /** Waits for what is under way. Never rejects. */
  async settled(): Promise<void> {
    await Promise.all(this.#underWay);
  }

  /** Ends with the actor's own token, if it fits. */
  async finish(): Promise<void> {
    if (this.#lost !== null) throw this.#lost;
    if (this.#own === null) return;
    if (this.#failed > 0) {
      const message = 'the token of the caller is left until the others are revoked: repeat the call with it';
      this.#failures.push({ id: this.#own.record.id, reason: 'conflict', message });
      return;
    }
    await this.#begin(this.#own.record);
    await this.settled();
    if (this.#lost !== null) throw this.#lost;
  }

  interrupted(fault: Fault): void {
    this.#lost ??= fault;
  }

  report(elapsedMs: number): RevokeManyReport {
    const { dryRun } = this.#request;
    return {
      matched: this.#matched,
      revoked: this.#revoked,
      already_revoked: this.#already,
      expired: this.#expired,
      failed: dryRun ? 0 : this.#matched - this.#revoked - this.#already,
      tokens: this.#tokens,
      failures: this.#failures,
      interrupted: this.#lost?.code ?? null,
      propagation: {
        replicas: this.#replicas,
        acknowledged: Number.isFinite(this.#acknowledged) ? this.#acknowledged : 0,
        streams_closed: this.#streams,
        elapsed_ms: Math.round(elapsedMs),
      },
    };
  }

  async #begin(record: TokenRecord): Promise<void> {
    while (this.#underWay.size >= CONCURRENCY) await Promise.race(this.#underWay);
    // Hundreds of calls that all wait for a store that is gone help nobody.
    if (this.#lost !== null) throw this.#lost;
    const work: Promise<void> = this.#revoke(record).finally(() => this.#underWay.delete(work));
    this.#underWay.add(work);
  }

  async #revoke({ id, revoked_at }: TokenRecord): Promise<void> {
    try {
      const result = await revokeToken(this.#context, this.#actor, id, { reason: this.#request.reason });
      // Gone: it was never handed out.
      if (!result.ok) {
        this.#matched -= 1;
        return;
      }
      const { propagation } = result.value;
      if (revoked_at === null) this.#revoked += 1;
      this.#replicas = Math.max(this.#replicas, propagation.replicas);
      this.#acknowledged = Math.min(this.#acknowledged, propagation.acknowledged);
      this.#streams += propagation.streams_closed;
    } catch (cause) {
      this.#failedFor(id, revoked_at, cause);
    }
  }

  #failedFor(id: string, revokedAt: number | null, cause: unknown): void {
    const fault = cause instanceof Fault ? cause : new Fault('internal', 'something went wrong', { cause });
    this.#failed += 1;
    if (revokedAt !== null) this.#already -= 1;
    if (this.#failures.length < LIST_LENGTH) this.#failures.push({ id, reason: fault.code, message: fault.message });
    if (fault.code === 'store_unavailable' || fault.code === 'store_full') this.#lost ??= fault;
  }
}
