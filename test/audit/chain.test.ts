import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BatchSealer, GENESIS_HASH, readSealedLine, sealLine } from '../../src/audit/chain.ts';
import { canonicalEvent, PrintedTexts } from '../../src/audit/event.ts';
import { canonicalJson } from '../../src/base/canonical-json.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { AUDIT_EVENT_TYPES, type AuditEventInput } from '../../src/model/audit-event.ts';

const TIME = '2026-07-01T12:00:00.000Z';
const ID = 'A1b2C3d4E5f6';
const TOKEN = `pct_prod_${ID}${'s3'.repeat(21)}xAb12Cd`;

const FULL: Required<Omit<AuditEventInput, 'time'>> = {
  type: 'access.denied',
  outcome: 'failure',
  reason: 'scope_insufficient',
  request_id: 'r-1',
  trace_id: 't-1',
  api: 'orders',
  rule: 'read "one" order',
  policy: 'abc',
  token_id: ID,
  token_type: 'opaque',
  subject: 'Jürgen 😀',
  owner: 'team',
  actor: 'admin',
  ip: '::1',
  method: 'GET',
  host: 'api.example.com',
  path: '/a\\b',
  status: 403,
  bytes_in: 0,
  bytes_out: 12,
  duration_ms: 0.25,
  upstream_ms: 1e-7,
  details: { 10: 'x', 9: [true, null, { b: 1, a: 2 }] },
};

