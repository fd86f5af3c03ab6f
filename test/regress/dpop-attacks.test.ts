/*
 * The attacks of RFC 9449 §11 and around it, against a token that is bound to a key. The attacker has the token (from a log,
 * a proxy, a stolen back-up) and often proofs that its holder made, but not the key. Each test says what would happen without
 * the defence; nothing of any of them may reach the upstream.
 */
import { createHash, createHmac, randomUUID } from 'node:crypto';
import { SignJWT } from 'jose';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { forgedJws, ProofKey } from '../support/dpop-proof.ts';
import { type Answer, TestGateway } from '../support/gateway.ts';
import { readAnswer } from '../support/raw-answer.ts';
import { sendRaw } from '../support/raw-client.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { TestUpstream } from '../support/upstream.ts';

const POLICY = `api: orders
upstream: orders
base: /orders
rules:
  - { name: all, methods: [GET, POST, DELETE], path: [/, "/{rest...}"], scopes: [orders:read] }
`;

let redis: RedisServer;
let upstream: TestUpstream;
let gateway: TestGateway;
let second: TestGateway;
let key: ProofKey;
let token: string;

beforeAll(async () => {
  [redis, upstream, key] = await Promise.all([startRedis(), TestUpstream.start(), ProofKey.generate()]);
  const config = { store: `{ kind: redis, url: "${redis.url}", key_prefix: dpop }` };
  const options = { upstreams: { orders: upstream.url }, policies: { 'orders.yaml': POLICY }, config };
  gateway = await TestGateway.start(options);
  second = await TestGateway.start(options);
});
afterAll(async () => {
  await gateway.close();
  await second.close();
  await Promise.all([redis.stop(), upstream.close()]);
});
beforeEach(async () => {
  token = (await gateway.issue({ bound_to: { jkt: key.thumbprint } })).token;
  upstream.seen.length = 0;
});

const at = (path = '/orders', origin = gateway): { url: string; token: string } => ({ url: origin.url + path, token });

function call(
  proof: string | null,
  options: { path?: string; method?: string; at?: TestGateway; token?: string } = {},
) {
  return (options.at ?? gateway).call(options.path ?? '/orders', {
    method: options.method,
    headers: { authorization: `DPoP ${options.token ?? token}`, ...(proof === null ? {} : { dpop: proof }) },
  });
}

/** The error of the challenge and the part of the detail that tells why. */
function outcome({ status, headers, problem }: Answer): readonly unknown[] {
  const challenge = String(headers['www-authenticate'] ?? '');
  const error = /^DPoP realm="portcullis", error="(\w+)"/.exec(challenge)?.[1];
  const detail = problem?.detail?.replace('The DPoP proof is not accepted: ', '');
  return status === 200 ? [200] : [status, problem?.reason, error, detail];
}

const refused = (why: string) => [401, 'token_untrusted', 'invalid_dpop_proof', `${why}.`];

describe('§11.1 replay', () => {
  it('on the same replica: whoever saw one request could send it again for as long as its proof is fresh', async () => {
    const proof = await key.proof(at());
    expect(outcome(await call(proof))).toEqual([200]);
    expect(outcome(await call(proof))).toEqual(refused('it was used before'));
    expect(upstream.seen).toHaveLength(1);
  });

  it('on another replica: it would know nothing of the first use', async () => {
    const claims = { htu: 'http://api.example.com/orders', jti: randomUUID() };
    const headers = async () => ({
      authorization: `DPoP ${token}`,
      dpop: await key.proof(at(), { claims }),
      host: 'api.example.com',
    });
    const first = await gateway.call('/orders', { headers: await headers() });
    const again = await second.call('/orders', { headers: await headers() });
    expect([outcome(first), outcome(again)]).toEqual([[200], refused('it was used before')]);
    expect(upstream.seen).toHaveLength(1);
  });

  it('of many at once: exactly one may win, not each that looked before the first had written', async () => {
    const proof = await key.proof(at());
    const answers = await Promise.all(Array.from({ length: 20 }, () => call(proof)));
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(1);
    expect(upstream.seen).toHaveLength(1);
  });

  it('of the same jti in another proof: each is new to whoever remembers proofs by their text', async () => {
    const jti = randomUUID();
    expect(outcome(await call(await key.proof(at(), { claims: { jti } })))).toEqual([200]);
    const other = await key.proof(at('/orders/2'), { claims: { jti } });
    expect(outcome(await call(other, { path: '/orders/2' }))).toEqual(refused('it was used before'));
  });

  it('does not shut out another key that happens to use the same jti', async () => {
    const jti = randomUUID();
    const other = await ProofKey.generate();
    const bound = await gateway.issue({ bound_to: { jkt: other.thumbprint } });
    expect(outcome(await call(await key.proof(at(), { claims: { jti } })))).toEqual([200]);
    const proof = await other.proof({ ...at(), token: bound.token }, { claims: { jti } });
    expect(outcome(await call(proof, { token: bound.token }))).toEqual([200]);
  });
});

