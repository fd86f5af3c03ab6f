import { existsSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { canonicalTarget } from '../../src/gateway/canonical-path.ts';
import type { Principal } from '../../src/model/principal.ts';
import { compilePolicy } from '../../src/policy/compile.ts';
import type { CompiledPolicy } from '../../src/policy/compiled-policy.ts';
import { decide } from '../../src/policy/decide.ts';

/*
 * Two thousand request-targets that have fooled some proxy or framework. With a token that may not go to /admin/, none of
 * them may reach the upstream as a target that a mainstream back end reads as /admin/.
 */

const CORPUS = resolve(import.meta.dirname, '../../../shared/corpus/paths.jsonl');

interface Vector {
  readonly id: string;
  readonly target: string;
  readonly target_b64: string;
}

function vectors(): Vector[] {
  const lines = readFileSync(CORPUS, 'utf8').split('\n').filter(Boolean);
  return lines.map((line): Vector => JSON.parse(line));
}

const pathOf = (target: string): string =>
  target.replace(/^[A-Za-z][A-Za-z0-9+.-]*:\/\/[^/?#\\]*/, '').split('?')[0] || '/';
const decodeAll = (text: string): string =>
  text.replace(/%([0-9A-Fa-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
const decodeUnreserved = (text: string): string =>
  text.replace(/%[0-9A-Fa-f]{2}/g, (code) => (/[A-Za-z0-9\-._~]/.test(decodeAll(code)) ? decodeAll(code) : code));

function resolveDots(path: string, merge = false): string {
  const segments = (merge ? path.replace(/\/+/g, '/') : path).split('/');
  if (segments[0] === '') segments.shift();
  const kept: string[] = [];
  for (const [index, segment] of segments.entries()) {
    if (segment === '..') kept.pop();
    if (segment !== '.' && segment !== '..') kept.push(segment);
    else if (index === segments.length - 1) kept.push('');
  }
  return `/${kept.join('/')}`;
}

const withoutParameters = (segment: string): string => segment.split(';')[0] ?? '';

/** How the back ends that people run read a target. */
const MAINSTREAM: Readonly<Record<string, (target: string) => string>> = {
  'RFC 3986': (target) => resolveDots(decodeUnreserved(pathOf(target))),
  WHATWG: (target) =>
    resolveDots(decodeUnreserved((pathOf(target).split('#')[0] ?? '').replace(/[\t\r\n]/g, '').replaceAll('\\', '/'))),
  nginx: (target) => resolveDots(decodeAll(pathOf(target).split('#')[0] ?? ''), true),
  'merged slashes': (target) => resolveDots(decodeUnreserved(pathOf(target)), true),
  servlet: (target) =>
    resolveDots(
      pathOf(target)
        .split('/')
        .map((segment) => decodeAll(withoutParameters(segment)))
        .join('/'),
      true,
    ),
  'servlet that decodes first': (target) =>
    resolveDots(decodeAll(pathOf(target)).split('/').map(withoutParameters).join('/'), true),
};

const protectedIn = (target: string): string[] =>
  Object.entries(MAINSTREAM)
    .filter(([, read]) => read(target).split('/')[1] === 'admin')
    .map(([name]) => name);

function policyOf(rules: string): CompiledPolicy {
  const text = `api: everything\nupstream: recorder\nrules:\n${rules}`;
  const { policy, diagnostics } = compilePolicy([{ name: 'everything.yaml', text }], { upstreams: null });
  if (policy === null) throw new Error(JSON.stringify(diagnostics));
  return policy;
}

const ADMIN = '  - { name: admin, path: [/admin, "/admin/{rest...}"], scopes: [admin] }\n';
const POLICIES = {
  'everything is for users, /admin/ is not': policyOf(
    `${ADMIN}  - { name: users, path: [/, "/{rest...}"], scopes: [user] }\n`,
  ),
  'only /public/ is declared for users': policyOf(
    `${ADMIN}  - { name: users, path: "/public/{rest...}", scopes: [user] }\n`,
  ),
};

const user: Principal = {
  tokenType: 'opaque',
  tokenId: 'abcdefABCDEF',
  subject: null,
  owner: null,
  class: 'service',
  scopes: ['user'],
  roles: [],
  claims: {},
  ip: [],
  issuedAt: 0,
  expiresAt: Number.MAX_SAFE_INTEGER,
  supersededUntil: null,
  foreign: null,
  confirmation: null,
};

/** The target that would be forwarded, or why none is. */
function pass(policy: CompiledPolicy, raw: string): { readonly forwarded: string } | { readonly refused: string } {
  const target = canonicalTarget(raw);
  if (!target.ok) return { refused: target.reason };
  const request = { method: 'GET', host: 'gw.test', path: target.path, ip: '127.0.0.1' };
  if (policy.routes.ambiguous(request)) return { refused: 'path_ambiguous' };
  const decision = decide(policy, policy.routes.match(request), request, user, 1);
  return decision.effect === 'allow' ? { forwarded: target.path + target.query } : { refused: decision.reason };
}

describe.skipIf(!existsSync(CORPUS))('the corpus of request-targets (skipped where its folder is not there)', () => {
  it.each(Object.entries(POLICIES))('finds no way to /admin/ where %s', (_name, policy) => {
    const bypasses: string[] = [];
    let forwarded = 0;
    for (const vector of vectors()) {
      const outcome = pass(policy, Buffer.from(vector.target_b64, 'base64').toString('latin1'));
      if ('refused' in outcome) continue;
      forwarded += 1;
      const readers = protectedIn(outcome.forwarded);
      if (readers.length > 0)
        bypasses.push(`${vector.id} ${vector.target} → ${outcome.forwarded}: ${readers.join(', ')}`);
      expect(canonicalTarget(outcome.forwarded), vector.id).toMatchObject({ ok: true });
    }
    expect(bypasses).toEqual([]);
    expect(forwarded).toBeGreaterThan(100);
  });
});

describe('a path that hides where it leads', () => {
  const [everything] = Object.values(POLICIES);
  it.each([
    ['/public/x/../../admin/secret', 'scope_insufficient'],
    ['//admin/secret', 'scope_insufficient'],
    ['/%61dmin/secret', 'scope_insufficient'],
    ['/x//../admin/secret', 'scope_insufficient'],
    ['/admin/', 'scope_insufficient'],
    ['/admin;x=1/secret', 'path_ambiguous'],
    ['/;/admin/secret', 'path_ambiguous'],
    ['/;x/admin/secret', 'path_ambiguous'],
    ['/admin%3bx/secret', 'path_ambiguous'],
    ['/public/..;/admin/secret', 'path_ambiguous'],
    ['/public/..%2fadmin/secret', 'path_ambiguous'],
    ['/public\\..\\admin/secret', 'path_ambiguous'],
    ['/public/%2e%2e%5cadmin', 'path_ambiguous'],
    ['/public/..%00/admin/secret', 'path_ambiguous'],
    ['/public/%c0%ae%c0%ae/admin', 'path_ambiguous'],
    ['/public#/../admin', 'request_malformed'],
  ])('%s is refused', (target, reason) => {
    if (everything === undefined) throw new Error('no policy');
    expect(pass(everything, target)).toEqual({ refused: reason });
  });

  it('is told from one that only looks odd', () => {
    if (everything === undefined) throw new Error('no policy');
    expect(pass(everything, '/public/a;v=1/b')).toEqual({ forwarded: '/public/a;v=1/b' });
    expect(pass(everything, '/Admin/secret')).toEqual({ forwarded: '/Admin/secret' });
    expect(pass(everything, '/public?/../admin/x')).toEqual({ forwarded: '/public?/../admin/x' });
  });
});
