import { connect } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openEmbeddedStore } from '../../src/store/sqlite/embedded-store.ts';
import { digestToken, mintToken } from '../../src/token/opaque-format.ts';
import { hasCorpus, NO_CORPUS, readCorpus } from '../support/corpus.ts';
import { TestGateway } from '../support/gateway.ts';
import { headersOf, type RawRequest, RawUpstream } from '../support/raw-upstream.ts';

/*
 * Request smuggling (CWE-444): requests that two parsers read differently, so that a part of one becomes another that
 * nobody has judged. Every vector has a connection and a token of its own, all at once, against an upstream that keeps
 * the bytes it gets; the upstream's requests are told apart by the token id that the gateway says. Everything is judged
 * when the gateway has closed every connection by itself.
 */

const FILE = 'smuggling.jsonl';

interface Vector {
  readonly id: string;
  readonly tier: number;
  readonly raw_b64: string;
  readonly expect: {
    readonly verdict: 'forward' | 'reject' | 'safe' | 'incomplete';
    readonly max_complete_upstream: number;
    readonly never_upstream_targets: readonly string[];
    readonly upstream_bodies_b64?: readonly string[];
  };
}

const POLICY = `api: everything
upstream: recorder
rules:
  - { name: all, path: [/, "/{rest...}"], scopes: [corpus] }
`;

describe.skipIf(!hasCorpus(FILE))(`the corpus of smuggled requests (${NO_CORPUS})`, () => {
  let upstream: RawUpstream;
  let gateway: TestGateway;
  let vectors: readonly { readonly vector: Vector; readonly id: string; readonly token: string }[];

  beforeAll(async () => {
    upstream = await RawUpstream.start();
    gateway = await TestGateway.start({
      upstreams: { recorder: upstream.url },
      policies: { 'everything.yaml': POLICY },
      config: {
        listen: '{ host: 127.0.0.1, port: 0, limits: { header_timeout: 3s, request_timeout: 3s, idle_timeout: 1s } }',
      },
    });
    const tier1 = readCorpus<Vector>(FILE).filter(({ tier }) => tier === 1);
    vectors = await withTokens(gateway.folder, tier1);
  });

  afterAll(async () => {
    await gateway?.close();
    await upstream?.close();
  });

  it.each([
    ['in one write', (raw: Buffer) => [raw]],
    ['line by line', linesOf],
  ])(
    'of its first tier gets nothing past the gateway, %s',
    async (_how, split) => {
      upstream.forget();
      const answers = await Promise.all(
        vectors.map(({ vector, token }) => {
          const raw = Buffer.from(vector.raw_b64, 'base64').toString('latin1').replaceAll('@@TOKEN@@', token);
          return answerTo(gateway.port, split(Buffer.from(raw, 'latin1')));
        }),
      );
      const faults = upstream.received.filter(({ fault }) => fault !== null).map(({ fault }) => fault);
      expect(faults).toEqual([]);
      const byToken = Map.groupBy(upstream.requests, (request) => headersOf(request, 'portcullis-token-id').join());
      const violations = vectors.flatMap(({ vector, id }, index) =>
        judge(vector, answers[index] ?? '', byToken.get(id) ?? []).map((what) => `${vector.id}: ${what}`),
      );
      expect(violations).toEqual([]);
      expect(vectors.length).toBeGreaterThan(600);
    },
    60_000,
  );
});

function judge({ expect: wanted }: Vector, answer: string, got: readonly RawRequest[]): string[] {
  const violations: string[] = [];
  const most = wanted.max_complete_upstream;
  if (got.length > most) violations.push(`${got.length} requests upstream, ${most} at most`);
  if (wanted.verdict === 'forward' && got.length !== most) {
    violations.push(`${got.length} of ${most} arrived: ${answer.slice(0, 200)}`);
  }
  if (wanted.verdict === 'reject' && got.length === 0 && /^HTTP\/1\.1 2/.test(answer)) {
    violations.push('a 2xx from nowhere');
  }
  for (const { target } of got) {
    const path = target.split('?')[0] ?? '';
    if (wanted.never_upstream_targets.includes(path)) violations.push(`forbidden ${target}`);
  }
  const bodies = (wanted.upstream_bodies_b64 ?? []).map((body) => Buffer.from(body, 'base64').toString('latin1'));
  if (bodies.length > 0 && !got.every(({ body }) => bodies.includes(body))) violations.push('another body');
  return violations;
}

/** What comes back until the gateway closes the connection. */
function answerTo(port: number, pieces: readonly Buffer[]): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true });
    let text = '';
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1');
    });
    socket.on('error', () => socket.destroy());
    socket.on('end', () => socket.end());
    socket.on('close', () => resolve(text));
    socket.on('connect', () => send(0));
    const send = (index: number): void => {
      const piece = pieces[index];
      if (piece === undefined || socket.destroyed) return;
      socket.write(piece);
      setImmediate(send, index + 1);
    };
  });
}

function linesOf(raw: Buffer): Buffer[] {
  const lines: Buffer[] = [];
  for (let at = 0; at < raw.length; ) {
    const end = raw.indexOf(0x0a, at);
    const next = end < 0 ? raw.length : end + 1;
    lines.push(raw.subarray(at, next));
    at = next;
  }
  return lines;
}

async function withTokens(
  folder: string,
  vectors: readonly Vector[],
): Promise<{ readonly vector: Vector; readonly id: string; readonly token: string }[]> {
  const store = openEmbeddedStore({ path: join(folder, 'data') });
  const now = Date.now();
  try {
    return await Promise.all(
      vectors.map(async (vector) => {
        const { id, token } = mintToken({ prefix: 'pct', environment: 'test' });
        await store.create({
          id,
          name: vector.id,
          owner: 'tests',
          class: 'service',
          environment: 'test',
          subject: null,
          scopes: ['corpus'],
          roles: [],
          claims: {},
          ip: [],
          created_at: now,
          created_by: 'tests',
          not_before: null,
          expires_at: now + 3_600_000,
          generation: 1,
          rotated_at: null,
          grace_until: null,
          rotate_after: null,
          revoked_at: null,
          revoked_by: null,
          revoke_reason: null,
          digest: digestToken(token, null),
          superseded: [],
        });
        return { vector, id, token };
      }),
    );
  } finally {
    await store.close();
  }
}