describe('§11.1, §11.2 old and early proofs', () => {
  const inSeconds = (seconds: number) => ({ claims: { iat: Math.floor(Date.now() / 1000) + seconds } });

  it('too old: one that was never sent would be good for ever, and forgotten ones good again', async () => {
    expect(outcome(await call(await key.proof(at(), inSeconds(-62))))).toEqual(refused('its iat is too long ago'));
    expect(outcome(await call(await key.proof(at(), inSeconds(-50))))).toEqual([200]);
  });

  it('made ahead: a stock of them, made in a moment with the key, would last', async () => {
    expect(outcome(await call(await key.proof(at(), inSeconds(8))))).toEqual(refused('its iat lies ahead'));
    expect(outcome(await call(await key.proof(at(), inSeconds(3))))).toEqual([200]);
  });

  it.each(['null', '"1700000000"', '-1', '[1]', '{"now":1}', 'true'])(
    'with %s as iat: compared with a time, some of these are neither too old nor too new',
    async (iat) => {
      const proof = await key.proof(at(), { text: (claims) => claims.replace(/"iat":\d+/, `"iat":${iat}`) });
      expect(outcome(await call(proof))).toEqual(refused('its iat is not a time'));
    },
  );

  it('without iat: it would be good for ever', async () => {
    expect(outcome(await call(await key.proof(at(), { claims: { iat: undefined } })))).toEqual(
      refused('its iat is not a time'),
    );
  });
});

describe('§11.5 swapped JWTs', () => {
  it.each([undefined, 'JWT', 'at+jwt', 'DPoP+JWT', 'application/dpop+jwt', 'dpop+jwt ', ['dpop+jwt']])(
    'typ %s: any JWT that the same key signed for another purpose would be a proof',
    async (typ) => {
      const proof = await key.proof(at(), { header: { typ } });
      expect(outcome(await call(proof))).toEqual(refused('its typ is not dpop+jwt'));
    },
  );
});

