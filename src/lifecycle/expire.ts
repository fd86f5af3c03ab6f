import { setTimeout as sleep } from 'node:timers/promises';
import { rfc3339 } from '../base/encoding.ts';
import { formatDuration } from '../base/quantity.ts';
import { err, ok } from '../base/result.ts';
import type { AuditDetail } from '../model/audit-event.ts';
import { statusAt, type TokenRecord } from '../model/token-record.ts';
import type { Store, StoredToken } from '../store/token-store.ts';
import { type LifecycleContext, tokenEvent } from './context.ts';
import { changeDurably } from './durable-change.ts';
import { automatic } from './generations.ts';

/** An end longer ago than this is not announced any more: news of it would help nobody. */
const ANNOUNCE_WITHIN_MS = 24 * 3_600_000;
/** Uses are written in the background; so much later than its last use is noted a token may look idle. */
const USES_LATE_MS = 5_000;
const PAGE = 200;
/** Pages of one walk; what lies beyond is older than that many tokens, and is looked at by the store's refusals alone. */
const MAX_PAGES = 2_000;
/** Between two pages, so that a walk never holds up requests for longer than one page takes. */
const PAUSE_MS = 5;
/** Tokens whose end is near, looked at again in time; more of them wait for the next walk. */
const MAX_DUE = 10_000;

/**
 * Notices the ends of tokens: announces those that come (`token.expiring`, once per threshold) and those that have come
 * (`token.expired`), and ends what nobody has used for the class's `idle_expiry`. What has been announced stands in the
 * record, so that neither another process nor a restart announces it again. One for each process; calls do not overlap.
 */
export class ExpiryWatch {
  readonly #context: LifecycleContext;
  /** Milliseconds before the end, ascending. */
  readonly #thresholds: readonly number[];
  /** Id → end. */
  readonly #due = new Map<string, number>();
  #walkedUntil = 0;

  constructor(context: LifecycleContext, thresholds: readonly number[]) {
    this.#context = context;
    this.#thresholds = [...new Set(thresholds)].filter((within) => within > 0).toSorted((a, b) => a - b);
  }

  /** Looks at every token, newest first. `dueMs`: ends within that time are watched for by `glance`. */
  async walk(dueMs: number, signal: AbortSignal): Promise<void> {
    await this.#look(0, dueMs, signal);
  }

  /** Looks at what was issued since the last look, and at what has come due. Cheap where that is nothing. */
  async glance(dueMs: number, signal: AbortSignal): Promise<void> {
    // Clocks of processes that issue differ a little.
    await this.#look(this.#walkedUntil - USES_LATE_MS, dueMs, signal);
    const now = this.#context.clock.now();
    for (const [id, end] of this.#due) {
      if (end > now || signal.aborted) continue;
      this.#due.delete(id);
      const stored = await this.#context.store.load(id);
      if (stored !== null) await this.#consider(stored, dueMs);
    }
  }

  async #look(since: number, dueMs: number, signal: AbortSignal): Promise<void> {
    const began = this.#context.clock.now();
    let cursor: string | null = null;
    for (let page = 0; page < MAX_PAGES && !signal.aborted; page += 1) {
      const found: Awaited<ReturnType<Store['list']>> = await this.#context.store.list(
        {},
        { limit: PAGE, cursor, now: began },
      );
      for (const stored of found.tokens) {
        if (signal.aborted) return;
        if (stored.record.created_at >= since) await this.#consider(stored, dueMs);
      }
      cursor = found.cursor;
      const oldest = found.tokens.at(-1)?.record.created_at;
      if (cursor === null || (oldest !== undefined && oldest < since)) break;
      await sleep(PAUSE_MS, undefined, { signal }).catch(() => undefined);
    }
    this.#walkedUntil = began;
  }

  async #consider(stored: StoredToken, dueMs: number): Promise<void> {
    const { record } = stored;
    const now = this.#context.clock.now();
    const status = statusAt(record, now);
    if (status === 'revoked') return;
    if (status === 'expired') {
      const late = now - record.expires_at > ANNOUNCE_WITHIN_MS;
      if (!late) await this.#announce(stored, ['expired'], 'token.expired', {});
      return;
    }
    if (isIdle(this.#context, stored, now)) {
      await expireIdle(this.#context, record.id);
      return;
    }
    if (record.expires_at <= now + dueMs && this.#due.size < MAX_DUE) this.#due.set(record.id, record.expires_at);
    const lived = record.expires_at - (record.rotated_at ?? record.created_at);
    // A token that was made for an hour is not "expiring within a day" from its first minute on.
    const crossed = this.#thresholds.filter((within) => within < lived && record.expires_at - now <= within);
    const [tightest] = crossed;
    if (tightest === undefined || record.announced?.includes(nameOf(tightest)) === true) return;
    await this.#announce(stored, crossed.map(nameOf), 'token.expiring', { within: formatDuration(tightest) });
  }

  /** Noted in the record first: whoever of several processes wins that tells the trail. */
  async #announce(
    { record, version }: StoredToken,
    names: readonly string[],
    type: 'token.expired' | 'token.expiring',
    details: Readonly<Record<string, AuditDetail>>,
  ): Promise<void> {
    const known = record.announced ?? [];
    if (names.every((name) => known.includes(name))) return;
    const announced = [...new Set([...known, ...names])];
    if (!(await this.#context.store.replace(version, { ...record, announced }))) return;
    const more = { name: record.name, class: record.class, expires_at: rfc3339(record.expires_at) };
    this.#context.audit.record(tokenEvent(type, record, automatic('expiry'), { ...more, ...details }));
    this.#context.metrics.tokenEvent(type === 'token.expired' ? 'expired' : 'expiring');
  }
}

function nameOf(within: number): string {
  return `expiring:${formatDuration(within)}`;
}

function isIdle(context: LifecycleContext, { record, usage }: StoredToken, now: number): boolean {
  const idleMs = context.policy()?.classes.get(record.class)?.idleExpiryMs ?? null;
  if (idleMs === null) return false;
  const { created_at, rotated_at, not_before } = record;
  const last = Math.max(created_at, rotated_at ?? 0, not_before ?? 0, usage.last_used_at ?? 0);
  return now - last >= idleMs + USES_LATE_MS;
}

/**
 * Brings the end of a token that nobody uses forward to now. Judged once more on the record that is replaced. The uses
 * that other processes have not written yet are allowed for by USES_LATE_MS.
 */
async function expireIdle(context: LifecycleContext, id: string): Promise<void> {
  const changed = await changeDurably(context, id, (stored, now) => {
    const { record, usage } = stored;
    if (!['active', 'rotating'].includes(statusAt(record, now)) || !isIdle(context, stored, now)) {
      return err({ kind: 'conflict', message: 'the token is not idle any more' });
    }
    const ended: TokenRecord = {
      ...record,
      expires_at: now,
      expired_by: 'idle_expiry',
      announced: [...(record.announced ?? []), 'expired'],
    };
    const lastUsedAt = usage.last_used_at === null ? null : rfc3339(usage.last_used_at);
    const details = { name: record.name, class: record.class, by: 'idle_expiry', last_used_at: lastUsedAt };
    const would = { ...details, expires_at: rfc3339(now), instead_of: rfc3339(record.expires_at) };
    return ok({
      record: ended,
      event: tokenEvent('token.expired', ended, automatic('idle_expiry'), would),
      outcome: null,
    });
  });
  if (!changed.ok) return;
  context.metrics.tokenEvent('expired');
  await context.spread?.(id);
}
