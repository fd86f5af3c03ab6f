import { afterEach, beforeEach, expect, it } from 'vitest';
import { Fault } from '../../src/model/fault.ts';
import { type Answer, type Harness, startAdmin } from './harness.ts';

const BODY = { name: 'n', owner: 'o', class: 'service', scopes: ['orders:read'], claims: { a: 1, b: 2 } };

let admin: Harness;
let auditFails = false;
beforeEach(async () => {
  auditFails = false;
  admin = await startAdmin((options) => ({
    ...options,
    lifecycle: {
      ...options.lifecycle,
      audit: {
        record: (event) => options.audit.record(event),
        recordDurably: (event) =>
          auditFails ? Promise.reject(new Fault('audit_unavailable', 'disk full')) : options.audit.recordDurably(event),
      },
    },
  }));
});
afterEach(() => admin.close());

const issue = (key: string, json: unknown = BODY, token?: string): Promise<Answer> =>
  admin.call('POST', '/v1/tokens', { json, token, headers: { 'idempotency-key': key } });
const count = async (): Promise<number> =>
  (await admin.call('GET', '/v1/tokens?limit=1000&owner=o')).json.tokens.length;

it('a repeat gets the same record without the token, and makes no second one', async () => {
  const first = await issue('k1');
  expect(first.status).toBe(201);
  expect(first.headers.get('idempotent-replay')).toBeNull();
  const reordered = { claims: { b: 2, a: 1 }, scopes: ['orders:read'], class: 'service', owner: 'o', name: 'n' };
  for (const body of [BODY, reordered]) {
    const repeat = await issue('k1', body);
    expect(repeat.status).toBe(201);
    expect(repeat.headers.get('idempotent-replay')).toBe('true');
    expect(repeat.json).toEqual({ ...first.json, token: null });
  }
  expect(await count()).toBe(1);
});

it('is kept for 24 hours', async () => {
  const { token } = await admin.issue({ class: 'admin', scopes: ['*'], ttl: '30d' });
  const first = await issue('k1', BODY, token);
  admin.advance(24 * 3_600_000 - 60_000);
  expect((await issue('k1', BODY, token)).json.id).toBe(first.json.id);
  admin.advance(120_000);
  const later = await issue('k1', BODY, token);
  expect(later.json.id).not.toBe(first.json.id);
  expect(later.json.token).not.toBeNull();
});

it('another body under the same key is 422', async () => {
  await issue('k1');
  const refused = await issue('k1', { ...BODY, name: 'other' });
  expect(refused.status).toBe(422);
  expect(refused.json.reason).toBe('idempotency_key_reused');
  expect(await count()).toBe(1);
});

it('of many at the same time one makes the token, the others are told so or get the record', async () => {
  const answers = await Promise.all(Array.from({ length: 12 }, () => issue('k1')));
  const made = answers.filter(({ status, json }) => status === 201 && json.token !== null);
  expect(made).toHaveLength(1);
  for (const { status, json, headers } of answers) {
    if (status === 409) {
      expect(json.reason).toBe('idempotency_in_progress');
      expect(headers.get('retry-after')).toBe('1');
    } else {
      expect(status).toBe(201);
      expect(json.id).toBe(made[0]?.json.id);
    }
  }
  expect(await count()).toBe(1);
});

it('one that is under way is 409, whatever becomes of it', async () => {
  await admin.store.claim('unrelated', 'x', Date.now());
  let release: () => void = () => undefined;
  const started = new Promise<void>((resolve) => {
    const { create } = admin.store;
    admin.store.create = async (record) => {
      resolve();
      await new Promise<void>((go) => {
        release = go;
      });
      return create.call(admin.store, record);
    };
  });
  const first = issue('k1');
  await started;
  const second = await issue('k1');
  expect(second.status).toBe(409);
  expect(second.json.reason).toBe('idempotency_in_progress');
  expect((await issue('k1', { ...BODY, name: 'other' })).status).toBe(422);
  release();
  expect((await first).status).toBe(201);
  expect((await issue('k1')).headers.get('idempotent-replay')).toBe('true');
});

it('a refused or failed call leaves the key free', async () => {
  expect((await issue('k1', { ...BODY, class: 'nope' })).status).toBe(400);
  auditFails = true;
  const failed = await issue('k1');
  expect(failed.status).toBe(503);
  expect(failed.json.reason).toBe('audit_unavailable');
  expect(await count()).toBe(0);
  auditFails = false;
  const made = await issue('k1');
  expect(made.status).toBe(201);
  expect(made.json.token).not.toBeNull();
});

it('keys of other callers and of other routes never meet', async () => {
  const other = await admin.issue({ class: 'admin', scopes: ['*'] });
  const mine = await issue('k1');
  const theirs = await issue('k1', BODY, other.token);
  expect(theirs.json.token).not.toBeNull();
  expect(theirs.json.id).not.toBe(mine.json.id);
  const rotated = await admin.call('POST', `/v1/tokens/${mine.json.id}/rotate`, {
    headers: { 'idempotency-key': 'k1' },
  });
  expect(rotated.json).toMatchObject({ id: mine.json.id, generation: 2, token: expect.any(String) });
});

it('a repeated rotation rotates once; for another token it is 422', async () => {
  const [a, b] = [await admin.issue(), await admin.issue()];
  const rotate = (id: string, json?: unknown): Promise<Answer> =>
    admin.call('POST', `/v1/tokens/${id}/rotate`, { json, headers: { 'idempotency-key': 'r1' } });
  const first = await rotate(a.id);
  expect(first.status).toBe(200);
  const repeat = await rotate(a.id, {});
  expect(repeat.status).toBe(200);
  expect(repeat.json).toEqual({ ...first.json, token: null });
  expect(repeat.headers.get('idempotent-replay')).toBe('true');
  expect((await rotate(b.id)).status).toBe(422);
  expect((await rotate(a.id, { grace: '1m' })).status).toBe(422);
  expect((await admin.call('GET', `/v1/tokens/${a.id}`)).json.generation).toBe(2);
});

it('a key has to be 1 to 255 printable characters; routes without secrets ignore it', async () => {
  for (const key of ['', 'x'.repeat(256), 'é']) {
    const refused = await issue(key);
    expect(refused.status, key).toBe(400);
    expect(refused.json.errors[0].path).toBe('Idempotency-Key');
  }
  expect((await issue('x'.repeat(255))).status).toBe(201);
  expect((await admin.call('GET', '/v1/tokens', { headers: { 'idempotency-key': 'x'.repeat(300) } })).status).toBe(200);
});

it('what is remembered holds no secret', async () => {
  const remembered: string[] = [];
  const { remember } = admin.store;
  admin.store.remember = (...args) => {
    remembered.push(JSON.stringify(args));
    return remember.apply(admin.store, args);
  };
  const { json } = await issue('k1');
  expect(remembered).toHaveLength(1);
  expect(remembered[0]).toContain(json.id);
  expect(remembered[0]).not.toContain(json.token.slice(-49));
});
