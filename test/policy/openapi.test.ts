import { describe, expect, it } from 'vitest';
import { formatDiagnostic, sortDiagnostics } from '../../src/base/diagnostic.ts';
import { coverage } from '../../src/policy/openapi/coverage.ts';
import { readOpenapi } from '../../src/policy/openapi/document.ts';
import { apiNameOf, type ImportOptions, importPolicy } from '../../src/policy/openapi/import.ts';
import { type OpenapiOperation, readOperations } from '../../src/policy/openapi/operations.ts';
import { translatePath } from '../../src/policy/openapi/path-template.ts';
import { inShort, judge, policyOf, request } from './policy-fixture.ts';

const HEAD = 'openapi: 3.1.0\ninfo: { title: T, version: "1" }\n';

interface Walked {
  readonly said: readonly string[];
  readonly operations: readonly OpenapiOperation[];
  readonly policy: string | null;
}

function walked(
  text: string,
  more: Partial<ImportOptions> & { readonly base?: string; readonly prefix?: string } = {},
): Walked {
  const { document, diagnostics } = readOpenapi(text, 'o.yaml');
  if (document === null) return { said: diagnostics.map(formatDiagnostic), operations: [], policy: null };
  const operations = readOperations(document, { base: more.base ?? null, scopePrefix: more.prefix ?? '' });
  const { api = 'a', upstream = 'u', stripBase = false, mode = 'enforce' } = more;
  const wrong = document.diagnostics.some(({ severity }) => severity === 'error');
  const imported = wrong ? null : importPolicy(document, operations, { api, upstream, stripBase, mode });
  return {
    said: sortDiagnostics(document.diagnostics).map(formatDiagnostic),
    operations,
    policy: imported?.text ?? null,
  };
}

describe('what is no OpenAPI 3 document', () => {
  it.each([
    ['swagger: "2.0"', 'o.yaml:1:10: OpenAPI 2 (Swagger) is not read; convert the document to OpenAPI 3 first'],
    ['openapi: 3.2.0', 'o.yaml:1:10: expected OpenAPI 3.0 or 3.1, got "3.2.0"'],
    ['info: {}', 'o.yaml:1:1: this is no OpenAPI document: it has no key "openapi"'],
    ['openapi: 3.1.0\npaths: {}\npaths: {}', 'o.yaml:3:1: Map keys must be unique'],
    ['{"openapi": "3.0.0",', 'o.yaml:1:21: Flow map must end with a }'],
  ])('%j is told with its place', (text, message) => {
    expect(walked(text).said.slice(0, 1)).toEqual([message]);
  });
});

describe('what is wrong within one', () => {
  it('comes all at once, each with its place, and nothing is made of it', () => {
    const { said, policy } = walked(`${HEAD}servers:
  - url: https://{host}/v1
paths:
  /a/{b:
    get: {}
  /c:
    $ref: '#/components/pathItems/Cc'
  /d:
    $ref: other.yaml#/d
  /e:
    get: { security: [{ ouath: [x] }] }
    put: { security: [{ oauth: ["x:*"] }] }
    post: []
  /f:
    $ref: '#/paths/~1f'
components:
  pathItems: { C: {} }
  securitySchemes:
    oauth: { type: oauth2, flows: { implicit: { scopes: { x: y } } } }
`);
    expect(policy).toBeNull();
    expect(said).toEqual([
      'o.yaml:4:10: the server "https://{host}/v1" cannot be read: its variables need defaults',
      'o.yaml:6:3: "/a/{b": segment "{b" has a brace without its other half',
      `o.yaml:9:11: $ref "#/components/pathItems/Cc": there is no "Cc"; did you mean "C"?`,
      'o.yaml:11:11: $ref "other.yaml#/d" leads into another document; bundle them into one first',
      'o.yaml:13:25: unknown security scheme "ouath"; did you mean "oauth"?',
      'o.yaml:14:33: a required scope is literal, got "x:*"; only a granted scope may hold a "*"',
      'o.yaml:15:11: the operation post /e has to be an object',
      'o.yaml:17:5: $ref "#/paths/~1f" leads back to itself',
    ]);
  });

  it('is also a document without an operation', () => {
    expect(walked(`${HEAD}paths: {}\n`).said).toEqual(['o.yaml:3:1: the document has no operation']);
  });
});