describe('an event', () => {
  it('is written in canonical JSON, whatever members it has', () => {
    for (const event of [FULL, { ...FULL, details: undefined }, { type: FULL.type, outcome: FULL.outcome }]) {
      const text = canonicalEvent(event, TIME, 7);
      expect(text).toBe(canonicalJson({ ...event, v: 1, seq: 7, time: TIME }));
    }
  });

  it('holds no token, wherever one is put', () => {
    for (const name of ['path', 'subject', 'rule', 'host', 'request_id'] as const) {
      const text = canonicalEvent({ ...FULL, [name]: `/x/${TOKEN}/y` }, TIME, 1);
      expect(JSON.parse(text)[name]).toBe(`/x/pct_prod_${ID}…/y`);
    }
    const details = { note: TOKEN, list: [{ [TOKEN]: TOKEN }] };
    expect(canonicalEvent({ ...FULL, details }, TIME, 1)).not.toContain('s3s3s3');
  });

  it('stays canonical for texts and numbers that have no canonical form', () => {
    const odd = { ...FULL, details: undefined, path: '/\ud800x', duration_ms: Number.NaN };
    const text = canonicalEvent(odd, TIME, 1);
    expect(JSON.parse(text)).toMatchObject({ path: '/\ufffdx', duration_ms: null });
    expect(canonicalJson(JSON.parse(text))).toBe(text);
  });

  it('is written alike whether it is put together quickly or in the long way', () => {
    const text = fc.string({ unit: 'binary', maxLength: 30 });
    const scalar = fc.oneof(text, fc.double(), fc.boolean(), fc.constant(null));
    const details = fc.dictionary(text, fc.oneof(scalar, fc.array(scalar), fc.dictionary(text, scalar)), {
      maxKeys: 5,
    });
    const some = { requiredKeys: [] };
    const events = fc.record(
      { path: text, host: text, subject: text, owner: text, actor: text, bytes_in: fc.double(), details },
      some,
    );
    const printed = new PrintedTexts();
    fc.assert(
      fc.property(events, (members) => {
        const event = { type: FULL.type, outcome: FULL.outcome, ...members };
        const written = canonicalEvent(event, TIME, 3, printed);
        expect(canonicalJson(JSON.parse(written))).toBe(written);
        // What is remembered of the first time changes nothing.
        expect(canonicalEvent(event, TIME, 3, printed)).toBe(written);
        // A text that is too long for the quick way.
        const long = canonicalEvent({ ...event, policy: 'p'.repeat(16_384) }, TIME, 3);
        expect({ ...JSON.parse(long), policy: undefined }).toEqual({ ...JSON.parse(written), policy: undefined });
      }),
    );
  });

  it('of a request is written as all others are, whatever came before it', () => {
    const odd = fc.oneof(fc.string({ unit: 'binary', maxLength: 30 }), fc.constant(TOKEN), fc.constant('a"b\\c'));
    const few = fc.constantFrom('a', 'b', 'J\u00fcrgen');
    const number = fc.oneof(fc.nat(), fc.double());
    const tokens = [{ class: 'a', scopes: ['x'] }, { class: 'b', note: TOKEN }, { zz: 1, a: 2 }, { odd: '\ud800' }];
    const request = fc.record({
      type: fc.constantFrom('access.allowed', 'access.denied'),
      outcome: fc.constantFrom('success', 'failure'),
      api: fc.option(few, { nil: undefined }),
      rule: fc.option(odd, { nil: undefined }),
      reason: fc.option(few, { nil: undefined }),
      subject: fc.option(odd, { nil: undefined }),
      actor: fc.option(few, { nil: undefined }),
      owner: fc.option(few, { nil: undefined }),
      host: few,
      ip: few,
      method: few,
      policy: few,
      token_id: few,
      token_type: fc.constantFrom('opaque', 'jwt', undefined),
      status: fc.constantFrom(200, 404, undefined),
      path: odd,
      request_id: odd,
      trace_id: few,
      bytes_in: number,
      bytes_out: number,
      duration_ms: number,
      upstream_ms: fc.option(number, { nil: undefined }),
      details: fc.option(
        fc.record(
          { decided_at: fc.nat(), token: fc.constantFrom(...tokens), rate_limit: few, more: few },
          { requiredKeys: ['decided_at', 'token'] },
        ),
        { nil: undefined },
      ),
    }) as fc.Arbitrary<AuditEventInput>;
    const lasting = [
      'api',
      'rule',
      'reason',
      'subject',
      'actor',
      'owner',
      'host',
      'ip',
      'method',
      'policy',
      'token_id',
    ];
    // One member changes to and fro, all else is as it was.
    const changes: readonly Partial<AuditEventInput>[] = [
      ...lasting.flatMap((name) => ['a', 'b', undefined, 'a'].map((value) => ({ [name]: value }))),
      ...[200, 404, undefined, 200].map((status) => ({ status })),
      ...(['success', 'failure', 'success'] as const).map((outcome) => ({ outcome })),
      ...(['access.allowed', 'access.denied', 'access.allowed'] as const).map((type) => ({ type })),
      ...(['opaque', 'jwt', undefined, 'opaque'] as const).map((token_type) => ({ token_type })),
    ];
    fc.assert(
      fc.property(request, (base) => {
        const printed = new PrintedTexts();
        for (const change of changes) {
          const event: AuditEventInput = { ...base, ...change };
          const written = canonicalEvent(event, TIME, 3, printed);
          expect(written).toBe(canonicalEvent(event, TIME, 3));
          expect(canonicalJson(JSON.parse(written))).toBe(written);
          expect(written).not.toContain(TOKEN);
          const { details, ...rest } = event;
          // Without details it goes the other way.
          const other = JSON.parse(canonicalEvent({ ...rest, details: { decided_at: 0, x: 1 } }, TIME, 3));
          expect({ ...JSON.parse(written), details: null }).toEqual({ ...other, details: null });
          expect(JSON.parse(written).details).toEqual(
            JSON.parse(canonicalEvent({ ...rest, path: undefined, details }, TIME, 3)).details,
          );
        }
      }),
    );
  });

  it('is put into a batch as into a line of its own', () => {
    const sealer = new BatchSealer();
    const texts = fc.array(fc.string({ unit: 'binary', maxLength: 3000 }), { maxLength: 60 });
    fc.assert(
      fc.property(texts, (paths) => {
        sealer.begin();
        let prev = GENESIS_HASH;
        let hash = GENESIS_HASH;
        const lines = paths.map((path, at) => {
          const event = canonicalEvent({ ...FULL, path }, TIME, at + 1);
          const sealed = sealLine(prev, event);
          prev = sealed.hash;
          hash = sealer.add(hash, event);
          return `${sealed.line}\n`;
        });
        expect(hash).toBe(prev);
        expect(sealer.take().toString('utf8')).toBe(lines.join(''));
      }),
      { numRuns: 30 },
    );
  });

  it('always fits into a line', () => {
    const long = '€'.repeat(40_000);
    const text = canonicalEvent({ ...FULL, path: long, details: undefined }, TIME, 1);
    expect(JSON.parse(text).path).toHaveLength(16 * 1024 + 1);
    const huge = canonicalEvent({ ...FULL, path: long, details: { list: Array(500).fill(long) } }, TIME, 1);
    expect(Buffer.byteLength(huge)).toBeLessThan(LIMITS.auditLineBytes);
    expect(JSON.parse(huge)).toMatchObject({ type: FULL.type, details: { omitted: expect.any(String) } });
  });

  it('is written even when its details cannot be', () => {
    let nested: AuditEventInput['details'] = {};
    for (let i = 0; i < 100; i += 1) nested = { nested };
    expect(JSON.parse(canonicalEvent({ ...FULL, details: nested }, TIME, 3))).toEqual({
      v: 1,
      seq: 3,
      time: TIME,
      type: 'access.denied',
      outcome: 'failure',
      details: { omitted: 'the event could not be written as JSON' },
    });
  });
});

