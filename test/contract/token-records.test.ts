import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { TokenRecord } from '../../src/model/token-record.ts';
import type { Store, StoredToken } from '../../src/store/token-store.ts';
import { STORE_KINDS, type StoreData } from './store-harness.ts';
import { aToken, DAY, NOW, revoked, rotated } from './token-fixture.ts';

const NEVER_USED = { last_used_at: null, last_used_ip: null, use_count: 0 };

async function loaded(store: Store, id: string): Promise<StoredToken> {
  const token = await store.load(id);
  if (token === null) throw new Error(`token ${id} is not there`);
  return token;
}

/** What `revoked` reads as for a reader that decides about access. */
async function revokedAt(store: Store, id: string): Promise<number | null | undefined> {
  return (await store.find(id))?.revoked_at;
}

describe.each(STORE_KINDS)('token records in the $name store', (kind) => {
  let started: Awaited<ReturnType<typeof kind.start>>;
  let data: StoreData;
  let store: Store;

  beforeAll(async () => {
    started = await kind.start();
  });
  afterAll(() => started.stop());
  beforeEach(async () => {
    data = await started.fresh();
    store = await data.open();
  });
  afterEach(() => data.remove());

  it('says what it is, and answers a ping', async () => {
    expect(store.kind).toBe(kind.name);
    await expect(store.ping()).resolves.toBeUndefined();
  });

  it('gives back exactly what was created', async () => {
    const record = aToken({ name: 'Ünïcode "quoted" \n 🔑', subject: null, not_before: NOW - 5 });
    expect(await store.create(record)).toBe(true);
    expect(await store.find(record.id)).toEqual(record);
    expect(await store.load(record.id)).toEqual({ record, usage: NEVER_USED, version: 1 });
  });

  it('knows nothing of an id that was never created', async () => {
    expect(await store.find('nobodyknows1')).toBeNull();
    expect(await store.load('nobodyknows1')).toBeNull();
    expect(await store.replace(1, aToken())).toBe(false);
  });

  it('does not create an id twice, and keeps the first record and its place in the list', async () => {
    const first = aToken();
    const second = { ...aToken({ id: first.id }), owner: 'thief', created_at: NOW + 1 };
    expect(await store.create(first)).toBe(true);
    expect(await store.create(second)).toBe(false);
    expect(await store.find(first.id)).toEqual(first);
    const page = await store.list({}, { limit: 10, cursor: null, now: NOW });
    expect(page.tokens.map(({ record }) => record)).toEqual([first]);
  });

  it('lets exactly one of many concurrent creators of an id win', async () => {
    const other = await data.open();
    const id = aToken().id;
    const records = Array.from({ length: 10 }, (_, index) => aToken({ id, owner: `owner-${index}` }));
    const outcomes = await Promise.all(records.map((record, index) => (index % 2 ? other : store).create(record)));
    expect(outcomes.filter((won) => won)).toHaveLength(1);
    const winner = records[outcomes.indexOf(true)];
    expect(await store.find(id)).toEqual(winner);
    expect((await other.list({}, { limit: 10, cursor: null, now: NOW })).tokens).toHaveLength(1);
  });

  it('replaces the version that was read, and no other', async () => {
    const record = aToken();
    await store.create(record);
    const renamed = { ...record, name: 'renamed', owner: 'team-b', expires_at: NOW + DAY };
    expect(await store.replace(2, renamed)).toBe(false);
    expect(await store.replace(1, renamed)).toBe(true);
    expect(await loaded(store, record.id)).toEqual({ record: renamed, usage: NEVER_USED, version: 2 });
    expect(await store.replace(1, { ...renamed, name: 'late' })).toBe(false);
    expect(await store.replace(2, { ...renamed, name: 'again' })).toBe(true);
    expect((await loaded(store, record.id)).version).toBe(3);
  });

  it('lets exactly one of two writers of a version win, in each of many rounds', async () => {
    const other = await data.open();
    const record = aToken();
    await store.create(record);
    for (let version = 1; version <= 25; version += 1) {
      const outcomes = await Promise.all([
        store.replace(version, { ...record, name: `a${version}` }),
        other.replace(version, { ...record, name: `b${version}` }),
      ]);
      expect(outcomes.toSorted()).toEqual([false, true]);
      const stands = await loaded(other, record.id);
      expect(stands.version).toBe(version + 1);
      expect(stands.record.name).toBe(`${outcomes[0] ? 'a' : 'b'}${version}`);
    }
  });

  it('never lifts a revocation', async () => {
    const record = aToken();
    await store.create(record);
    expect(await store.replace(1, revoked(record))).toBe(true);
    expect(await store.replace(2, record)).toBe(false);
    expect(await store.replace(2, { ...record, expires_at: NOW + 90 * DAY })).toBe(false);
    expect(await revokedAt(store, record.id)).toBe(NOW + 1);
    expect((await loaded(store, record.id)).version).toBe(2);
    // What leaves it revoked may still change, for example its owner.
    expect(await store.replace(2, { ...revoked(record), owner: 'team-b' })).toBe(true);
    expect(await revokedAt(store, record.id)).toBe(NOW + 1);
  });

  it('never lifts a revocation by withdrawing and creating again, nor by a record that is born revoked', async () => {
    const record = aToken();
    await store.create(revoked(record));
    await store.withdraw(record.id);
    expect(await store.create(record)).toBe(false);
    expect(await store.replace(1, record)).toBe(false);
    expect(await revokedAt(store, record.id)).toBe(NOW + 1);
  });

  it('withdraws a record as if it had never been', async () => {
    const record = aToken();
    await store.create(record);
    await store.recordUses([{ id: record.id, at: NOW, ip: '10.0.0.1', count: 3, generation: 1 }]);
    await store.withdraw(record.id);
    await store.withdraw(record.id);
    expect(await store.find(record.id)).toBeNull();
    expect((await store.list({}, { limit: 10, cursor: null, now: NOW })).tokens).toEqual([]);
    expect(await store.create(record)).toBe(true);
    expect(await loaded(store, record.id)).toEqual({ record, usage: NEVER_USED, version: 1 });
  });

  it('adds uses up, keeps the newest, and leaves the version alone', async () => {
    const record = aToken();
    await store.create(record);
    await store.recordUses([
      { id: record.id, at: NOW + 10, ip: '10.0.0.1', count: 2, generation: 1 },
      { id: 'nobodyknows1', at: NOW + 10, ip: '10.0.0.9', count: 5, generation: 1 },
    ]);
    await store.recordUses([{ id: record.id, at: NOW + 5, ip: '10.0.0.2', count: 1, generation: 1 }]);
    const usage = { last_used_at: NOW + 10, last_used_ip: '10.0.0.1', use_count: 3 };
    expect(await loaded(store, record.id)).toEqual({ record, usage, version: 1 });
    await store.recordUses([{ id: record.id, at: NOW + 20, ip: '2001:db8::1', count: 4, generation: 1 }]);
    const after = { last_used_at: NOW + 20, last_used_ip: '2001:db8::1', use_count: 7 };
    expect((await loaded(store, record.id)).usage).toEqual(after);
    expect(await store.load('nobodyknows1')).toBeNull();
  });

  it('takes the uses of many tokens at once', async () => {
    const records = Array.from({ length: 700 }, () => aToken());
    await Promise.all(records.map((record) => store.create(record)));
    await store.recordUses(records.map(({ id }, index) => ({ id, at: NOW, ip: '::1', count: index, generation: 1 })));
    const last = records.at(-1);
    expect((await loaded(store, last?.id ?? '')).usage.use_count).toBe(699);
    await expect(store.recordUses([])).resolves.toBeUndefined();
  });

  it('shows on a superseded generation when and from where it was last used', async () => {
    const first = aToken();
    await store.create(first);
    await store.recordUses([{ id: first.id, at: NOW + 1, ip: '10.0.0.1', count: 1, generation: 1 }]);
    const second = rotated(first, NOW + DAY);
    expect(await store.replace(1, second)).toBe(true);
    await store.recordUses([
      { id: first.id, at: NOW + 9, ip: '10.0.0.2', count: 1, generation: 2 },
      { id: first.id, at: NOW + 5, ip: '10.0.0.3', count: 1, generation: 1 },
    ]);
    const { record, usage } = await loaded(store, first.id);
    expect(record.superseded).toEqual([{ ...second.superseded[0], last_used_at: NOW + 5, last_used_ip: '10.0.0.3' }]);
    expect(usage).toEqual({ last_used_at: NOW + 9, last_used_ip: '10.0.0.2', use_count: 3 });
    const page = await store.list({}, { limit: 1, cursor: null, now: NOW });
    expect(page.tokens).toEqual([{ record, usage, newestUsedAt: NOW + 9, version: 2 }]);
  });

  it('shows what one instance writes to another at once', async () => {
    const other = await data.open();
    const record = aToken();
    expect(await other.find(record.id)).toBeNull();
    await store.create(record);
    expect(await other.find(record.id)).toEqual(record);
    await other.replace(1, revoked(record));
    expect(await store.find(record.id)).toEqual(revoked(record));
  });

  it('loses nothing when it is closed and opened again', async () => {
    const record = aToken();
    await store.create(record);
    await store.recordUses([{ id: record.id, at: NOW, ip: '10.0.0.1', count: 2, generation: 1 }]);
    await store.replace(1, revoked(record));
    await store.close();
    await store.close();
    const reopened = await data.open();
    const usage = { last_used_at: NOW, last_used_ip: '10.0.0.1', use_count: 2 };
    expect(await loaded(reopened, record.id)).toEqual({ record: revoked(record), usage, version: 2 });
    await expect(store.ping()).rejects.toMatchObject({ code: 'store_unavailable' });
    await expect(async () => store.find(record.id)).rejects.toMatchObject({ code: 'store_unavailable' });
  });

  it.each([
    ['text that is cut off', (text: string) => text.slice(0, -10)],
    ['an empty text', () => ''],
    ['another JSON value', () => '[]'],
    ['a record without its end', (text: string) => JSON.stringify({ ...JSON.parse(text), expires_at: undefined })],
    ['an end that is not a time', (text: string) => JSON.stringify({ ...JSON.parse(text), expires_at: 'never' })],
    ['a revocation that is not a time', (text: string) => JSON.stringify({ ...JSON.parse(text), revoked_at: false })],
    ['the record of another token', () => JSON.stringify(aToken())],
  ])('calls a damaged record a fault, never unknown and never valid: %s', async (_, damage) => {
    const record = aToken();
    await store.create(record);
    expect(await store.find(record.id)).toEqual(record);
    await data.damage(record.id, damage(JSON.stringify(record)));
    const fault = { name: 'Fault', code: 'internal', message: expect.stringContaining(record.id) };
    await expect(async () => store.find(record.id)).rejects.toMatchObject(fault);
    await expect(store.load(record.id)).rejects.toMatchObject(fault);
    await expect(store.list({}, { limit: 5, cursor: null, now: NOW })).rejects.toMatchObject(fault);
  });

  it('refuses to store what it could not read back', async () => {
    const record: TokenRecord = { ...aToken(), expires_at: Number.NaN };
    await expect(store.create(record)).rejects.toMatchObject({ name: 'Fault', code: 'internal' });
    expect(await store.find(record.id)).toBeNull();
  });

  it('tells the observer of each operation, with seconds', async () => {
    const seen: [string, number][] = [];
    const observed = await data.open((operation, seconds) => seen.push([operation, seconds]));
    await observed.create(aToken());
    await observed.find('nobodyknows1');
    await observed.list({}, { limit: 1, cursor: null, now: NOW });
    expect(seen.map(([operation]) => operation)).toEqual(['create', 'find', 'list']);
    expect(seen.every(([, seconds]) => seconds >= 0 && seconds < 10)).toBe(true);
  });
});
