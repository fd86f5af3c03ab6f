import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Fault } from '../../src/model/fault.ts';
import type { RevocationMark } from '../../src/model/revocation-mark.ts';
import { CachedReader } from '../../src/store/cached-reader.ts';
import { KnownMarks } from '../../src/store/known-marks.ts';
import { Lease } from '../../src/store/lease.ts';
import type { MarkStore } from '../../src/store/mark-store.ts';
import { Replica } from '../../src/store/replica.ts';
import type { Store } from '../../src/store/token-store.ts';
import { aForeign, aMark, MARKED_AT } from '../contract/mark-fixture.ts';
import { RedisBench } from './redis-bench.ts';

const LEASE_MS = 1000;
const MOST = 1000;

/** A store whose answers wait until the test lets them go. */
class HeldMarks implements MarkStore {
  readonly asked: {
    readonly answer: (marks: readonly RevocationMark[]) => void;
    readonly fail: (error: Error) => void;
  }[] = [];
  readonly put: RevocationMark[] = [];
  stored: readonly RevocationMark[] = [];

  findMarks(): Promise<readonly RevocationMark[]> {
    return new Promise((answer, fail) => this.asked.push({ answer, fail }));
  }

  async allMarks(): Promise<readonly RevocationMark[]> {
    return this.stored;
  }

  async putMark(mark: RevocationMark): Promise<{ mark: RevocationMark; repeated: boolean }> {
    this.put.push(mark);
    return { mark, repeated: false };
  }
}

describe('the revocations that are remembered', () => {
  const mark = aMark({ jti: 'one' });
  const token = aForeign();
  let now: number;
  let store: HeldMarks;
  let lease: Lease;
  let stale: number;

  beforeEach(() => {
    now = MARKED_AT;
    store = new HeldMarks();
    lease = new Lease(LEASE_MS);
    stale = 0;
  });

  function known(onUnavailable: 'deny' | 'serve_cached' = 'deny'): KnownMarks {
    const clock = { now: () => now, monotonic: () => now };
    const observe = { cacheHit: () => undefined, cacheMiss: () => undefined, staleAnswer: () => undefined };
    const reader = new CachedReader({
      store: { find: () => null },
      lease,
      leaseMs: LEASE_MS,
      clock,
      observe,
      answersAtOnce: false,
      onUnavailable,
      maxStaleMs: 5000,
    });
    const onStaleAnswer = (): void => {
      stale += 1;
    };
    return new KnownMarks({ store, lease, leaseMs: LEASE_MS, clock, reader, onStaleAnswer });
  }

  const grant = (): void => lease.grant({ monotonic: now, wall: now });
  const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

  it('answer at once under a lease, and are asked for without one', async () => {
    const marks = known();
    grant();
    expect(marks.covers(token, null)).toBe(false);
    now += LEASE_MS;
    const covered = marks.covers(token, null);
    store.asked[0]?.answer([mark]);
    expect(await covered).toBe(true);
    // What is known once holds without lease or store.
    expect(marks.covers(token, null)).toBe(true);
    expect(store.asked).toHaveLength(1);
  });

  it('say nothing about tokens of this gateway, and ask nobody', () => {
    expect(known().covers({ tokenId: 'one', foreign: null }, null)).toBe(false);
    expect(store.asked).toEqual([]);
  });

  it('count from when they are loaded, also for a question that was sent before', async () => {
    const marks = known();
    const covered = marks.covers(token, null);
    const loaded = marks.load(['4yKqUc9QzT1B', mark.id]);
    store.asked[1]?.answer([mark]);
    await loaded;
    store.asked[0]?.answer([]);
    expect(await covered).toBe(true);
  });

  it('ask again when the answer took a lease to arrive, and give up in the end', async () => {
    const marks = known();
    const covered = expect(marks.covers(token, null)).rejects.toMatchObject({ code: 'store_unavailable' });
    for (let read = 0; read < 5; read += 1) {
      now += LEASE_MS;
      store.asked[read]?.answer([]);
      await turn();
    }
    await covered;
    const late = marks.covers(token, null);
    now += LEASE_MS;
    store.asked[5]?.answer([]);
    await turn();
    store.asked[6]?.answer([mark]);
    expect(await late).toBe(true);
  });

  it('are a fault when the store is lost, or what was known for max_stale where that is wanted', async () => {
    const marks = known();
    const fail = (): void => store.asked.at(-1)?.fail(new Fault('store_unavailable', 'gone'));
    const denied = marks.covers(token, 'serve_cached');
    fail();
    // Nothing was ever known here.
    await expect(denied).rejects.toMatchObject({ code: 'store_unavailable' });
    grant();
    expect(marks.covers(token, null)).toBe(false);
    now += 4000;
    const stillDenied = marks.covers(token, null);
    fail();
    await expect(stillDenied).rejects.toMatchObject({ code: 'store_unavailable' });
    const served = marks.covers(token, 'serve_cached');
    fail();
    expect([await served, stale]).toEqual([false, 1]);
    now += 1000;
    const tooOld = marks.covers(token, 'serve_cached');
    fail();
    await expect(tooOld).rejects.toMatchObject({ code: 'store_unavailable' });
    const damaged = marks.covers(token, 'serve_cached');
    store.asked.at(-1)?.fail(new Fault('internal', 'damaged'));
    await expect(damaged).rejects.toMatchObject({ code: 'internal' });
  });

  it('are written to the store again where it has lost them or knows less, unless they have ended', async () => {
    const marks = known();
    const wide = aMark({ subject: 'alice', issuedBefore: 2000 });
    const ended = aMark({ jti: 'ended', keepUntil: MARKED_AT + 1 });
    store.stored = [mark, wide, ended];
    await marks.reload();
    expect(store.put).toEqual([]);
    now += 10;
    store.stored = [{ ...wide, issuedBefore: 1000 }];
    await marks.reload();
    expect(store.put).toEqual([mark, wide]);
    expect(marks.knows(token)).toBe(true);
    store.put.length = 0;
    await marks.restore([ended.id, wide.id, 'mark:none', '4yKqUc9QzT1B']);
    expect(store.put).toEqual([wide]);
  });
});

