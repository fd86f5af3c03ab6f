import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Harness, startAdmin } from './harness.ts';

type Json = Readonly<Record<string, unknown>>;

/** The calls that the API promises, by what the rest of the product and its users call. */
const PROMISED = [
  'GET /healthz',
  'GET /metrics',
  'GET /readyz',
  'GET /v1/audit',
  'GET /v1/events',
  'GET /v1/openapi.json',
  'GET /v1/policies',
  'GET /v1/status',
  'GET /v1/tokens',
  'GET /v1/tokens/{id}',
  'PATCH /v1/tokens/{id}',
  'POST /v1/explain',
  'POST /v1/introspect',
  'POST /v1/policies/reload',
  'POST /v1/revocations',
  'POST /v1/revoke',
  'POST /v1/tokens',
  'POST /v1/tokens/{id}/revoke',
  'POST /v1/tokens/{id}/rotate',
];

let admin: Harness;
let document: Json;
beforeAll(async () => {
  admin = await startAdmin();
  document = (await admin.call('GET', '/v1/openapi.json', { token: null })).json;
});
afterAll(() => admin.close());

describe('the OpenAPI document', () => {
  it('describes every call that is promised, and no other', () => {
    const calls = operations(document).map(({ method, path }) => `${method.toUpperCase()} ${path}`);
    expect(calls.toSorted()).toEqual(PROMISED);
  });

  it('has the members that OpenAPI 3.1 asks for (§4.7)', () => {
    expect(document).toMatchObject({
      openapi: '3.1.0',
      info: { title: expect.any(String), version: '1.2.3' },
      components: { securitySchemes: { token: { type: 'http', scheme: 'bearer' } } },
    });
    const ids = operations(document).map(({ operation }) => operation['operationId']);
    expect(new Set(ids).size).toBe(ids.length);
    const tags = list(document['tags']).map((tag) => member(tag, 'name'));
    for (const { method, path, operation } of operations(document)) {
      const where = `${method} ${path}`;
      expect(operation['summary'], where).toEqual(expect.any(String));
      expect(tags, where).toEqual(expect.arrayContaining([...list(operation['tags'])]));
      const responses = Object.entries(member(operation, 'responses'));
      expect(responses.length, where).toBeGreaterThan(0);
      for (const [status, response] of responses) {
        expect(status, where).toMatch(/^[2-5]\d\d$/);
        expect(member(response, 'description'), where).toEqual(expect.any(String));
        for (const media of Object.values(member(response, 'content') ?? {})) {
          expect(member(media, 'schema'), `${where} ${status}`).toEqual(expect.any(Object));
        }
      }
      const named = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
      const parameters = list(operation['parameters']);
      const inPath = parameters.filter((parameter) => member(parameter, 'in') === 'path');
      expect(
        inPath.map((parameter) => member(parameter, 'name')),
        where,
      ).toEqual(named);
      for (const parameter of parameters) {
        expect(['path', 'query', 'header'], where).toContain(member(parameter, 'in'));
        expect(member(parameter, 'schema'), where).toEqual(expect.any(Object));
        if (member(parameter, 'in') === 'path') expect(member(parameter, 'required')).toBe(true);
      }
    }
  });

  it('holds no reference that leads nowhere, and no part that brings a dialect or definitions of its own', () => {
    const references: string[] = [];
    walk(document, (node) => {
      if (typeof node['$ref'] === 'string') references.push(node['$ref']);
      expect(Object.keys(node)).not.toContain('$schema');
      expect(Object.keys(node)).not.toContain('$defs');
    });
    expect(references.length).toBeGreaterThan(0);
    for (const reference of new Set(references)) {
      const steps = reference.replace(/^#\//, '').split('/');
      expect(
        steps.reduce<unknown>((node, step) => member(node, step), document),
        reference,
      ).toEqual(expect.any(Object));
    }
  });

  it('names the scope that each call needs: a token with no other is let in', async () => {
    const guarded = operations(document).filter(({ operation }) => list(operation['security']).length > 0);
    expect(guarded).toHaveLength(PROMISED.length - 4);
    for (const { method, path, operation } of guarded) {
      const [requirement] = list(operation['security']);
      const [scope] = list(member(requirement, 'token'));
      const { token } = await admin.issue({ scopes: [String(scope)] });
      if (path === '/v1/events') continue;
      const answer = await admin.call(method.toUpperCase(), path.replace('{id}', '000000000000'), { token });
      expect([401, 403], `${method} ${path}`).not.toContain(answer.status);
      expect(Object.keys(member(operation, 'responses')), `${method} ${path}`).toContain(String(answer.status));
    }
  });
});

function operations(root: Json): { method: string; path: string; operation: Json }[] {
  return Object.entries(member(root, 'paths')).flatMap(([path, item]) =>
    Object.entries(record(item)).map(([method, operation]) => ({ method, path, operation: record(operation) })),
  );
}

function walk(node: unknown, visit: (node: Json) => void): void {
  if (typeof node !== 'object' || node === null) return;
  if (!Array.isArray(node)) visit(record(node));
  for (const child of Object.values(node)) walk(child, visit);
}

function record(value: unknown): Json {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new Error('expected an object');
  return Object.fromEntries(Object.entries(value));
}

// biome-ignore lint/suspicious/noExplicitAny: the document is foreign JSON here; a wrong shape fails the comparison
function member(value: unknown, name: string): any {
  return record(value)[name];
}

function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}
