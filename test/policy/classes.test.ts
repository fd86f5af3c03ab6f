import { describe, expect, it } from 'vitest';
import { boundTtl, builtInAdminClass, type ClassedToken, checkAgainstClass } from '../../src/policy/classes.ts';
import type { TokenClass } from '../../src/policy/compiled-policy.ts';
import { policyOf } from './policy-fixture.ts';

const API = 'api: orders\nupstream: orders\nrules: [ { name: read, path: /, scopes: [orders:read] } ]';
const DAY = 86_400_000;

const policy = policyOf({
  'orders.yaml': API,
  'roles.yaml': 'roles: { support: { scopes: [orders:read] }, manager: { scopes: ["orders:*"], includes: [support] } }',
  'classes.yaml': `classes:
  service: { max_ttl: 90d, default_ttl: 30d, scopes: ["orders:*"], rotate_every: 30d, grace: 24h, idle_expiry: 30d, require: [owner] }
  ci: { max_ttl: 1h, scopes: [orders:read], roles: [support], require: [owner, ip, subject, claims], retire: on_first_use, on_reuse: revoke }
`,
});

function classOf(name: string): TokenClass {
  const found = policy.classes.get(name);
  if (found === undefined) throw new Error(`no class ${name}`);
  return found;
}

const bare: ClassedToken = { scopes: [], roles: [], owner: 'team-a', subject: null, claims: {}, ip: [] };

describe('a class', () => {
  it('is what the file says, with defaults for the rest', () => {
    expect(classOf('service')).toEqual({
      name: 'service',
      maxTtlMs: 90 * DAY,
      defaultTtlMs: 30 * DAY,
      scopes: ['orders:*'],
      roles: null,
      rotateEveryMs: 30 * DAY,
      graceMs: DAY,
      idleExpiryMs: 30 * DAY,
      require: ['owner'],
      retire: 'at_grace_end',
      onReuse: 'alert',
      source: { file: 'classes.yaml', line: 2, col: 3 },
    });
    expect(classOf('ci')).toMatchObject({
      maxTtlMs: 3_600_000,
      defaultTtlMs: 3_600_000,
      graceMs: 3_600_000,
      rotateEveryMs: null,
      retire: 'on_first_use',
      onReuse: 'revoke',
    });
  });

  it('admin is built in, and the file may bound it differently', () => {
    expect(policy.classes.get('admin')).toEqual(builtInAdminClass());
    const own = policyOf({
      'orders.yaml': API,
      'classes.yaml': 'classes: { admin: { max_ttl: 7d, scopes: ["portcullis:*"] } }',
    });
    expect(own.classes.get('admin')).toMatchObject({ maxTtlMs: 7 * DAY, scopes: ['portcullis:*'] });
  });
});

describe('what a class lets be issued', () => {
  it('is what lies within it', () => {
    const token = { ...bare, scopes: ['orders:read', 'orders:*', 'orders:a:*'], roles: ['support', 'manager'] };
    expect(checkAgainstClass(classOf('service'), token, policy.roles)).toEqual([]);
    expect(checkAgainstClass(builtInAdminClass(), { ...bare, scopes: ['*'] }, policy.roles)).toEqual([]);
  });

  it('is nothing beyond, and says everything at once', () => {
    const token = { ...bare, owner: '', scopes: ['orders:write', '*', 'a b'], roles: ['suport', 'manager', 'support'] };
    expect(checkAgainstClass(classOf('ci'), token, policy.roles)).toEqual([
      { path: 'scopes[0]', message: 'scope "orders:write" is not within class "ci" (orders:read)' },
      {
        path: 'scopes[1]',
        message: '"*" alone may only be granted to class "admin"; name what is granted, as in "orders:*"',
      },
      {
        path: 'scopes[2]',
        message: '"a b" is not a scope: printable ASCII without spaces, quotes and backslashes; did you mean [a, b]?',
      },
      { path: 'roles[0]', message: 'unknown role "suport"; did you mean "support"?' },
      { path: 'roles[1]', message: 'role "manager" is not one of class "ci"' },
      { path: 'owner', message: 'class "ci" requires "owner"' },
      { path: 'ip', message: 'class "ci" requires "ip"' },
      { path: 'subject', message: 'class "ci" requires "subject"' },
      { path: 'claims', message: 'class "ci" requires "claims"' },
    ]);
  });

  it('holds no role that grants more, through includes either', () => {
    const narrow: TokenClass = { ...classOf('service'), scopes: ['orders:read'] };
    expect(checkAgainstClass(narrow, { ...bare, roles: ['manager'] }, policy.roles)).toEqual([
      { path: 'roles[0]', message: 'role "manager": scope "orders:*" is not within class "service" (orders:read)' },
    ]);
  });

  it('lives as long as asked for, within the class', () => {
    expect(boundTtl(classOf('service'), null)).toEqual({ ok: true, value: 30 * DAY });
    expect(boundTtl(classOf('service'), 90 * DAY)).toEqual({ ok: true, value: 90 * DAY });
    expect(boundTtl(classOf('service'), 90 * DAY + 1)).toEqual({
      ok: false,
      error: 'class "service" allows at most 90d',
    });
    for (const ttl of [0, -1, Number.NaN, Number.POSITIVE_INFINITY, 1.5])
      expect(boundTtl(classOf('service'), ttl).ok).toBe(false);
  });
});