describe('a path template', () => {
  const text = (template: string, base = ''): string => {
    const translated = translatePath(template, base);
    if (!translated.ok) return `error: ${translated.error}`;
    return `${translated.value.pattern.text}${translated.value.wider.length > 0 ? ' (wider)' : ''}`;
  };

  it.each([
    ['/', '/'],
    ['/pets/{petId}', '/pets/{petId}'],
    ['/pets/{pet-id}/{pet.id}/{9}/{}', '/pets/{pet-id}/{pet_id}/{p9}/{p}'],
    ['/a/{x}/b/{x}', '/a/{x}/b/{x2}'],
    ['/a/', '/a'],
    ['/files/{name}.json', '/files/{name} (wider)'],
    ['/users/{id}:activate', '/users/{id} (wider)'],
    ['/:batch', '/%3Abatch'],
    ['/a b/*', '/a%20b/%2A'],
    ['/{proxy+}', '/{proxy...}'],
    ['/{proxy+}/x', '/{proxy}/x'],
    ['/a?action={x}', '/a (wider)'],
    ['/a#b', '/a (wider)'],
    ['a', 'error: a path starts with "/", got "a"'],
    ['/{a}}', 'error: "/{a}}": segment "{a}}" has a brace without its other half'],
    ['/a/../b', expect.stringContaining('dot segment')],
  ])('%j becomes %j', (template, pattern) => {
    expect(text(template)).toEqual(pattern);
  });

  it('stands below its base', () => {
    expect(text('/a', '/v1')).toBe('/v1/a');
    expect(text('/', '/v1')).toBe('/v1');
  });
});

describe('an import', () => {
  const SCHEMES = `components:
  securitySchemes:
    o: { type: openIdConnect, openIdConnectUrl: "https://x" }
    k: { type: apiKey, name: k, in: header }
`;
  const demand = (security: string): string => {
    const { policy } = walked(`${HEAD}paths: { /a: { get: { security: ${security} } } }\n${SCHEMES}`);
    return (policy ?? '').split('path: /a\n')[1]?.trim() ?? 'nothing';
  };

  it.each([
    ['[]', 'public: true'],
    ['[{}]', 'public: true'],
    ['[{}, { o: [x] }]', 'scopes: [x]'],
    ['[{ k: [] }]', ''],
    ['[{ o: [x, y] }]', 'scopes: [x, y]'],
    ['[{ o: [x], k: [] }]', 'scopes: [x]'],
    ['[{ o: [x] }, { k: [] }]', 'scopes: [x]'],
    ['[{ o: [x] }, { o: [y] }]', 'any_of: [x, y]'],
    ['[{ o: [x] }, { o: [y, x] }]', 'scopes: [x]'],
    ['[{ o: [x] }, { o: [x] }]', 'scopes: [x]'],
    ['[{ o: [x, y] }, { o: [z] }]', 'scopes: [x, y, z]'],
  ])('asks for what %s asks for, or for more', (security, rule) => {
    expect(demand(security)).toBe(rule);
  });

  it('lets nobody in without a token where the document is silent', () => {
    const { policy } = walked(`${HEAD}paths: { /a: { get: {} } }\n`);
    expect(policy).toContain('# The document states no security: any valid token will do.\n  - name: GET /a\n');
    const compiled = policyOf({ 'a.yaml': policy ?? '' });
    expect(inShort(judge(compiled, request('GET /a'), null))).toBe('deny token_missing a/GET /a');
    expect(inShort(judge(compiled, request('GET /a'), {}))).toBe('allow a/GET /a');
    expect(inShort(judge(compiled, request('HEAD /a'), {}))).toBe('deny route_not_declared no rule');
  });

  it('follows the servers of operations, or the base that it is given', () => {
    const text = `${HEAD}servers: [{ url: /v1/ }, { url: https://x.example/v2 }]
paths:
  /a: { get: {}, put: { servers: [{ url: / }] } }
`;
    expect(walked(text).policy).toContain('path: [/v1/a, /v2/a]');
    expect(walked(text).policy).toContain('path: /a\n');
    const given = walked(text, { base: '/shop', stripBase: true, mode: 'report', prefix: 'p:' }).policy;
    expect(given).toContain('base: /shop\nstrip_base: true\nmode: report\n');
    expect(given).not.toContain('/v1');
  });

  it('asks for everything where no request can tell operations apart, and names each rule once', () => {
    const { policy, said } = walked(`${HEAD}paths:
  /u/{id}: { get: { operationId: same, security: [] } }
  /u/{id}:archive: { get: { operationId: same, security: [{ o: [x] }] } }
  /v: { get: { operationId: same, security: [{ o: [y] }] }, post: { operationId: "bad\\nname: x" } }
${SCHEMES}`);
    expect(said).toHaveLength(2);
    const { apis } = policyOf({ 'a.yaml': policy ?? '' });
    expect(apis[0]?.rules.map(({ name, paths, scopes }) => [name, paths, scopes.scopes])).toEqual([
      ['same', ['/u/{id}'], ['x']],
      ['same 2', ['/v'], ['y']],
      ['bad name: x', ['/v'], []],
    ]);
  });

  it('names an API as the title has it', () => {
    expect([apiNameOf('Pet Shop (v2)'), apiNameOf('Ünïcode — API'), apiNameOf('日本')]).toEqual([
      'pet-shop-v2',
      'u-ni-code-api',
      'imported',
    ]);
  });
});

