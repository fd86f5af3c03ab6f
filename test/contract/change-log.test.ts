import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { LOG_ENTRIES, logNumber, RENEWAL_ENTRIES } from '../../src/store/change-log.ts';
import type { Store } from '../../src/store/token-store.ts';
import { STORE_KINDS, type StoreData } from './store-harness.ts';
import { aToken, revoked } from './token-fixture.ts';

const NOTHING = new Map<string, number>();

describe.each(STORE_KINDS)('the log of changes in the $name store', (kind) => {
  let started: Awaited<ReturnType<typeof kind.start>>;
  let data: StoreData;
  let store: Store;
  let other: Store;

  beforeAll(async () => {
    started = await kind.start();
  });
  afterAll(() => started.stop());
  beforeEach(async () => {
    data = await started.fresh();
    store = await data.open();
    other = await data.open();
  });
  afterEach(() => data.remove());

  const begin = async (replica = 'one'): Promise<string> =>
    (await other.renew(replica, { applied: null, closed: NOTHING })).last;

  it('tells a replica of every change of a record since the position it has applied, whoever made it', async () => {
    const applied = await begin();
    const [first, second] = [aToken(), aToken()];
    await store.create(first);
    await store.create(second);
    await store.replace(1, { ...first, name: 'another' });
    expect(await store.replace(1, first)).toBe(false);
    await store.replace(2, revoked(first));
    await other.withdraw(second.id);
    const { entries, last, broken, replicas } = await other.renew('one', { applied, closed: NOTHING });
    expect(entries.map((entry) => [entry.kind, entry.id])).toEqual([
      ['changed', first.id],
      ['revoked', first.id],
      ['revoked', second.id],
    ]);
    expect({ broken, replicas }).toEqual({ broken: false, replicas: 1 });
    expect(last).toBe(entries.at(-1)?.position);
    const numbers = [applied, ...entries.map(({ position }) => position)].map(logNumber);
    expect(numbers).toEqual(numbers.map((_, index) => (numbers[0] ?? 0) + index));
    expect(await other.renew('one', { applied: last, closed: NOTHING })).toMatchObject({ entries: [], last });
  });

  it('announces the change that was made here once, and appends another entry when asked again', async () => {
    const applied = await begin();
    const record = aToken();
    await store.create(record);
    await store.replace(1, revoked(record));
    const position = await store.announce(record.id, 'revoked');
    const again = await store.announce(record.id, 'revoked');
    const { entries } = await other.renew('one', { applied, closed: NOTHING });
    expect(entries.map((entry) => entry.position)).toEqual([position, again]);
  });

  it('brings a bounded number of entries at a time', async () => {
    let applied = await begin();
    await data.fillLog(logNumber(applied) + RENEWAL_ENTRIES + 3);
    const first = await other.renew('one', { applied, closed: NOTHING });
    expect(first.entries).toHaveLength(RENEWAL_ENTRIES);
    applied = first.entries.at(-1)?.position ?? '';
    expect(applied).not.toBe(first.last);
    expect((await other.renew('one', { applied, closed: NOTHING })).entries).toHaveLength(3);
  });

  it('knows who follows it, how far, and what they closed; and forgets only who has not renewed since', async () => {
    const applied = await begin('one');
    await begin('two');
    const position = await store.announce('token', 'revoked');
    await other.renew('one', { applied: position, closed: new Map([[position, 3]]) });
    const muster = await store.muster([position]);
    expect(muster).toEqual({
      missing: [],
      replicas: [
        { id: 'one', renewals: 2, applied: position, closed: new Map([[position, 3]]) },
        { id: 'two', renewals: 1, applied: null, closed: NOTHING },
      ],
    });
    await other.renew('two', { applied, closed: NOTHING });
    expect(await store.forget('two', 1)).toBe(false);
    expect(await store.forget('two', 2)).toBe(true);
    await other.leave('one');
    expect((await store.muster([position])).replicas).toEqual([]);
    expect((await other.renew('two', { applied: position, closed: NOTHING })).replicas).toBe(1);
  });

  it('is broken for a position that is of another history, lies ahead, or was trimmed', async () => {
    const applied = await begin();
    const last = await store.announce('token', 'changed');
    const elsewhere = `${logNumber(last)}-${Number(last.split('-')[1]) + 1}`;
    for (const strange of [elsewhere, '999999-1', `${logNumber(applied)}-7`]) {
      expect(await other.renew('one', { applied: strange, closed: NOTHING })).toMatchObject({
        broken: true,
        entries: [],
        last,
      });
      expect((await store.muster([last, strange])).missing).toEqual([strange]);
    }
    await data.fillLog(LOG_ENTRIES + 1999);
    expect(await other.renew('one', { applied, closed: NOTHING })).toMatchObject({ broken: false });
    await store.announce('token', 'changed');
    expect(await other.renew('one', { applied, closed: NOTHING })).toMatchObject({ broken: true, entries: [] });
  });

  it('counts what a replica has applied before it was told as far as the log agrees', async () => {
    const applied = await begin();
    const record = aToken();
    await store.create(record);
    await store.replace(1, { ...record, name: 'another' });
    await store.replace(2, revoked(record));
    const [first, second] = (await other.renew('one', { applied, closed: NOTHING })).entries;
    if (first === undefined || second === undefined) throw new Error('the log has lost entries');
    // A store whose renewals cost next to nothing may tell of them all the same.
    const reach = async (...ahead: (typeof first)[]): Promise<string[]> => {
      const { reached, entries, last } = await other.renew('one', { applied, ahead, closed: NOTHING });
      const [told] = (await store.muster([last])).replicas;
      expect({ reached, last }).toEqual({ reached: told?.applied, last: second.position });
      return [...(reached === applied ? [] : [reached ?? '']), ...entries.map(({ position }) => position)];
    };
    const both = [first.position, second.position];
    const counts = store.kind === 'redis';
    expect(await reach(first, second)).toEqual(counts ? [second.position] : both);
    expect(await reach(first)).toEqual(both);
    expect(await reach(second)).toEqual(both);
    expect(await reach({ ...first, id: 'strange' }, second)).toEqual(both);
    expect(await reach(first, { ...second, kind: 'changed' })).toEqual(both);
    expect(await reach(first, { ...second, position: `${logNumber(second.position)}-7` })).toEqual(both);
  });

  it('gives hints of what another instance appends, and of when everybody has reported it', async () => {
    const applied = await begin('one');
    await begin('two');
    const appended = Promise.withResolvers<void>();
    const reported = Promise.withResolvers<void>();
    let announcing = false;
    let position = '';
    let entry: unknown = null;
    const stop = other.listen({
      appended: (told) => {
        entry = told;
        // The first word may come before anything was appended: that there may be news.
        if (announcing) appended.resolve();
      },
      reported: (number) => {
        if (position !== '' && number >= logNumber(position)) reported.resolve();
      },
    });
    // Watching begins with the renewal that finds somebody else.
    await other.renew('two', { applied: null, closed: NOTHING });
    announcing = true;
    position = await store.announce('token', 'changed');
    await appended.promise;
    if (entry !== null) expect(entry).toEqual({ position, kind: 'changed', id: 'token' });
    await store.renew('one', { applied, closed: NOTHING });
    await store.renew('one', { applied: position, closed: NOTHING });
    await store.renew('two', { applied: position, closed: NOTHING });
    await reported.promise;
    await stop();
  });
});
