import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { statusAt, TOKEN_STATUSES, type TokenRecord } from '../../src/model/token-record.ts';
import { InvalidCursor, type Store, type TokenFilter } from '../../src/store/token-store.ts';
import { STORE_KINDS, type StoreData } from './store-harness.ts';
import { aToken, DAY, NOW, revoked, rotated } from './token-fixture.ts';

/** Every token of the list, page by page; a page may be short and still have a next one. */
async function all(store: Store, filter: TokenFilter, limit: number, now: number): Promise<TokenRecord[]> {
  const records: TokenRecord[] = [];
  let cursor: string | null = null;
  do {
    const page = await store.list(filter, { limit, cursor, now });
    expect(page.tokens.length).toBeLessThanOrEqual(limit);
    records.push(...page.tokens.map(({ record }) => record));
    cursor = page.cursor;
  } while (cursor !== null);
  return records;
}

const ids = (records: readonly TokenRecord[]): string[] => records.map(({ id }) => id);

const newestFirst = (records: readonly TokenRecord[]): TokenRecord[] =>
  records.toSorted((a, b) => b.created_at - a.created_at || (a.id < b.id ? 1 : -1));

describe.each(STORE_KINDS)('lists and counts of the $name store', (kind) => {
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

  async function create(records: readonly TokenRecord[]): Promise<void> {
    for (const record of records) expect(await store.create(record)).toBe(true);
  }

  it('is empty before anything was created', async () => {
    expect(await store.list({}, { limit: 10, cursor: null, now: NOW })).toEqual({ tokens: [], cursor: null });
    expect(await store.count(NOW, [DAY])).toEqual({ byClass: [], expiring: [] });
  });

  it('pages from the newest to the oldest, tokens of one moment included', async () => {
    const records = Array.from({ length: 23 }, (_, index) => aToken({ created_at: NOW + Math.floor(index / 4) }));
    await create(records);
    for (const limit of [1, 4, 22, 23, 24, 1000]) {
      expect(ids(await all(store, {}, limit, NOW))).toEqual(ids(newestFirst(records)));
    }
  });

  it('gives no cursor with the last page, even when it is full', async () => {
    await create([aToken(), aToken()]);
    expect((await store.list({}, { limit: 2, cursor: null, now: NOW })).cursor).toBeNull();
    expect((await store.list({}, { limit: 1, cursor: null, now: NOW })).cursor).not.toBeNull();
  });

  it('goes on where it stopped while others create and withdraw', async () => {
    const records = newestFirst(Array.from({ length: 6 }, (_, index) => aToken({ created_at: NOW + index })));
    await create(records);
    const first = await store.list({}, { limit: 3, cursor: null, now: NOW });
    await create([aToken({ created_at: NOW + 100 })]);
    await store.withdraw(records[2]?.id ?? '');
    const second = await store.list({}, { limit: 10, cursor: first.cursor, now: NOW });
    expect(ids(second.tokens.map(({ record }) => record))).toEqual(ids(records.slice(3)));
  });

  it('keeps a replaced record in its place', async () => {
    const [a, b] = [aToken({ created_at: NOW + 1 }), aToken({ created_at: NOW })];
    await create([a, b]);
    expect(await store.replace(1, { ...b, name: 'changed' })).toBe(true);
    expect(ids(await all(store, {}, 10, NOW))).toEqual([a.id, b.id]);
  });

  it('filters by owner, class, subject, status and end, alone and together', async () => {
    const records = newestFirst([
      aToken({ owner: 'ann', class: 'ci', subject: 'build' }),
      aToken({ owner: 'ann', class: 'service', subject: null, expires_at: NOW + 1 }),
      aToken({ owner: 'bob', class: 'ci', subject: 'build', expires_at: NOW }),
      revoked(aToken({ owner: 'bob', class: 'service' })),
      rotated(aToken({ owner: 'bob', class: 'ci' }), NOW + 1),
      rotated(aToken({ owner: "o'hara", class: 'ci' }), NOW),
    ]);
    await create(records);
    const filters: TokenFilter[] = [
      { owner: 'ann' },
      { owner: "o'hara" },
      { owner: 'nobody' },
      { class: 'ci' },
      { subject: 'build' },
      { expiresBefore: NOW + 1 },
      { expiresBefore: NOW + 2 },
      ...TOKEN_STATUSES.map((status) => ({ status })),
      { owner: 'bob', class: 'ci', status: 'rotating' },
      { owner: 'bob', subject: 'build', status: 'expired', expiresBefore: NOW + 1 },
    ];
    for (const filter of filters) {
      const wanted = records.filter(
        (record) =>
          (filter.owner ?? record.owner) === record.owner &&
          (filter.class ?? record.class) === record.class &&
          (filter.subject ?? record.subject) === record.subject &&
          record.expires_at < (filter.expiresBefore ?? Number.POSITIVE_INFINITY) &&
          (filter.status ?? statusAt(record, NOW)) === statusAt(record, NOW),
      );
      expect(ids(await all(store, filter, 2, NOW)), JSON.stringify(filter)).toEqual(ids(wanted));
    }
  });

  it('agrees with statusAt about any record at any moment, in lists and in counts', async () => {
    const time = fc.integer({ min: NOW - 3, max: NOW + 3 });
    const token = fc
      .record({
        class: fc.constantFrom('ci', 'service', '__proto__'),
        created_at: time,
        expires_at: time,
        grace_until: fc.option(time),
        revoked_at: fc.option(time, { freq: 2 }),
      })
      .map((changes) => aToken(changes));
    const property = fc.asyncProperty(
      fc.array(token, { maxLength: 12 }),
      time,
      fc.integer({ min: 1, max: 5 }),
      async (records, now, limit) => {
        const fresh = await started.fresh();
        try {
          const other = await fresh.open();
          for (const record of records) await other.create(record);
          for (const status of TOKEN_STATUSES) {
            const wanted = newestFirst(records).filter((record) => statusAt(record, now) === status);
            expect(ids(await all(other, { status }, limit, now))).toEqual(ids(wanted));
          }
          const { byClass, expiring } = await other.count(now, [0, 2]);
          for (const { class: name, status, count } of byClass) {
            expect(count).toBe(records.filter((r) => r.class === name && statusAt(r, now) === status).length);
          }
          expect(byClass.reduce((sum, { count }) => sum + count, 0)).toBe(records.length);
          for (const { class: name, withinMs, count } of expiring) {
            const live = records.filter((r) => r.class === name && ['active', 'rotating'].includes(statusAt(r, now)));
            expect(count).toBe(live.filter((r) => r.expires_at <= now + withinMs).length);
          }
        } finally {
          await fresh.remove();
        }
      },
    );
    await fc.assert(property, { numRuns: 15 });
  });

  it('counts by class, status and nearness of the end', async () => {
    await create([
      aToken({ class: 'ci', expires_at: NOW + DAY }),
      aToken({ class: 'ci', expires_at: NOW + DAY + 1 }),
      aToken({ class: 'ci', expires_at: NOW - 1 }),
      revoked(aToken({ class: 'ci', expires_at: NOW + DAY })),
      rotated(aToken({ class: 'service', expires_at: NOW + 5 * DAY }), NOW + 1),
    ]);
    expect(await store.count(NOW, [DAY, 7 * DAY])).toEqual({
      byClass: [
        { class: 'ci', status: 'active', count: 2 },
        { class: 'ci', status: 'revoked', count: 1 },
        { class: 'ci', status: 'expired', count: 1 },
        { class: 'service', status: 'rotating', count: 1 },
      ],
      expiring: [
        { class: 'ci', withinMs: DAY, count: 1 },
        { class: 'ci', withinMs: 7 * DAY, count: 2 },
        { class: 'service', withinMs: DAY, count: 0 },
        { class: 'service', withinMs: 7 * DAY, count: 1 },
      ],
    });
  });

  it('lists more than one batch and never more than a page', async () => {
    const records = Array.from({ length: 450 }, (_, index) => aToken({ created_at: NOW + index }));
    await Promise.all(records.map((record) => store.create(record)));
    expect(ids(await all(store, {}, 400, NOW))).toEqual(ids(newestFirst(records)));
    expect(ids(await all(store, { owner: 'team-a' }, 1_000_000, NOW))).toEqual(ids(newestFirst(records)));
    expect((await store.count(NOW, [])).byClass).toEqual([{ class: 'service', status: 'active', count: 450 }]);
  });

  it('refuses a cursor that it did not make', async () => {
    await create([aToken(), aToken()]);
    const { cursor } = await store.list({}, { limit: 1, cursor: null, now: NOW });
    const real = cursor ?? '';
    const body = Buffer.from(real, 'base64url').toString();
    const made = [
      '',
      'x',
      'null',
      real.slice(0, -1),
      `${real}A`,
      `${real}=`,
      Buffer.from(body.replace(String(NOW), String(NOW + 1))).toString('base64url'),
      Buffer.from('[0,"a"]').toString('base64url'),
      '\u{1f511}',
    ];
    for (const forged of made) {
      const listing = store.list({}, { limit: 1, cursor: forged, now: NOW });
      await expect(listing, forged).rejects.toBeInstanceOf(InvalidCursor);
    }
    await expect(store.list({}, { limit: 1, cursor: real, now: NOW })).resolves.toMatchObject({ cursor: null });
  });
});