describe('a replica and the revocations of tokens of others', () => {
  const bench = new RedisBench();
  const replicas: Replica[] = [];
  afterEach(async () => {
    for (const replica of replicas.splice(0)) await replica.close();
    await bench.clear();
  });

  /** `closed`: what it was told to close, with what was known at that moment. */
  async function join(store: Store, leaseMs: number) {
    const lease = new Lease(leaseMs);
    const clock = { now: () => Date.now(), monotonic: () => performance.now() };
    const observe = { cacheHit: () => undefined, cacheMiss: () => undefined, staleAnswer: () => undefined };
    const onStaleAnswer = (): void => undefined;
    const cache = { store, lease, leaseMs, clock, maxStaleMs: 0, onUnavailable: 'deny', answersAtOnce: false } as const;
    const reader = new CachedReader({ ...cache, observe });
    const marks = new KnownMarks({ store, lease, leaseMs, clock, reader, onStaleAnswer });
    const told: { readonly id: string; readonly known: boolean }[] = [];
    const flushed: boolean[] = [];
    const replica = new Replica({
      log: store,
      reader,
      marks,
      lease,
      leaseMs,
      clock,
      onChange: (id) => told.push({ id, known: marks.knows(aForeign()) }),
      onFlush: async () => {
        flushed.push(marks.knows(aForeign()));
      },
      onLease: () => undefined,
      onUncovered: () => undefined,
    });
    replicas.push(replica);
    await replica.start();
    return { replica, marks, told, flushed };
  }

  it('knows one before it closes anything for it, and before its revocation returns', async () => {
    const { url } = await bench.redis();
    const one = await join(await bench.open(url), 60_000);
    const two = await join(await bench.open(url), 60_000);
    // Only the first lease of a process waits for others.
    const mark = aMark({ subject: 'alice' });
    await one.marks.put(mark, MOST);
    expect(await one.replica.propagate([mark.id], 'revoked')).toMatchObject({ replicas: 2, acknowledged: 2 });
    // Of the mark itself, and of its announcement.
    expect(two.told.length).toBeGreaterThan(0);
    expect(two.told).toEqual(two.told.map(() => ({ id: mark.id, known: true })));
    expect(two.marks.covers(aForeign(), null)).toBe(true);
    expect(two.marks.covers(aForeign({ subject: 'bob' }), null)).toBe(false);
  }, 30_000);

  it('has all that were made before it holds its first lease', async () => {
    const { url } = await bench.redis();
    const near = await bench.open(url);
    await near.putMark(aMark({ jti: 'one' }), MOST);
    const late = await join(await bench.open(url), 60_000);
    expect(late.replica.status.valid).toBe(true);
    expect(late.flushed).toEqual([true]);
    expect(late.marks.covers(aForeign(), null)).toBe(true);
  }, 30_000);

  it('holds no lease while it cannot read them', async () => {
    const { url } = await bench.redis();
    const near = await bench.open(url);
    const mark = aMark({ jti: 'one' });
    await near.putMark(mark, MOST);
    await bench.client(url).hset('test:{log}:marks', mark.id, 'damaged');
    const late = await join(await bench.open(url), 60_000);
    expect(late.replica.status.valid).toBe(false);
  }, 30_000);

  it('gives others a mark that the store has lost before it announces it again', async () => {
    const { url } = await bench.redis();
    const leaseMs = 500;
    const near = await bench.open(url);
    // What this replica cannot hear of with a renewal.
    const held = Promise.withResolvers<never>();
    let holding = false;
    const store = Object.assign(Object.create(near), {
      renew: (...report: Parameters<Store['renew']>) => (holding ? held.promise : near.renew(...report)),
    }) as Store;
    for (const method of [
      'muster',
      'leave',
      'announce',
      'listen',
      'forget',
      'findMarks',
      'allMarks',
      'putMark',
    ] as const) {
      Object.assign(store, { [method]: near[method].bind(near) });
    }
    const one = await join(store, leaseMs);
    const mark = aMark({ jti: 'one' });
    holding = true;
    await one.marks.put(mark, MOST);
    // The revocation has announced it; the entry and the mark are gone before anybody else is there to see them.
    const announce = near.announce.bind(near);
    let two: Awaited<ReturnType<typeof join>> | null = null;
    Object.assign(store, {
      announce: async (...args: Parameters<Store['announce']>) => {
        const position = await announce(...args);
        if (two === null) {
          await bench.client(url).flushall();
          two = await join(await bench.open(url), leaseMs);
        }
        return position;
      },
    });
    await one.replica.propagate([mark.id], 'revoked');
    const covered = (): boolean => two?.marks.knows(aForeign()) === true;
    expect(covered()).toBe(true);
    expect(await near.findMarks([mark.id])).toEqual([mark]);
    held.reject(new Error('the test is over'));
  }, 30_000);

  it('gives a Redis that was emptied back what it knows, also in the middle of a revocation', async () => {
    const { url } = await bench.redis();
    const leaseMs = 500;
    const one = await join(await bench.open(url), leaseMs);
    const two = await join(await bench.open(url), leaseMs);
    const [first, second] = [aMark({ jti: 'one' }), aMark({ subject: 'bob' })];
    await one.marks.put(first, MOST);
    await one.replica.propagate([first.id], 'revoked');
    await one.marks.put(second, MOST);
    await bench.client(url).flushall();
    await one.replica.propagate([second.id], 'revoked');
    expect(two.marks.knows(aForeign({ jti: 'two', subject: 'bob' }))).toBe(true);
    const three = await join(await bench.open(url), leaseMs);
    expect([three.marks.knows(aForeign()), three.marks.knows(aForeign({ jti: 'two', subject: 'bob' }))]).toEqual([
      true,
      true,
    ]);
  }, 30_000);
});
