import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Fault } from '../../src/model/fault.ts';
import type { TokenRecord } from '../../src/model/token-record.ts';
import { CachedReader, type CachedReaderOptions } from '../../src/store/cached-reader.ts';
import { KnownMarks } from '../../src/store/known-marks.ts';
import { Lease } from '../../src/store/lease.ts';
import { Replica } from '../../src/store/replica.ts';
import type { Store } from '../../src/store/token-store.ts';
import { aToken, revoked } from '../contract/token-fixture.ts';
import { TcpRelay } from '../support/tcp-relay.ts';
import { RedisBench } from './redis-bench.ts';

const LEASE_MS = 1000;

/** A store whose answers wait until the test lets them go. */
class HeldStore {
  readonly asked: { readonly answer: (record: TokenRecord | null) => void; readonly fail: (error: Error) => void }[] =
    [];

  find(): Promise<TokenRecord | null> {
    return new Promise((answer, fail) => this.asked.push({ answer, fail }));
  }
}

describe('the reader that remembers', () => {
  const record = aToken();
  let now: number;
  let store: HeldStore;
  let lease: Lease;
  let counts: { hits: number; misses: number; stale: number };

  beforeEach(() => {
    now = 10_000;
    store = new HeldStore();
    lease = new Lease(LEASE_MS);
    counts = { hits: 0, misses: 0, stale: 0 };
  });

  function reader(options: Partial<CachedReaderOptions> = {}): CachedReader {
    return new CachedReader({
      store,
      lease,
      leaseMs: LEASE_MS,
      clock: { now: () => now, monotonic: () => now },
      observe: {
        cacheHit: () => {
          counts.hits += 1;
        },
        cacheMiss: () => {
          counts.misses += 1;
        },
        staleAnswer: () => {
          counts.stale += 1;
        },
      },
      answersAtOnce: false,
      onUnavailable: 'deny',
      maxStaleMs: 5000,
      ...options,
    });
  }

  const grant = (): void => lease.grant({ monotonic: now, wall: now });

  async function fill(cached: CachedReader): Promise<void> {
    const found = cached.find(record.id);
    store.asked.at(-1)?.answer(record);
    expect(await found).toEqual(record);
  }

  it('answers at once under a lease, and reads without one', async () => {
    const cached = reader();
    grant();
    await fill(cached);
    expect(cached.find(record.id)).toBe(record);
    expect(counts).toEqual({ hits: 1, misses: 1, stale: 0 });
    now += LEASE_MS;
    expect(cached.find(record.id)).toBeInstanceOf(Promise);
    expect(store.asked).toHaveLength(2);
  });

  it('reads again what changed while it was being read', async () => {
    const cached = reader();
    grant();
    const found = cached.find(record.id);
    cached.drop(record.id);
    store.asked[0]?.answer(record);
    await Promise.resolve();
    await new Promise((resolve) => setImmediate(resolve));
    store.asked[1]?.answer(revoked(record));
    expect(await found).toEqual(revoked(record));
    expect(cached.find(record.id)).toEqual(revoked(record));
  });

  it('does not believe an answer that took a lease to arrive, and gives up in the end', async () => {
    const cached = reader();
    const found = expect(cached.find(record.id)).rejects.toMatchObject({ code: 'store_unavailable' });
    for (let read = 0; read < 5; read += 1) {
      now += LEASE_MS;
      store.asked[read]?.answer(record);
      await new Promise((resolve) => setImmediate(resolve));
    }
    await found;
  });

  it('forgets all at a flush, remembers no absence, and reads again after ten seconds', async () => {
    const cached = reader();
    grant();
    await fill(cached);
    cached.flush();
    const absent = cached.find(record.id);
    store.asked.at(-1)?.answer(null);
    expect(await absent).toBeNull();
    await fill(cached);
    now += 10_000;
    grant();
    expect(cached.find(record.id)).toBeInstanceOf(Promise);
  });

  it('serves what it knew for max_stale after the lease where that is wanted, by store or by API', async () => {
    const lost = (): void => store.asked.at(-1)?.fail(new Fault('store_unavailable', 'gone'));
    const cached = reader();
    grant();
    await fill(cached);
    expect(cached.find(record.id)).toBe(record);
    now += 4000;
    const denied = cached.find(record.id);
    lost();
    await expect(denied).rejects.toMatchObject({ code: 'store_unavailable' });
    const stale = cached.find(record.id, 'serve_cached');
    lost();
    expect(await stale).toEqual(record);
    now += 1000;
    const tooOld = cached.find(record.id, 'serve_cached');
    lost();
    await expect(tooOld).rejects.toMatchObject({ code: 'store_unavailable' });
    const unknown = reader({ onUnavailable: 'serve_cached' }).find(record.id);
    lost();
    await expect(unknown).rejects.toMatchObject({ code: 'store_unavailable' });
    expect(counts.stale).toBe(1);
  });
});

