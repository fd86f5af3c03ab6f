import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { TestGateway } from '../support/gateway.ts';
import { bare, codeWords, readPage, section } from './markdown.ts';

/** What this test reads of the OpenAPI document that a running gateway serves. */
const OPENAPI = z.object({
  paths: z.record(
    z.string(),
    z.record(z.string(), z.object({ security: z.array(z.record(z.string(), z.array(z.string()))) })),
  ),
});

describe('docs/admin-api.md', () => {
  const page = readPage('docs/admin-api.md');
  const documented = page.headings.filter(({ level }) => level === 3).map(({ title }) => bare(title));
  let gateway: TestGateway;
  /** `POST /v1/tokens` → the scope that it needs, or null. */
  const calls = new Map<string, string | null>();

  beforeAll(async () => {
    const policy = 'api: a\nupstream: a\nrules: [{ name: all, path: /, public: true }]\n';
    gateway = await TestGateway.start({ upstreams: { a: 'http://127.0.0.1:9' }, policies: { 'a.yaml': policy } });
    const { text } = await gateway.admin('GET', '/v1/openapi.json');
    for (const [path, item] of Object.entries(OPENAPI.parse(JSON.parse(text)).paths)) {
      for (const [method, { security }] of Object.entries(item)) {
        calls.set(`${method.toUpperCase()} ${path}`, security[0]?.['token']?.[0] ?? null);
      }
    }
  });
  afterAll(() => gateway.close());

  it('has one section for each call, and no other', () => {
    expect(calls.size).toBeGreaterThan(15);
    expect(documented.toSorted()).toEqual([...calls.keys()].toSorted());
  });

  it('tells the scope that each call needs', () => {
    const told = documented.map((call) => {
      const text = section(page, call).trim();
      return [call, text.startsWith('No token.') ? null : codeWords(/^Scope `[^`]+`\./.exec(text)?.[0] ?? '')[0]];
    });
    expect(told).toEqual(documented.map((call) => [call, calls.get(call)]));
  });
});
