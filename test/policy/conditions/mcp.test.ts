import { describe, expect, it } from 'vitest';
import type { McpMessage } from '../../../src/model/mcp-message.ts';
import { compilePolicy } from '../../../src/policy/compile.ts';
import { decide } from '../../../src/policy/decide.ts';
import { explain } from '../../../src/policy/explain.ts';
import { lintPolicy } from '../../../src/policy/lint.ts';
import { runPolicyTests } from '../../../src/policy/run-policy-tests.ts';
import { samplePrincipal } from '../../../src/policy/sample-principal.ts';

const NOW = Date.parse('2026-03-02T09:30:00Z');
const principal = samplePrincipal({ scopes: ['mcp'] }, NOW);

function compiled(mcp: string, methods = '[POST]') {
  const text = `api: mcp\nupstream: mcp\nrules:\n  - { name: talk, methods: ${methods}, path: /mcp, scopes: [mcp], when: { mcp: ${mcp} } }\n`;
  return compilePolicy([{ name: 'mcp.yaml', text }], { upstreams: null });
}

function policyOf(mcp: string, methods?: string) {
  const { policy, diagnostics } = compiled(mcp, methods);
  if (policy === null) throw new Error(JSON.stringify(diagnostics));
  return policy;
}

function outcome(condition: string, mcp: McpMessage | null | undefined, method = 'POST'): string {
  const policy = policyOf(condition, '[POST, GET]');
  const request = { method, host: 'h', path: '/mcp', ip: '10.0.0.1', ...(mcp === undefined ? {} : { mcp }) };
  const decision = decide(policy, policy.routes.match(request), request, principal, NOW);
  return decision.effect === 'allow' ? 'allow' : `${decision.reason} ${decision.condition}`;
}

const DENIED = 'condition_failed mcp';
const say = (method: string | null, tool: string | null = null): McpMessage => ({ method, tool });

describe('the condition mcp', () => {
  it.each([
    ['{ methods: [tools/list, tools/call] }', say('tools/call', 'any'), 'allow'],
    ['{ methods: [tools/list, tools/call] }', say('tools/list'), 'allow'],
    ['{ methods: [tools/list] }', say('tools/call', 'any'), DENIED],
    ['{ methods: [tools/list] }', say('TOOLS/LIST'), DENIED],
    ['{ methods: [tools/list] }', say('tools/list/'), DENIED],
    ['{ methods: [initialize, tools/call], tools: [search] }', say('initialize'), 'allow'],
    ['{ methods: [initialize, tools/call], tools: [search] }', say('tools/call', 'search'), 'allow'],
    ['{ methods: [initialize, tools/call], tools: [search] }', say('tools/call', 'delete'), DENIED],
    ['{ methods: [initialize, tools/call], tools: [search] }', say('tools/call', null), DENIED],
    ['{ tools: [search] }', say('tools/call', 'search'), 'allow'],
    ['{ tools: [search] }', say('tools/list'), DENIED],
    ['{ tools: [search] }', say(null), DENIED],
    ['{ tools: [search], responses: true }', say(null), 'allow'],
    ['{ methods: [ping] }', null, DENIED],
    ['{ methods: [ping] }', undefined, DENIED],
  ])('%s and %j: %s', (condition, message, expected) => {
    expect(outcome(condition, message)).toBe(expected);
  });

  it('holds for no GET: there is no message', () => {
    expect(outcome('{ methods: [ping] }', null, 'GET')).toBe(DENIED);
  });

  it.each([
    ['{}', 'state "methods", "tools" or both'],
    ['{ responses: true }', 'state "methods", "tools" or both'],
    ['{ methods: [] }', 'an empty list matches no message'],
    ['{ tools: [] }', 'an empty list matches no tool'],
    ['{ methods: ["tools/*"] }', 'there are no wildcards here'],
    ['{ tools: ["*"] }', 'there are no wildcards here'],
    ['{ methods: [ping, ping] }', 'stands here twice'],
    ['{ methods: ["tools call"] }', 'expected a method such as tools/call'],
    ['{ methods: [tools/list], tools: [search] }', 'it is not among the methods'],
    ['{ tool: [search] }', 'did you mean "tools"'],
  ])('%s is refused where it is written', (condition, message) => {
    const { policy, diagnostics } = compiled(condition);
    expect(policy).toBeNull();
    expect(diagnostics.map((each) => `${each.line}: ${each.message}`).join('\n')).toContain(message);
    expect(diagnostics[0]?.line).toBe(4);
  });

  it('is explained', () => {
    const policy = policyOf('{ methods: [ping, tools/call], tools: [search], responses: true }');
    const request = { method: 'POST', host: 'h', path: '/mcp', ip: '10.0.0.1', mcp: say('tools/call', 'delete') };
    expect(explain(policy, request, principal, NOW).steps.at(-1)).toEqual({
      step: 'mcp',
      outcome: 'fail',
      text: 'mcp method is ping or tools/call, tools/call of search, or a response',
    });
  });

  it('is tested by policy tests', () => {
    const policy = policyOf('{ methods: [tools/call], tools: [search] }');
    const cases = `cases:
  - { name: a, request: { method: POST, path: /mcp, mcp: { method: tools/call, tool: search } }, token: { scopes: [mcp] }, expect: { decision: allow, rule: talk } }
  - { name: b, request: { method: POST, path: /mcp, mcp: { method: tools/call, tool: delete } }, token: { scopes: [mcp] }, expect: { decision: deny, reason: condition_failed, condition: mcp } }
  - { name: c, request: { method: POST, path: /mcp }, token: { scopes: [mcp] }, expect: { decision: deny, condition: mcp } }
  - { name: d, request: { method: POST, path: /mcp, mcp: { method: null } }, token: { scopes: [mcp] }, expect: { decision: deny, condition: mcp } }
`;
    const canonicalise = (path: string) => ({ ok: true, path }) as const;
    const run = runPolicyTests(policy, [{ name: 'mcp.test.yaml', text: cases }], { canonicalise, now: NOW });
    expect([run.diagnostics, run.results.map(({ name, differences }) => [name, differences])]).toEqual([
      [],
      ['a', 'b', 'c', 'd'].map((name) => [name, []]),
    ]);
  });

  it('draws a warning in a rule for anything but POST', () => {
    const warned = (methods?: string) =>
      lintPolicy(policyOf('{ methods: [ping] }', methods))
        .map(({ message }) => message)
        .filter((text) => text.includes('mcp of'));
    expect(warned('[POST]')).toEqual([]);
    expect(warned('[POST, GET, DELETE]')).toEqual([expect.stringContaining('can never hold for GET, DELETE')]);
  });
});
