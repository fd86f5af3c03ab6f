import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { afterAll, describe, expect, it } from 'vitest';
import { parseConfig } from '../../src/config/load.ts';

const folder = mkdtempSync(join(tmpdir(), 'portcullis-config-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
writeFileSync(join(folder, 'client'), 'client-s3cret\n');

function load(yaml: string) {
  const { config, diagnostics } = parseConfig(yaml, join(folder, 'portcullis.yaml'), { CLIENT: 'env-s3cret' });
  return { config, told: diagnostics.map(({ line, col, message }) => `${line}:${col}: ${message}`) };
}

const server = (more: string): string =>
  `introspection: [{ match: { prefix: ext_ }, endpoint: "https://idp/introspect", client_id: a, client_secret: { env: CLIENT }${more} }]`;

describe('the section introspection', () => {
  it('is complete with what only the operator can know', () => {
    const { config, told } = load(server(''));
    expect(told).toEqual([]);
    expect(config?.introspection).toEqual([
      {
        prefix: 'ext_',
        endpoint: new URL('https://idp/introspect'),
        clientId: 'a',
        clientSecret: { value: expect.anything(), file: null },
        audiences: null,
        requireTokenType: false,
        cacheMs: 30_000,
        negativeCacheMs: 10_000,
        timeoutMs: 5_000,
      },
    ]);
  });

  it('takes everything else, and shows no secret', () => {
    const { config, told } = load(
      [
        'introspection:',
        '  - match: { prefix: "" }',
        '    endpoint: http://127.0.0.1:8081/introspect?realm=a',
        '    client_id: gateway',
        '    client_secret: { file: client }',
        '    audience: api',
        '    require_token_type: true',
        '    cache: 0s',
        '    negative_cache: 1h',
        '    timeout: 500ms',
      ].join('\n'),
    );
    expect(told).toEqual([]);
    const [first] = config?.introspection ?? [];
    expect(first).toMatchObject({ prefix: '', audiences: ['api'], requireTokenType: true, cacheMs: 0, timeoutMs: 500 });
    expect([first?.clientSecret.value.reveal(), first?.clientSecret.file]).toEqual([
      'client-s3cret',
      join(folder, 'client'),
    ]);
    expect(inspect(config, { depth: 9 }) + JSON.stringify(config)).not.toContain('s3cret');
  });

  it('tells all errors at once, each at its place', () => {
    const { config, told } = load(
      [
        'introspection:',
        '  - { match: { prefix: "a b" }, endpoint: "http://idp/x", client_id: "", client_secret: inline }',
        '  - { match: { prefx: a }, endpoint: "https://u:p@idp/", client_id: a, client_secret: { env: NONE }, cache: 2h }',
        '  - { match: { prefix: pct_ }, endpoint: "https://idp/#x", client_id: a, client_secret: { env: CLIENT }, audience: [] }',
      ].join('\n'),
    );
    expect([config, told]).toEqual([
      null,
      [
        '2:24: introspection[0].match.prefix: expected up to 64 of A-Z a-z 0-9 . _ ~ + / -, as the tokens begin',
        '2:43: introspection[0].endpoint: expected https://: tokens and the client secret would be sent in clear (http:// is for this machine)',
        '2:70: introspection[0].client_id: expected the id of the client',
        '2:89: introspection[0].client_secret: a secret cannot stand in the configuration itself; write { env: NAME } or { file: PATH } in its place',
        '3:14: missing key "prefix" in introspection[1].match',
        '3:16: unknown key "prefx" in introspection[1].match; did you mean "prefix"?',
        '3:38: introspection[1].endpoint: a URL must not hold credentials; use client_secret',
        '3:87: introspection[1].client_secret: environment variable NONE is not set',
        '3:109: introspection[1].cache: must be at most 1h',
        '4:42: introspection[2].endpoint: a fragment cannot be part of this URL',
        '4:116: introspection[2].audience: the list is empty',
      ],
    ]);
  });

  it.each([
    [
      'pct_',
      '1:36: introspection[0].match.prefix: tokens of this installation begin with pct_, and are never sent to another server',
    ],
    [
      'p',
      '1:36: introspection[0].match.prefix: tokens of this installation begin with pct_, and are never sent to another server',
    ],
    [
      'pct_prod_',
      '1:36: introspection[0].match.prefix: tokens of this installation begin with pct_, and are never sent to another server',
    ],
  ])('refuses a prefix that tokens of this installation may have: %s', (prefix, message) => {
    expect(load(server('').replace('ext_', prefix)).told).toEqual([message]);
    expect(load(`tokens: { prefix: own }\n${server('').replace('ext_', prefix)}`).told).toEqual([]);
  });

  it('refuses prefixes of which one begins with the other; the empty one is for what none of them takes', () => {
    const item = (prefix: string): string =>
      `  - { match: { prefix: "${prefix}" }, endpoint: "https://idp/i", client_id: a, client_secret: { env: CLIENT } }`;
    const list = ['ab', 'abc', '', 'x', '', 'a'].map(item).join('\n');
    expect(load(`introspection:\n${list}`).told).toEqual([
      '3:24: introspection[1].match.prefix: tokens could be of this kind and of item 1 of the list: one prefix begins with the other',
      '6:24: introspection[4].match.prefix: the same prefix as item 3 of the list',
      '7:24: introspection[5].match.prefix: tokens could be of this kind and of item 1 of the list: one prefix begins with the other',
    ]);
    expect(load(`introspection:\n${['ab', 'ac', ''].map(item).join('\n')}`).told).toEqual([]);
  });
});
