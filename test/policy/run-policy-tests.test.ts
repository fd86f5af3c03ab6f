import { describe, expect, it } from 'vitest';
import { formatDiagnostic } from '../../src/base/diagnostic.ts';
import { type PolicyTestRun, runPolicyTests } from '../../src/policy/run-policy-tests.ts';
import { apiOf, MONDAY } from './policy-fixture.ts';

const policy =
  apiOf(`  - { name: read, methods: [GET], path: "/{id}", scopes: [orders:read], when: { time: { days: mon }, ip: [10.0.0.0/8] } }
  - { name: report, methods: [POST], path: /, scopes: [orders:write], mode: report }
  - { name: admin, path: /admin }`);

function run(text: string): PolicyTestRun {
  return runPolicyTests(policy, [{ name: 'a.test.yaml', text }], {
    // Stands for the gateway's function: what it refuses, and what it makes of the rest.
    canonicalise: (target) =>
      target.includes('%2F') ? { ok: false, reason: 'path_ambiguous' } : { ok: true, path: target.replace('/./', '/') },
    now: MONDAY,
  });
}

function outcomes(text: string): string[] {
  return run(text).results.map((result) => `${result.passed ? 'ok' : 'FAILED'} ${result.name}: ${result.actual}`);
}

describe('policy tests', () => {
  it('compare what is stated, and nothing else', () => {
    expect(
      outcomes(`cases:
  - { name: allowed, request: { path: /./7, ip: 10.1.1.1 }, token: { scopes: [orders:read] }, expect: { decision: allow, rule: read } }
  - { name: by id, request: { path: /7, ip: 10.1.1.1 }, token: { scopes: [orders:read] }, expect: { decision: allow, rule: orders/read } }
  - { name: missing, request: { path: /7 }, expect: { decision: deny, reason: token_missing } }
  - { name: none, request: { path: /7 }, token: none, expect: { decision: deny } }
  - { name: condition, request: { path: /7 }, token: { scopes: [orders:read] }, expect: { decision: deny, reason: condition_failed, condition: ip } }
  - { name: time, request: { path: /7, ip: 10.1.1.1, time: "2026-03-01T09:30:00Z" }, token: { scopes: [orders:read] }, expect: { decision: deny, condition: time } }
  - { name: encoded slash, request: { path: /a%2Fb }, expect: { decision: deny, reason: path_ambiguous, rule: null } }
  - { name: hidden admin, request: { path: "/admin;x" }, token: { scopes: [a] }, expect: { decision: deny, reason: path_ambiguous } }
  - { name: report decides, request: { method: POST, path: / }, token: {}, expect: { decision: deny, reason: scope_insufficient } }
`),
    ).toEqual([
      'ok allowed: allow by "read"',
      'ok by id: allow by "read"',
      'ok missing: deny token_missing by "read"',
      'ok none: deny token_missing by "read"',
      'ok condition: deny condition_failed (ip) by "read"',
      'ok time: deny condition_failed (time) by "read"',
      'ok encoded slash: deny path_ambiguous',
      'ok hidden admin: deny path_ambiguous',
      'ok report decides: deny scope_insufficient by "report"',
    ]);
  });

  it('say every difference, with its place', () => {
    const { results, diagnostics } = run(`cases:
  - name: all wrong
    request: { path: /7, ip: 10.1.1.1 }
    token: { scopes: [orders:read] }
    expect: { decision: deny, reason: token_missing, condition: ip, rule: raed }
  - { name: no rule, request: { path: /7 }, expect: { decision: deny, rule: null } }
`);
    expect(diagnostics).toEqual([]);
    expect(results).toEqual([
      {
        name: 'all wrong',
        source: { file: 'a.test.yaml', line: 2, col: 5 },
        passed: false,
        actual: 'allow by "read"',
        differences: [
          'expected decision deny, got allow',
          'expected reason token_missing, got none',
          'expected condition ip, got none',
          'expected rule "raed", got "read"; there is no such rule; did you mean "read"?',
        ],
      },
      {
        name: 'no rule',
        source: { file: 'a.test.yaml', line: 6, col: 5 },
        passed: false,
        actual: 'deny token_missing by "read"',
        differences: ['expected no rule, got "read"'],
      },
    ]);
  });

  it('run the good cases of a file with bad ones, which fail it', () => {
    const { results, diagnostics } = run(`cases:
  - { name: typo, request: { pth: /7 }, expect: { decision: deny } }
  - { name: good, request: { path: /7 }, expect: { decision: deny } }
  - { name: bad, request: { path: /7, ip: 10.0.0, time: yesterday }, token: { age: long, ip: [10.0.0.0/99] }, expect: { decision: maybe, reason: token_missin } }
`);
    expect(results.map((result) => result.name)).toEqual(['good']);
    expect(diagnostics.map(formatDiagnostic)).toEqual([
      'a.test.yaml:2:28: missing key "path" in cases[0].request',
      'a.test.yaml:2:30: unknown key "pth" in cases[0].request; did you mean "path"?',
      'a.test.yaml:4:43: cases[2].request.ip: expected an IP address, got "10.0.0"',
      'a.test.yaml:4:57: cases[2].request.time: expected a time such as 2026-03-02T09:30:00Z, got "yesterday"',
      'a.test.yaml:4:84: cases[2].token.age: expected a duration such as 500ms, 2s, 5m, 24h or 30d, got "long"',
      'a.test.yaml:4:95: cases[2].token.ip[0]: the prefix length of "10.0.0.0/99" must be a number from 0 to 32; did you mean "10.0.0.0/32"?',
      'a.test.yaml:4:131: cases[2].expect.decision: expected one of "allow", "deny"',
      'a.test.yaml:4:146: cases[2].expect.reason: expected one of "path_ambiguous", "request_malformed", "token_missing", "route_not_declared", "scope_insufficient", "condition_failed"; did you mean "token_missing"?',
    ]);
  });
});