describe('§11.6 signatures', () => {
  const claims = () => ({
    jti: randomUUID(),
    htm: 'GET',
    htu: `${gateway.url}/orders`,
    iat: Math.floor(Date.now() / 1000),
    ath: createHash('sha256').update(token).digest('base64url'),
  });

  it.each(['none', 'None', 'NONE', 'HS256', 'HS512', 'ES256K', 'RSA1_5', 'dir', '', 'es256'])(
    'alg %s: a proof that nobody, or everybody, can sign',
    async (alg) => {
      const header = { alg, typ: 'dpop+jwt', jwk: key.publicJwk };
      const signed = `${forgedJws(header, claims(), '').slice(0, -1)}`;
      const mac = createHmac('sha256', JSON.stringify(key.publicJwk)).update(signed).digest('base64url');
      expect(outcome(await call(`${signed}.${mac}`))).toEqual(
        refused('its algorithm is not one of those that are taken'),
      );
    },
  );

  it('none at all, or not this one: the key in the header alone proves nothing', async () => {
    const proof = await key.proof(at());
    const [header, payload, signature = ''] = proof.split('.');
    const flipped = `${signature.startsWith('A') ? 'B' : 'A'}${signature.slice(1)}`;
    expect(outcome(await call(`${header}.${payload}.`))).toEqual(refused('it is not one JWT'));
    expect(outcome(await call(`${header}.${payload}.${flipped}`))).toEqual(refused('its signature is wrong'));
    const zero = Buffer.alloc(64).toString('base64url');
    expect(outcome(await call(`${header}.${payload}.${zero}`))).toEqual(refused('its signature is wrong'));
    expect(outcome(await call(proof))).toEqual([200]);
  });

  it('of an attacker with the holder’s public key in the header: the claims would be the attacker’s', async () => {
    const attacker = await ProofKey.generate();
    const proof = await attacker.proof(at(), { header: { jwk: key.publicJwk } });
    expect(outcome(await call(proof))).toEqual(refused('its signature is wrong'));
  });

  it('with a private or symmetric key in the header: the holder would have given it to everybody', async () => {
    const leak = await key.proof(at(), { header: { jwk: await key.privateJwk() } });
    expect(outcome(await call(leak))).toEqual(refused('its jwk holds a secret'));
    const symmetric = await new SignJWT(claims())
      .setProtectedHeader({ alg: 'HS256', typ: 'dpop+jwt', jwk: { kty: 'oct', k: 'c2VjcmV0' } as never })
      .sign(Buffer.from('secret'));
    expect(outcome(await call(symmetric))).toEqual(refused('its algorithm is not one of those that are taken'));
  });

  it('by weak keys: a key that somebody else can compute is nobody’s', async () => {
    const rsa = await ProofKey.generate('RS256');
    const n = (bytes: number) => Buffer.alloc(bytes, 0xc1).toString('base64url');
    const jwks: [string, object, string][] = [
      ['RS256', { kty: 'RSA', n: n(128), e: 'AQAB' }, 'its jwk has 1024 bits; an RSA key needs 2048'],
      ['RS256', { kty: 'RSA', n: n(1025), e: 'AQAB' }, 'its jwk has 8200 bits, more than 8192'],
      ['RS256', { kty: 'RSA', n: rsa.publicJwk.n, e: 'AQ' }, 'its jwk has an exponent that protects nothing'],
      ['RS256', { kty: 'RSA', n: rsa.publicJwk.n, e: 'Ag' }, 'its jwk has an exponent that protects nothing'],
      [
        'EdDSA',
        { kty: 'OKP', crv: 'Ed25519', x: Buffer.alloc(32).toString('base64url') },
        'its jwk is a point of small order, under which anything verifies',
      ],
      [
        'Ed25519',
        { kty: 'OKP', crv: 'Ed25519', x: `AQ${'A'.repeat(41)}` },
        'its jwk is a point of small order, under which anything verifies',
      ],
      [
        'ES256',
        { kty: 'EC', crv: 'P-384', x: key.publicJwk.x, y: key.publicJwk.y },
        'its jwk is not a key of its algorithm',
      ],
      ['ES256', { kty: 'EC', crv: 'P-256', x: key.publicJwk.x }, 'its jwk has no whole x and y'],
      ['RS256', key.publicJwk, 'its jwk is not a key of its algorithm'],
    ];
    for (const [alg, jwk, why] of jwks) {
      const proof = forgedJws({ alg, typ: 'dpop+jwt', jwk }, claims(), Buffer.alloc(64, 1).toString('base64url'));
      expect([jwk, outcome(await call(proof))]).toEqual([jwk, refused(why)]);
    }
    const listed = forgedJws({ alg: 'ES256', typ: 'dpop+jwt', jwk: [key.publicJwk] }, claims(), 'AAAA');
    expect(outcome(await call(listed))).toEqual(refused('it has no jwk'));
  });

  it('with a point that is not on its curve, from which a key of others could be worked out', async () => {
    const jwk = { ...key.publicJwk, y: key.publicJwk.x };
    const proof = forgedJws({ alg: 'ES256', typ: 'dpop+jwt', jwk }, claims(), 'AAAA');
    expect(outcome(await call(proof))).toEqual(refused('its jwk is no point of its curve, or no key'));
  });

  it('with a member that stands twice: two readers would see two proofs', async () => {
    const twice = await key.proof(at(), { text: (text) => text.replace('{', '{"htm":"DELETE",') });
    expect(outcome(await call(twice))).toEqual(refused('it is not one JWT'));
  });

  it('with crit or b64: what it covers would be for a reader to say who knows the extension', async () => {
    for (const header of [{ crit: ['b64'], b64: false }, { b64: false }, { crit: [] }]) {
      const proof = forgedJws({ alg: 'ES256', typ: 'dpop+jwt', jwk: key.publicJwk, ...header }, claims(), 'AAAA');
      expect(outcome(await call(proof))).toEqual(refused('it has extensions that are not known'));
    }
  });
});

