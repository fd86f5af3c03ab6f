import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { RevocationMark } from '../../src/model/revocation-mark.ts';
import type { MarkStore } from '../../src/store/mark-store.ts';
import { possibleMarkIds } from '../../src/store/revocation-marks.ts';
import type { Store } from '../../src/store/token-store.ts';
import { aForeign, aMark, MARKED_AT } from './mark-fixture.ts';
import { STORE_KINDS, type StoreData } from './store-harness.ts';

const MOST = 1000;
const NOTHING = new Map<string, number>();

describe.each(STORE_KINDS)('revocations of tokens of others in the $name store', (kind) => {
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

  const all = async (from: MarkStore): Promise<readonly RevocationMark[]> =>
    (await from.allMarks()).toSorted((a, b) => (a.id < b.id ? -1 : 1));
  const logged = async (applied: string): Promise<string[]> =>
    (await other.renew('one', { applied, closed: NOTHING })).entries.map((entry) => `${entry.kind} ${entry.id}`);

  it('are there for every instance, under their id and in the log, when the call has resolved', async () => {
    const { last } = await other.renew('one', { applied: null, closed: NOTHING });
    const marks = [aMark({ jti: 'one' }), aMark({ subject: 'alice', issuedBefore: 7, keepUntil: null, reason: null })];
    for (const mark of marks) expect(await store.putMark(mark, MOST)).toEqual({ mark, repeated: false });
    expect(await logged(last)).toEqual(marks.map(({ id }) => `revoked ${id}`));
    expect(await all(other)).toEqual(marks.toSorted((a, b) => (a.id < b.id ? -1 : 1)));
    expect(await other.findMarks(marks.map(({ id }) => id).concat('mark:none'))).toEqual(marks);
    expect(await other.findMarks([])).toEqual([]);
    const again = await data.open();
    expect(await again.findMarks([marks[0]?.id ?? ''])).toEqual([marks[0]]);
  });

  it('of the same tokens are one, which only grows, and is announced where it does', async () => {
    const { last } = await other.renew('one', { applied: null, closed: NOTHING });
    const first = aMark({ subject: 'alice', issuedBefore: 1000, keepUntil: 5000 + MARKED_AT });
    const wider = { ...first, issuedBefore: 2000, revokedAt: MARKED_AT + 1, revokedBy: 'another' };
    const shorter = { ...first, keepUntil: MARKED_AT, revokedBy: 'nobody' };
    await store.putMark(first, MOST);
    expect(await other.putMark(shorter, MOST)).toEqual({ mark: first, repeated: true });
    expect(await other.putMark(wider, MOST)).toEqual({ mark: wider, repeated: false });
    expect(await store.putMark(first, MOST)).toEqual({ mark: wider, repeated: true });
    expect(await store.putMark({ ...first, keepUntil: null }, MOST)).toEqual({
      mark: { ...wider, keepUntil: null },
      repeated: true,
    });
    expect(await store.putMark({ ...first, issuedBefore: null }, MOST)).toMatchObject({
      mark: { issuedBefore: null, keepUntil: null },
      repeated: false,
    });
    expect(await logged(last)).toEqual(Array(4).fill(`revoked ${first.id}`));
    expect(await all(store)).toHaveLength(1);
  });

  it('stand in the log where the call that changed them says, and are announced anew when they are repeated', async () => {
    const mark = aMark({ jti: 'one' });
    await store.putMark(mark, MOST);
    const position = await store.announce(mark.id, 'revoked');
    await store.putMark(mark, MOST);
    const again = await store.announce(mark.id, 'revoked');
    expect(again).not.toBe(position);
    expect((await store.muster([position, again])).missing).toEqual([]);
  });

  it('are all there when many come at once, and each of those that are the same has grown as far as any', async () => {
    const bounds = Array.from({ length: 40 }, (_, index) => index * 10);
    await Promise.all([
      ...bounds.map((issuedBefore, index) =>
        (index % 2 === 0 ? store : other).putMark(aMark({ subject: 'alice', issuedBefore }), MOST),
      ),
      ...bounds.map((_, index) => (index % 2 === 0 ? store : other).putMark(aMark({ jti: `j${index}` }), MOST)),
    ]);
    expect(await all(store)).toHaveLength(41);
    const [alice] = await other.findMarks([aMark({ subject: 'alice' }).id]);
    expect(alice?.issuedBefore).toBe(390);
  });

  it('are no more than the caller allows, but for those that stand already; what has ended makes room', async () => {
    const ended = (jti: string): RevocationMark => aMark({ jti, keepUntil: 1_700_000_000_000 });
    const kept = [aMark({ jti: 'kept' }), aMark({ jti: 'for good', keepUntil: null })];
    for (const mark of [...kept, ended('one'), ended('two')]) await store.putMark(mark, MOST);
    await store.putMark(aMark({ jti: 'new' }), 3);
    expect((await all(other)).map(({ jti }) => jti).toSorted()).toEqual(['for good', 'kept', 'new']);
    const { last } = await other.renew('one', { applied: null, closed: NOTHING });
    expect(await store.putMark(aMark({ jti: 'one too many' }), 3)).toBeNull();
    expect(await logged(last)).toEqual([]);
    expect(await store.putMark({ ...aMark({ jti: 'kept' }), keepUntil: null }, 1)).toMatchObject({ repeated: true });
    expect(await all(store)).toHaveLength(3);
  });

  it('stay for a day after they have ended, unless there is no room: the clock may jump ahead and back', async () => {
    const hour = 3_600_000;
    const before = (hours: number): RevocationMark => {
      return aMark({ jti: `${hours}`, keepUntil: Date.now() - hours * hour });
    };
    for (const hours of [30, 20, 1]) await store.putMark(before(hours), MOST);
    await store.putMark(aMark({ jti: 'new' }), MOST);
    const left = async () => (await all(other)).map(({ jti }) => jti).toSorted();
    expect(await left()).toEqual(['1', '20', 'new']);
    expect(await store.putMark(aMark({ jti: 'newer' }), 3)).not.toBeNull();
    expect(await left()).toEqual(['new', 'newer']);
  });

  it('are found by the ids that could cover a token', async () => {
    const { issuer, jti, subject } = aForeign().foreign ?? { issuer: null, jti: null, subject: null };
    const covering = [
      aMark({ tokenId: 'jwt:one' }),
      ...[null, jti].flatMap((j) =>
        [null, subject].flatMap((s) =>
          [null, issuer].map((i) => aMark({ jti: j, subject: s, issuer: i, issuedBefore: 1 })),
        ),
      ),
    ];
    const strange = [aMark({ jti: 'two' }), aMark({ jti: 'one', subject: 'bob' }), aMark({ tokenId: 'jwt:two' })];
    for (const mark of [...covering, ...strange]) await store.putMark(mark, MOST);
    const found = await other.findMarks(possibleMarkIds(aForeign()));
    expect(found.map(({ id }) => id).toSorted()).toEqual(covering.map(({ id }) => id).toSorted());
    expect(possibleMarkIds(aForeign({ issuer: null, jti: null, subject: null }))).toHaveLength(2);
  });

  it('that are damaged are a fault, never nothing', async () => {
    const mark = aMark({ jti: 'one' });
    await store.putMark(mark, MOST);
    for (const text of ['', '{', 'null', JSON.stringify({ ...mark, jti: 'two' }), JSON.stringify({ id: mark.id })]) {
      await data.damageMark(mark.id, text);
      // One store answers at once, the other later.
      await expect((async () => store.findMarks([mark.id]))()).rejects.toMatchObject({ code: 'internal' });
      await expect(store.allMarks()).rejects.toMatchObject({ code: 'internal' });
    }
  });

  it('survive members of a later release', async () => {
    const mark = aMark({ jti: 'one', issuedBefore: 5 });
    await store.putMark(mark, MOST);
    await data.damageMark(mark.id, JSON.stringify({ ...mark, later: 1 }));
    expect(await store.putMark({ ...mark, issuedBefore: 6 }, MOST)).toMatchObject({ repeated: false });
  });
});