describe('a replica and the store between which an answer is held', () => {
  const bench = new RedisBench();
  let replica: Replica | null = null;
  afterEach(async () => {
    await replica?.close();
    await bench.clear();
  });

  async function join(store: Store, leaseMs: number): Promise<CachedReader> {
    const lease = new Lease(leaseMs);
    const clock = { now: () => Date.now(), monotonic: () => performance.now() };
    const reader = new CachedReader({
      store,
      lease,
      leaseMs,
      clock,
      observe: { cacheHit: () => undefined, cacheMiss: () => undefined, staleAnswer: () => undefined },
      answersAtOnce: false,
      onUnavailable: 'deny',
      maxStaleMs: 0,
    });
    const marks = new KnownMarks({ store, lease, leaseMs, clock, reader, onStaleAnswer: () => undefined });
    replica = new Replica({
      log: store,
      reader,
      marks,
      lease,
      leaseMs,
      clock,
      onChange: () => 0,
      onFlush: async () => undefined,
      onLease: () => undefined,
      onUncovered: () => undefined,
    });
    await replica.start();
    return reader;
  }

  it('does not fill its memory with a first reading that a revocation has overtaken', async () => {
    const server = await bench.redis();
    const relay = await TcpRelay.start(server.port);
    const far = await bench.open(`redis://127.0.0.1:${relay.port}/0`, { commandTimeoutMs: 20_000 });
    const near = await bench.open(server.url);
    const record = aToken();
    await near.create(record);
    const leaseMs = 700;
    const reader = await join(far, leaseMs);
    const held = relay.holdFrom((bytes) => bytes.includes(record.digest));
    const found = reader.find(record.id);
    await held;
    await near.replace(1, revoked(record));
    const position = await near.announce(record.id, 'revoked');
    const asked = performance.now();
    // Whoever revokes waits for the replica for one lease.
    while (performance.now() - asked < leaseMs) await new Promise((resolve) => setTimeout(resolve, 10));
    expect((await near.muster([position])).replicas).toMatchObject([{ applied: expect.not.stringMatching(position) }]);
    relay.release();
    expect(await found).toEqual(revoked(record));
    expect(await reader.find(record.id)).toEqual(revoked(record));
    await relay.close();
  }, 20_000);

  it('applies what came into the log while the answer was held, before the answer counts', async () => {
    const server = await bench.redis();
    const relay = await TcpRelay.start(server.port);
    const reads = await bench.open(`redis://127.0.0.1:${relay.port}/0`, { commandTimeoutMs: 20_000 });
    const near = await bench.open(server.url);
    const record = aToken();
    await near.create(record);
    // Only the reading is held: the log reaches this replica all the time.
    const store = Object.assign(Object.create(near), { find: (id: string) => reads.find(id) }) as Store;
    for (const method of [
      'renew',
      'muster',
      'leave',
      'announce',
      'listen',
      'forget',
      'findMarks',
      'allMarks',
    ] as const) {
      Object.assign(store, { [method]: near[method].bind(near) });
    }
    const reader = await join(store, 60_000);
    const held = relay.holdFrom((bytes) => bytes.includes(record.digest));
    const found = reader.find(record.id);
    await held;
    await near.replace(1, revoked(record));
    expect(await replica?.propagate([record.id], 'revoked')).toMatchObject({ replicas: 1, acknowledged: 1 });
    relay.release();
    expect(await found).toEqual(revoked(record));
    expect(reader.find(record.id)).toEqual(revoked(record));
    await relay.close();
  }, 20_000);

  it('waits a lease where the registry does not know even this process: it has lost others too', async () => {
    const server = await bench.redis();
    const near = await bench.open(server.url);
    const record = aToken();
    await near.create(record);
    // The registry is looked at before the next renewal tells that it is another one.
    const held = Promise.withResolvers<never>();
    let holding = false;
    const store = Object.assign(Object.create(near), {
      renew: (...report: Parameters<Store['renew']>) => (holding ? held.promise : near.renew(...report)),
    }) as Store;
    for (const method of ['muster', 'leave', 'announce', 'listen', 'forget', 'findMarks', 'allMarks'] as const) {
      Object.assign(store, { [method]: near[method].bind(near) });
    }
    const leaseMs = 500;
    await join(store, leaseMs);
    holding = true;
    await bench.client(server.url).flushall();
    const { acknowledged, elapsed_ms } = (await replica?.propagate([record.id], 'revoked')) ?? {};
    expect(acknowledged).toBe(0);
    expect(elapsed_ms).toBeGreaterThanOrEqual(leaseMs);
    held.reject(new Error('the test is over'));
  }, 20_000);
});