describe('§11.7 the request that a proof is for', () => {
  it('another method: a proof for a GET would let its finder DELETE', async () => {
    expect(outcome(await call(await key.proof(at()), { method: 'DELETE' }))).toEqual(
      refused('its htm is not the method of the request'),
    );
    expect(outcome(await call(await key.proof({ ...at(), method: 'get' })))).toEqual(
      refused('its htm is not the method of the request'),
    );
  });

  it.each(['/orders/2', '/orders/', '/ORDERS', '/orders/../admin', '/orders%2f', '\\orders'])(
    'another path, %s: a proof for one place would open every other',
    async (path) => {
      const proof = await key.proof(at(path));
      expect(outcome(await call(proof))).toEqual(refused('its htu is not the URI of the request'));
    },
  );

  it.each([
    'http://evil.example/orders',
    'http://127.0.0.1/orders',
    'https://127.0.0.1:PORT/orders',
    'http://127.0.0.1:PORT@evil.example/orders',
    'http://evil.example#@127.0.0.1:PORT/orders',
    'http://evil.example\\@127.0.0.1:PORT/orders',
    '//127.0.0.1:PORT/orders',
    '/orders',
    'ftp://127.0.0.1:PORT/orders',
    'http:/127.0.0.1:PORT/orders',
    ' http://127.0.0.1:PORT/orders',
    'http://127.0.0.1:PORT/orders\n',
    '',
  ])('another server, %j: a server that a client also talks to could pass its proofs on', async (url) => {
    const proof = await key.proof({ url: url.replace('PORT', String(gateway.port)), token });
    expect(outcome(await call(proof))).toEqual(refused('its htu is not the URI of the request'));
  });

  it('the same place in another spelling is the same place (§4.3)', async () => {
    for (const path of ['/orders?any=query', '/orders#fragment', '/x/../orders', '/%6frders', '/./orders']) {
      expect([path, outcome(await call(await key.proof(at(path))))]).toEqual([path, [200]]);
    }
  });

  it('a Host of the attacker’s choice: the URI would be whatever the proof says', async () => {
    const proof = await key.proof({ url: 'http://evil.example/orders', token });
    const headers = { authorization: `DPoP ${token}`, dpop: proof, 'x-forwarded-host': 'evil.example' };
    expect(outcome(await gateway.call('/orders', { headers }))).toEqual(
      refused('its htu is not the URI of the request'),
    );
  });

  it.each([undefined, 7, ['GET']])('htm or htu %j: nothing to compare with', async (value) => {
    for (const claims of [{ htm: value }, { htu: value }]) {
      expect(outcome(await call(await key.proof(at(), { claims })))).toEqual(refused('its htm or htu is missing'));
    }
  });
});

describe('§11.8 the token that a proof is for', () => {
  it('another token of the same key: a proof for a weak token would carry a strong one', async () => {
    const { token: weak } = await gateway.issue({ bound_to: { jkt: key.thumbprint } });
    const proof = await key.proof({ ...at(), token: weak });
    expect(outcome(await call(proof))).toEqual(refused('its ath is not the hash of the token'));
  });

  it.each([undefined, '', 'A'.repeat(43)])('ath %j: the proof would be good for every token', async (ath) => {
    const proof = await key.proof(at(), { claims: { ath } });
    expect(outcome(await call(proof))).toEqual(refused('its ath is not the hash of the token'));
  });

  it('another key: whoever has the token makes a key and is its holder', async () => {
    const attacker = await ProofKey.generate();
    expect(outcome(await call(await attacker.proof(at())))).toEqual([
      401,
      'token_untrusted',
      'invalid_token',
      'The token is bound to another key than that of the DPoP proof.',
    ]);
    // Nor does a refused proof use up the jti of a right one.
    const jti = randomUUID();
    await call(await attacker.proof(at(), { claims: { jti } }));
    expect(outcome(await call(await key.proof(at(), { claims: { jti } })))).toEqual([200]);
  });

  it('another key whose jwk carries the thumbprint or kid of the right one', async () => {
    const attacker = await ProofKey.generate();
    const jwk = { ...attacker.publicJwk, kid: key.thumbprint, jkt: key.thumbprint, 'x5t#S256': key.thumbprint };
    const [, , error] = outcome(await call(await attacker.proof(at(), { header: { jwk, kid: key.thumbprint } })));
    expect(error).toBe('invalid_token');
  });
});