describe('a line', () => {
  it('can be checked with nothing but SHA-256 and RFC 8785', () => {
    const { line } = sealLine(GENESIS_HASH, canonicalEvent(FULL, TIME, 1));
    const { prev, hash, ...event } = JSON.parse(line);
    expect(prev).toBe('0'.repeat(64));
    expect(
      createHash('sha256')
        .update(prev + canonicalJson(event), 'utf8')
        .digest('hex'),
    ).toBe(hash);
  });

  it('is read back as it was written', () => {
    for (const type of AUDIT_EVENT_TYPES) {
      const { line, hash } = sealLine('ab'.repeat(32), canonicalEvent({ ...FULL, type }, TIME, 2));
      const sealed = readSealedLine(Buffer.from(line));
      expect(sealed).toMatchObject({ prev: 'ab'.repeat(32), hash, computedHash: hash, event: { type, seq: 2 } });
    }
  });

  it.each([
    ['white space', (line: string) => line.replace('":', '": ')],
    ['an end of another kind', (line: string) => `${line}\r`],
    ['a longer tail', (line: string) => line.replace(/\}$/, ',"x":1}')],
    ['another order', (line: string) => line.replace(/("prev":"\w+"),("hash":"\w+")/, '$2,$1')],
    ['no object', () => '[]'],
    ['nothing', () => ''],
  ])('is not taken for one with %s', (_name, change) => {
    const { line } = sealLine(GENESIS_HASH, canonicalEvent(FULL, TIME, 1));
    const sealed = readSealedLine(Buffer.from(change(line)));
    expect(sealed === null || sealed.hash !== sealed.computedHash).toBe(true);
  });

  it('does not hide an edit in bytes that are no UTF-8', () => {
    const { line } = sealLine(GENESIS_HASH, canonicalEvent({ ...FULL, subject: '\ufffd' }, TIME, 1));
    const bytes = Buffer.from(line);
    const at = bytes.indexOf('\ufffd');
    const edited = Buffer.concat([bytes.subarray(0, at), Buffer.from([0xff]), bytes.subarray(at + 3)]);
    const sealed = readSealedLine(edited);
    expect(sealed?.computedHash).not.toBe(sealed?.hash);
  });
});
