import { describe, expect, it } from 'vitest';
import type { AccessDetails } from '../../src/model/audit-event.ts';
import type { CompiledPolicy } from '../../src/policy/compiled-policy.ts';
import type { RecordedEvent } from '../../src/policy/recorded-request.ts';
import { Replay, type ReplayReport } from '../../src/policy/replay-report.ts';
import { apiOf, MONDAY } from './policy-fixture.ts';

const TIME = new Date(MONDAY).toISOString();

function event(path: string, more: Partial<RecordedEvent> = {}): RecordedEvent {
  return {
    type: 'access.allowed',
    outcome: 'success',
    time: TIME,
    method: 'GET',
    host: 'localhost',
    ip: '127.0.0.1',
    path,
    token_id: 'A1b2C3d4E5f6',
    token_type: 'opaque',
    owner: 'team',
    api: 'orders',
    rule: 'read',
    policy: 'of-then',
    details: token({}),
    ...more,
  };
}

function token(fields: Partial<NonNullable<AccessDetails['token']>>, more: Partial<AccessDetails> = {}): AccessDetails {
  return { decided_at: MONDAY, token: { scopes: ['orders:read'], issued_at: MONDAY, ...fields }, ...more };
}

function replayed(policy: CompiledPolicy, events: Iterable<RecordedEvent>, enforce = false): ReplayReport {
  const replay = new Replay(policy, { enforce });
  for (const each of events) replay.add(each);
  return replay.report();
}

const causes = (report: ReplayReport): string[] =>
  report.undecidable_by.map(({ cause, type, requests }) => `${requests} ${type} ${cause}`);