describe('§7.1, §7.2 ways around the proof', () => {
  const bound = [
    401,
    'token_untrusted',
    'invalid_token',
    'The token is bound to a key: present it under the scheme DPoP, with a proof.',
  ];

  it('as a bearer token: the binding would bind nobody', async () => {
    expect(outcome(await gateway.call('/orders', { token }))).toEqual(bound);
    expect(outcome(await gateway.call('/orders', { headers: { 'x-api-key': token } }))).toEqual(bound);
    const proof = await key.proof(at());
    expect(outcome(await gateway.call('/orders', { token, headers: { dpop: proof } }))).toEqual(bound);
  });

  it('under both schemes at once: one reader would check the proof, the other the token', async () => {
    const proof = await key.proof(at());
    const headers = { authorization: `DPoP ${token}`, 'x-api-key': token, dpop: proof };
    const answer = await gateway.call('/orders', { headers });
    expect([answer.status, answer.problem?.reason]).toEqual([400, 'token_ambiguous']);
  });

  it('a token that is not bound, under DPoP: a client that believes in a binding has none', async () => {
    const { token: plain } = await gateway.issue();
    const proof = await key.proof({ ...at(), token: plain });
    expect(outcome(await call(proof, { token: plain }))).toEqual([
      401,
      'token_untrusted',
      'invalid_token',
      'The token is not bound to a key: present it as Bearer.',
    ]);
  });

  it('no proof, an empty one, or one too many (§4.3): which of them was checked?', async () => {
    expect(outcome(await call(null))).toEqual(refused('there is none'));
    expect(outcome(await call(''))).toEqual(refused('it is not one JWT'));
    const proofs = [await key.proof(at()), await key.proof(at())];
    const lines = proofs.map((proof) => `DPoP: ${proof}\r\n`).join('');
    const head = `GET /orders HTTP/1.1\r\nHost: 127.0.0.1:${gateway.port}\r\nAuthorization: DPoP ${token}\r\n`;
    const { text } = await sendRaw(gateway.port, `${head}${lines}Connection: close\r\n\r\n`);
    expect(readAnswer(text)).toMatchObject({ status: 401, body: expect.stringContaining('there is more than one') });
    expect(outcome(await call(proofs.join(', ')))).toEqual(refused('it is not one JWT'));
    expect(upstream.seen).toHaveLength(0);
  });

  it('in capitals, beside a bearer token: a back end would see somebody’s proof', async () => {
    const { token: plain } = await gateway.issue();
    const proof = await key.proof(at());
    await gateway.call('/orders', { token: plain, headers: { DPOP: proof } });
    expect(upstream.seen.at(-1)?.rawHeaders.join('\n')).not.toContain(proof);
  });
});

describe('what a proof may cost', () => {
  it('is bounded in size, and in the length of its jti: a client could fill the store with them', async () => {
    const long = await key.proof(at(), { claims: { more: 'x'.repeat(8000) } });
    expect(outcome(await call(long))).toEqual(refused('it is longer than 8192 bytes'));
    for (const jti of ['x'.repeat(257), '', undefined, 7]) {
      const proof = await key.proof(at(), { claims: { jti } });
      expect(outcome(await call(proof))).toEqual(refused('its jti is not a text of 1 to 256 characters'));
    }
    expect(outcome(await call(await key.proof(at(), { claims: { jti: 'x'.repeat(256) } })))).toEqual([200]);
  });

  it('is one spelling only: another one of the same proof would be new to whoever remembers texts', async () => {
    const proof = await key.proof(at());
    for (const spelling of [
      `${proof}=`,
      ` ${proof} x`,
      proof.replace('.', '..'),
      proof.split('.').slice(0, 2).join('.'),
    ]) {
      expect(outcome(await call(spelling))).toEqual(refused('it is not one JWT'));
    }
  });
});

// Last: Redis needs a while to be trusted again.
describe('the store away', () => {
  it('while nobody can say what was used before: nothing is let in on a guess', async () => {
    const proof = await key.proof(at());
    const other = await key.proof(at());
    // So that the token itself is known, and only the proof has to be asked about.
    expect(outcome(await call(other))).toEqual([200]);
    redis.pause();
    try {
      const answer = await call(proof);
      expect([answer.status, answer.problem?.reason]).toEqual([503, 'store_unavailable']);
    } finally {
      redis.resume();
    }
    expect(upstream.seen).toHaveLength(1);
  });
});