describe('coverage', () => {
  it('finds operations without a rule, those that are open, and rules and paths without an operation', () => {
    const { operations } = walked(`${HEAD}security: [{ k: [] }]
paths:
  /pets: { get: { operationId: list }, post: { operationId: add } }
  /pets/{id}: { get: { operationId: one }, delete: { operationId: remove } }
  /help: { get: { operationId: help } }
components: { securitySchemes: { k: { type: http, scheme: bearer } } }
`);
    const policy = policyOf({
      'pets.yaml': `api: pets
upstream: u
hosts: [pets.example]
rules:
  - { name: read, methods: [GET, HEAD], path: [/pets, "/pets/{id}", "/animals/{id}"], scopes: [r] }
  - { name: only this, methods: [DELETE], path: /pets/7, scopes: [d] }
  - { name: help, methods: [GET], path: /help, public: true }
  - { name: head, methods: [HEAD], path: /help, scopes: [r] }
  - { name: gone, path: "/toys/{rest...}" }
`,
      'other.yaml': 'api: other\nupstream: u\nbase: /other\nrules: [{ name: all, path: "/{rest...}" }]\n',
    });
    const report = coverage(policy, operations, { api: null, host: null });
    const names = (list: readonly { readonly id: string | null }[]): (string | null)[] => list.map(({ id }) => id);
    expect([report.apis, report.operations, report.covered]).toEqual([['pets'], 5, 3]);
    expect([names(report.uncovered), names(report.open)]).toEqual([['add', 'remove'], ['help']]);
    expect(report.idle.map(({ rule, path, whole }) => [rule, path, whole])).toEqual([
      ['pets/read', '/animals/{id}', false],
      ['pets/gone', '/toys/{rest...}', true],
    ]);
    expect(report.uncovered[0]?.source).toMatchObject({ file: 'o.yaml', line: 5 });
    expect(coverage(policy, operations, { api: 'other', host: 'x' })).toMatchObject({
      covered: 0,
      idle: [{ rule: 'other/all' }],
    });
  });
});