describe('a replay', () => {
  it('judges times at the moment of the decision, not of the event', () => {
    const policy = apiOf('  - { name: read, path: /, when: { time: { hours: "09:00-10:00" }, max_token_age: 1h } }');
    const long = { time: new Date(MONDAY + 20 * 3_600_000).toISOString() };
    expect(replayed(policy, [event('/', long)])).toMatchObject({ unchanged: 1, flips: [] });
    const late = event('/', { details: token({}, { decided_at: MONDAY + 3_600_000 }) });
    expect(replayed(policy, [late]).flips[0]?.to.reason).toBe('condition_failed');
  });

  it('tells the rule, the reason and the tokens, those with the most requests first', () => {
    const policy = apiOf('  - { name: read, path: "/{id}", scopes: [orders:list] }');
    const other = { token_id: 'Z9y8X7w6V5u4', owner: 'others', time: '2026-03-02T09:31:00.000Z' };
    const report = replayed(policy, [
      event('/1'),
      event('/2', other),
      event('/3', other),
      event('/', { type: 'token.issued' }),
    ]);
    expect(report).toMatchObject({ requests: 3, unchanged: 0, first: TIME, last: other.time });
    expect(report.totals['allow-to-deny']).toEqual({ requests: 3, tokens: 2 });
    expect(report.flips).toEqual([
      {
        change: 'allow-to-deny',
        from: { outcome: 'allow', reason: null, api: 'orders', rule: 'read' },
        to: {
          outcome: 'deny',
          reason: 'scope_insufficient',
          api: 'orders',
          rule: 'read',
          source: { file: 'orders.yaml', line: 4, col: 5 },
        },
        requests: 3,
        tokens: 2,
        first: TIME,
        last: other.time,
        by_token: [
          { token_id: 'Z9y8X7w6V5u4', owner: 'others', requests: 2, example: 'GET /2' },
          { token_id: 'A1b2C3d4E5f6', owner: 'team', requests: 1, example: 'GET /1' },
        ],
      },
    ]);
  });

  it('leaves alone what a limit refused, unless the limit is another one or none', () => {
    const limited = event('/', {
      type: 'access.denied',
      reason: 'rate_limited',
      details: token({}, { rate_limit: '10/60000ms by token' }),
    });
    const rule = (limit: string): CompiledPolicy => apiOf(`  - { name: read, path: /${limit} }`);
    expect(replayed(rule(', rate_limit: { requests: 10, per: 1m }'), [limited])).toMatchObject({
      outside: 1,
      flips: [],
    });
    expect(causes(replayed(rule(', rate_limit: { requests: 20, per: 1m }'), [limited]))).toEqual([
      '1 access.denied rate_limit',
    ]);
    expect(replayed(rule(''), [limited]).totals['deny-to-allow'].requests).toBe(1);
    expect(replayed(rule(', scopes: [other]'), [limited])).toMatchObject({ unchanged: 1, reason_changed: 1 });
    const allowed = replayed(rule(', rate_limit: { requests: 1, per: 1d }'), [event('/'), event('/')]);
    expect(allowed).toMatchObject({ unchanged: 2, rate_limited_rules: 2 });
  });

  it('decides nothing on a text that was masked or cut', () => {
    const policy = apiOf(
      '  - { name: read, path: "/{rest...}", scopes: [orders:list], when: { claims: { note: x } } }',
    );
    const masked = [
      event('/pct_prod_A1b2C3d4E5f6…/x'),
      event('/x', { host: 'h…' }),
      event('/x', { details: token({ scopes: ['a_b_A1b2C3d4E5f6…'] }) }),
      event('/x', { details: token({ claims: { note: ['[jwt]'] } }) }),
    ];
    expect(causes(replayed(policy, masked))).toEqual(['4 access.allowed text_replaced']);
    // A claim that no condition looks at does not matter.
    const elsewhere = event('/x', {
      details: token({ scopes: ['orders:list'], claims: { note: 'x', other: 'cut…' } }),
    });
    expect(replayed(policy, [elsewhere])).toMatchObject({ unchanged: 1, undecidable: 0 });
  });

  it('leaves alone whatever no policy decides', () => {
    const policy = apiOf('  - { name: all, path: ["/", "/{rest...}"] }');
    const denied = (reason: string | undefined, path = '/'): RecordedEvent =>
      event(path, { type: 'access.denied', outcome: 'failure', reason, details: undefined });
    const events = [
      ...['token_expired', 'token_revoked', 'store_unavailable', 'overloaded', 'body_too_large', undefined].map(
        (reason) => denied(reason),
      ),
      denied('condition_failed', '/.portcullis/token'),
      event('/.portcullis/token', { details: undefined }),
      { ...denied('path_ambiguous'), path: undefined },
      // Revoked after it was let in, while the request waited.
      event('/', { type: 'access.denied', reason: 'token_revoked' }),
    ];
    expect(replayed(policy, events)).toMatchObject({ requests: events.length, outside: events.length, flips: [] });
    const open = apiOf('  - { name: all, path: ["/", "/{rest...}"], public: true }');
    const flips = replayed(open, events).flips.map(({ change, requests }) => [change, requests]);
    // Who needs no token is not refused for it, nor for a store that cannot be asked.
    expect(flips.reduce((sum, [, requests]) => sum + Number(requests), 0)).toBe(4);
  });

  it('counts every request, however many tokens and rules there are', () => {
    const policy = apiOf('  - { name: read, path: /, scopes: [orders:list] }');
    function* many(): Generator<RecordedEvent> {
      for (let i = 0; i < 100_010; i += 1) yield event('/', { token_id: `t${i}` });
      for (let i = 0; i < 10_010; i += 1) yield event('/', { rule: `rule ${i}`, token_id: 't0' });
    }
    const report = replayed(policy, many());
    expect(report).toMatchObject({ requests: 110_020, tokens_cut: true });
    expect(report.totals['allow-to-deny'].requests).toBe(110_020);
    expect(report.flips.length).toBeLessThanOrEqual(10_001);
    expect(report.flips.reduce((sum, { by_token: tokens }) => sum + tokens.length, 0)).toBeLessThanOrEqual(100_000);
  });
});
