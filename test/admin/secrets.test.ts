import { readFile } from 'node:fs/promises';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { type Harness, startAdmin } from './harness.ts';

let admin: Harness;
beforeEach(async () => {
  admin = await startAdmin();
});
afterEach(() => admin.close());

it('no secret is in any answer but that of an issue or rotation, nor in the audit trail or the log', async () => {
  const body = { name: 'n', owner: 'o', class: 'service', scopes: ['orders:read'] };
  const key = { 'idempotency-key': 'k' };
  const issued = await admin.call('POST', '/v1/tokens', { json: body, headers: key });
  const { id, token } = issued.json;
  const rotated = await admin.call('POST', `/v1/tokens/${id}/rotate`, { headers: key });
  const shown = new Set([issued.text, rotated.text]);
  const secrets = [token, rotated.json.token, admin.root];

  for (const secret of secrets) {
    await admin.call('POST', '/v1/introspect', { form: { token: secret } });
    await admin.call('POST', '/v1/introspect', { form: { token: secret, tokn: secret } });
    await admin.call('POST', '/v1/explain', { json: { method: 'GET', path: '/orders', token: secret } });
    await admin.call('POST', '/v1/explain', {
      json: { method: 'GET', path: `/orders/${secret}`, token: `${secret}x` },
    });
    // Where a secret does not belong, and an error might repeat it.
    await admin.call('GET', `/v1/tokens/${secret}`);
    await admin.call('GET', `/v1/tokens?owner=${secret}&cursor=${secret}`);
    await admin.call('GET', `/v1/tokens?${secret}=1&status=${secret}&limit=${secret}&expires_before=${secret}`);
    await admin.call('GET', `/v1/audit?token=${secret}&type=${secret}`);
    await admin.call('GET', `/${secret}`);
    await admin.call('GET', `/v1/status?token=${secret}`, { token: `${secret}x` });
    await admin.call('POST', '/v1/tokens', { json: { ...body, [secret]: 1 } });
    await admin.call('POST', '/v1/tokens', {
      json: { ...body, class: secret, scopes: [secret], ttl: secret, ip: [secret] },
    });
    await admin.call('POST', '/v1/tokens', { body: secret, headers: { 'content-type': 'application/json' } });
    await admin.call('POST', `/v1/tokens/${id}/rotate`, { json: { grace: secret } });
    await admin.call('PATCH', `/v1/tokens/${id}`, { json: { scopes: [secret], roles: [secret], expires_at: secret } });
  }
  expect((await admin.call('POST', '/v1/tokens', { json: body, headers: key })).headers.get('idempotent-replay')).toBe(
    'true',
  );
  for (const path of [
    '/v1/tokens',
    `/v1/tokens/${id}`,
    '/v1/audit',
    '/v1/policies',
    '/v1/status',
    '/metrics',
    '/v1/openapi.json',
  ]) {
    await admin.call('GET', path);
  }
  await admin.call('POST', '/v1/revoke', { form: { token } });
  await admin.auditEvents();

  // The last 49 characters are secret and checksum; any run of 16 of them is too much.
  const parts = secrets.flatMap((secret: string) => [
    secret.slice(-49, -33),
    secret.slice(-33, -17),
    secret.slice(-17, -1),
  ]);
  const leaks = (text: string): boolean => parts.some((part: string) => text.includes(part));
  expect(leaks(issued.text)).toBe(true);
  expect(admin.answers.length).toBeGreaterThan(50);
  expect(admin.answers.filter(({ text }) => !shown.has(text) && leaks(text))).toEqual([]);
  expect(leaks(await readFile(admin.auditFile, 'utf8'))).toBe(false);
  expect(admin.logged.filter(leaks)).toEqual([]);
});
