import { generateKeyPairSync, sign } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { Bench } from '../bench.ts';
import { type BenchGateway, bearer, startGateway } from '../gateway.ts';
import { count, leftOut, type Row, row } from '../report.ts';
import { startUpstream } from '../upstream.ts';
import { inTurns, type Subject, type Summary, summarise } from '../wrk.ts';

const MEASURE = 'JWTs beside opaque tokens';
const CONNECTIONS = 64;
const ISSUER = 'https://issuer.bench';
const AUDIENCE = 'bench';
const WITHOUT = 'opaque token, no issuer configured';
const OPAQUE = 'opaque token';
const CACHED = 'JWT (ES256), seen before';
const FRESH = 'JWT (ES256), never seen before';

/** More than are sent in one turn, so that none is met twice in it. */
const TOKENS = { whole: 80_000, quick: 15_000 };

/** As a goal: CPU time of a request beside that of an opaque token. */
const MOST_SHARE = 1.1;

/** The tokens of a file, one after the other; written out only when it is their turn, so that wrk is ready at once. */
const SCRIPT = `local tokens = {}
local position = 0
local head
function init(args)
  for line in io.lines(args[1]) do tokens[#tokens + 1] = line end
  local host = "Host: " .. wrk.host .. ":" .. wrk.port
  head = "GET " .. wrk.path .. " HTTP/1.1\\r\\n" .. host .. "\\r\\nAuthorization: Bearer "
end
function request()
  position = position % #tokens + 1
  return head .. tokens[position] .. "\\r\\n\\r\\n"
end
`;

export async function measureJwt(bench: Bench): Promise<Row[]> {
  const upstream = await startUpstream(bench);
  if (upstream === null) return [leftOut(MEASURE, 'all', 'apt-get install nginx')];
  const { quick, seconds } = bench.options;
  const issuer = new BenchIssuer();
  const many = quick ? TOKENS.quick : TOKENS.whole;
  bench.tell(`  signing ${count(many)} tokens`);
  const tokens = join(bench.folder, 'jwt.tokens');
  writeFileSync(tokens, Array.from({ length: many }, (_, i) => issuer.token(`fresh-${i}`)).join('\n'), { mode: 0o600 });
  const script = join(bench.folder, 'jwt.lua');
  writeFileSync(script, SCRIPT);

  const common = { redisUrl: null, upstreamUrl: upstream.url };
  const without = await startGateway(bench, { ...common, name: 'jwt-without' });
  const gateway = await startGateway(bench, {
    ...common,
    name: 'jwt',
    issuers: `[ { issuer: "${ISSUER}", audience: "${AUDIENCE}", jwks_file: jwks.json, max_lifetime: 24h } ]`,
    prepare: async (configFile) => issuer.publish(join(dirname(configFile), 'jwks.json')),
  });
  const subject = (name: string, { process, url }: BenchGateway, load: Partial<Subject['load']>): Subject => ({
    name,
    process,
    load: { url: `${url}/items`, headers: [], connections: CONNECTIONS, ...load },
  });
  const subjects = [
    subject(WITHOUT, without, { headers: [bearer(without.token)] }),
    subject(OPAQUE, gateway, { headers: [bearer(gateway.token)] }),
    subject(CACHED, gateway, { headers: [bearer(issuer.token('seen'))] }),
    subject(FRESH, gateway, { script: { file: script, args: [tokens] } }),
  ];
  const runs = await inTurns(bench, subjects, {
    warmUp: quick ? 1 : 3,
    seconds,
    around: async ({ name }, work) => {
      if (name === FRESH) await forget(gateway, issuer);
      return await work();
    },
  });
  return rowsOf(new Map([...runs].map(([name, each]): [string, Summary] => [name, summarise(each)])));
}

function rowsOf(summaries: ReadonlyMap<string, Summary>): Row[] {
  const opaque = summaries.get(OPAQUE)?.cpuSeconds ?? Number.NaN;
  return [...summaries].map(([name, summary]) => {
    const share = summary.cpuSeconds / opaque;
    return row({
      measure: MEASURE,
      subject: name,
      figure: `${count(summary.perSecond)} requests/s`,
      spread: summary.spread,
      cpuSeconds: summary.cpuSeconds,
      p50: summary.p50,
      p99: summary.p99,
      compared: name === OPAQUE ? null : `${share.toFixed(2)} × opaque (CPU)`,
      aim: name === CACHED ? `≤ ${MOST_SHARE.toFixed(2)} × opaque (CPU)` : null,
      reached: name === CACHED ? share <= MOST_SHARE : null,
      invalid: summary.invalid,
    });
  });
}

/** Withdraws the key and publishes it again: whatever was verified with it is verified anew. */
async function forget(gateway: BenchGateway, issuer: BenchIssuer): Promise<void> {
  const probe = { headers: { authorization: `Bearer ${issuer.token('probe')}` } };
  for (const [withdrawn, wanted] of [
    [true, 401],
    [false, 200],
  ] as const) {
    issuer.publish(issuer.file, withdrawn);
    const tooLate = performance.now() + 20_000;
    while ((await fetch(`${gateway.url}/items`, probe)).status !== wanted) {
      if (performance.now() > tooLate) throw new Error(`the gateway does not answer ${wanted} to a JWT`);
      await pause(100);
    }
  }
}

class BenchIssuer {
  file = '';
  readonly #keys = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  readonly #header = encode({ alg: 'ES256', kid: 'bench', typ: 'at+jwt' });
  readonly #now = Math.floor(Date.now() / 1000);

  publish(file: string, withdrawn = false): void {
    this.file = file;
    const key = { ...this.#keys.publicKey.export({ format: 'jwk' }), kid: 'bench', alg: 'ES256', use: 'sig' };
    writeFileSync(file, JSON.stringify({ keys: withdrawn ? [] : [key] }));
  }

  /** As an authorization server writes them (RFC 9068 §2.2). */
  token(jti: string): string {
    const claims = encode({
      iss: ISSUER,
      aud: AUDIENCE,
      sub: 'client-1',
      client_id: 'client-1',
      scope: 'items:read items:write',
      iat: this.#now,
      exp: this.#now + 6 * 3600,
      jti,
    });
    const input = `${this.#header}.${claims}`;
    const key = { key: this.#keys.privateKey, dsaEncoding: 'ieee-p1363' } as const;
    return `${input}.${sign('sha256', Buffer.from(input), key).toString('base64url')}`;
  }
}

function encode(part: object): string {
  return Buffer.from(JSON.stringify(part)).toString('base64url');
}
