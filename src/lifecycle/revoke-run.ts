import { Fault, type FaultCode } from '../model/fault.ts';
import type { Principal } from '../model/principal.ts';
import { statusAt, type TokenRecord } from '../model/token-record.ts';
import type { StoredToken } from '../store/token-store.ts';
import type { Actor, LifecycleContext, Propagation } from './context.ts';
import { type MarkRequest, makeMark, openFor, type PresentedMark, plannedMark, presentMark, TOO_MANY } from './mark.ts';
import { markRevoked, propagateRevoked, recordRevoked } from './revoke.ts';
import type { RevocationSelector } from './revoke-selector.ts';

export interface RevokeManyRequest {
  readonly selector: RevocationSelector;
  /** Whom the selector's `token` speaks for, where it is one of somebody else's that is let in here. */
  readonly presented?: Principal | null;
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
  /** What stands, or would, against tokens of others; there are no records of theirs to count. */
  readonly marks: readonly (PresentedMark & { readonly repeated: boolean })[];
  /** In a dry run: what is open in this process with tokens of others that fit. */
  readonly streams_open: number;
  /** Why it ended before every token had been looked at, or null. */
  readonly interrupted: FaultCode | null;
  /** Over all revocations: the fewest acknowledgements, all closed streams; `elapsed_ms` is that of the whole call. */
  readonly propagation: Propagation;
}

/** Entries of each list of a report. */
export const LIST_LENGTH = 1000;
/** Records that are marked at the same time: enough for their audit events to share a flush of the disk. */
const CONCURRENCY = 32;
/** Tokens that are waited for together. The waits of further ones run at the same time. */
const BATCH = 1000;
/**
 * Tokens that were revoked so short a time ago are revoked once more: the first call may have failed before it had
 * reached everybody. Longer than any lease, and than clocks of different machines differ.
 */
const REPEAT_WITHIN_MS = 10 * 60_000;

/** One bulk revocation while it goes on. */
export class RevocationRun {
  readonly #context: LifecycleContext;
  readonly #actor: Actor;
  readonly #request: RevokeManyRequest;
  readonly #seen = new Set<string>();
  readonly #tokens: MatchedToken[] = [];
  readonly #failures: FailedRevocation[] = [];
  readonly #underWay = new Set<Promise<void>>();
  /** Revoked in the store, and not yet waited for. */
  #marked: Marked[] = [];
  readonly #spreading: Promise<void>[] = [];
  readonly #marks: (PresentedMark & { readonly repeated: boolean })[] = [];
  #marksFailed = 0;
  #streamsOpen = 0;
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
    return !this.#request.dryRun && this.#revoked + this.#failed + this.#marks.length + this.#marksFailed > 0;
  }

  /** Tokens of others first: one entry, which is quick. Never rejects; what failed is in the report. */
  async takeForeign(request: MarkRequest | null): Promise<void> {
    const { foreign, clock } = this.#context;
    if (request === null || foreign === undefined) return;
    const { dryRun, reason, presented = null } = this.#request;
    const mark = plannedMark(foreign, request, { actor: this.#actor, reason, now: clock.now() });
    if (dryRun) {
      this.#streamsOpen = openFor(foreign, mark);
      this.#marks.push({ ...presentMark(mark), repeated: false });
      return;
    }
    try {
      const made = await makeMark(this.#context, foreign, this.#actor, mark, presented);
      if (made === null) throw new Fault('conflict', TOO_MANY);
      this.#marks.push({ ...presentMark(made.mark), repeated: made.repeated });
      this.#reached(made.propagation);
    } catch (cause) {
      this.#marksFailed += 1;
      this.#noteFailure(mark.id, cause);
    }
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

  /** Waits for what is under way, and until nobody lets in what is marked. Never rejects. */
  async settled(): Promise<void> {
    await Promise.all(this.#underWay);
    if (this.#marked.length > 0) this.#spread();
    await Promise.all(this.#spreading.splice(0));
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
      marks: this.#marks,
      streams_open: this.#streamsOpen,
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
    const work: Promise<void> = this.#mark(record).finally(() => this.#underWay.delete(work));
    this.#underWay.add(work);
  }

  /** Never rejects. */
  async #mark({ id, revoked_at }: TokenRecord): Promise<void> {
    const { reason } = this.#request;
    const token: Marked = { id, revokedBefore: revoked_at !== null, failed: false };
    try {
      const marked = await markRevoked(this.#context, this.#actor, id, reason);
      // Gone: it was never handed out.
      if (marked === null) {
        this.#matched -= 1;
        return;
      }
      this.#marked.push(token);
      if (this.#marked.length >= BATCH) this.#spread();
      await recordRevoked(this.#context, this.#actor, marked, reason);
    } catch (cause) {
      this.#failedFor(token, cause);
    }
  }

  /** One wait for all that are marked. */
  #spread(): void {
    const tokens = this.#marked;
    this.#marked = [];
    this.#spreading.push(this.#reach(tokens));
  }

  /** Never rejects. */
  async #reach(tokens: readonly Marked[]): Promise<void> {
    try {
      const propagation = await propagateRevoked(
        this.#context,
        tokens.map(({ id }) => id),
      );
      this.#reached(propagation);
      // The events of the last ones may still be on their way to the disk: their failure is counted there.
      await Promise.all(this.#underWay);
      this.#revoked += tokens.filter(({ revokedBefore, failed }) => !revokedBefore && !failed).length;
    } catch (cause) {
      for (const token of tokens) this.#failedFor(token, cause);
    }
  }

  #reached({ replicas, acknowledged, streams_closed }: Propagation): void {
    this.#replicas = Math.max(this.#replicas, replicas);
    this.#acknowledged = Math.min(this.#acknowledged, acknowledged);
    this.#streams += streams_closed;
  }

  #failedFor(token: Marked, cause: unknown): void {
    if (token.failed) return;
    token.failed = true;
    this.#failed += 1;
    if (token.revokedBefore) this.#already -= 1;
    this.#noteFailure(token.id, cause);
  }

  #noteFailure(id: string, cause: unknown): void {
    const fault = cause instanceof Fault ? cause : new Fault('internal', 'something went wrong', { cause });
    if (this.#failures.length < LIST_LENGTH) this.#failures.push({ id, reason: fault.code, message: fault.message });
    if (fault.code === 'store_unavailable' || fault.code === 'store_full') this.#lost ??= fault;
  }
}

interface Marked {
  readonly id: string;
  readonly revokedBefore: boolean;
  failed: boolean;
}
