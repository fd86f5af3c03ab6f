import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { loadConfig, parseConfig } from '../../src/config/load.ts';
import { canonicalTarget } from '../../src/gateway/canonical-path.ts';
import { DECISION_PATH } from '../../src/gateway/decision-endpoint.ts';
import { compilePolicy, isPolicyTestFile } from '../../src/policy/compile.ts';
import { lintPolicy } from '../../src/policy/lint.ts';
import { runPolicyTests } from '../../src/policy/run-policy-tests.ts';
import { ROOT, readPage, section } from './markdown.ts';

/** What is shipped to be copied can at least be read, and uses only options that there are. */
const folder = join(ROOT, 'deploy/agent');
const options = new Set(section(readPage('docs/cli.md'), 'portcullis agent').match(/--[a-z][\w-]*/g));
const optionsIn = (text: string): string[] => text.match(/(?<=[\s[])--[a-z][\w-]*/g) ?? [];

describe('deploy/agent', () => {
  it('holds the two examples', () => {
    expect(readdirSync(folder).toSorted()).toEqual(['kubernetes-sidecar.yaml', 'portcullis-agent.service']);
  });

  it('the sidecar is YAML of two objects, and one of them starts the agent', () => {
    const text = readFileSync(join(folder, 'kubernetes-sidecar.yaml'), 'utf8');
    const documents = parseAllDocuments(text, { strict: true });
    expect(documents.flatMap((document) => [...(document.errors ?? []), ...(document.warnings ?? [])])).toEqual([]);
    const objects = documents.map((document): unknown => document.toJS());
    expect(objects).toEqual([
      expect.objectContaining({ kind: 'PersistentVolumeClaim' }),
      expect.objectContaining({
        kind: 'Deployment',
        spec: expect.objectContaining({ replicas: 1, strategy: { type: 'Recreate' } }),
      }),
    ]);
    const args = text.split('\n').filter((line) => line.includes('args: [agent'));
    expect(args).toHaveLength(1);
    expect(optionsIn(args.join()).filter((option) => !options.has(option))).toEqual([]);
  });

  it('the unit has sections of keys, and starts the agent with options that there are', () => {
    const lines = readFileSync(join(folder, 'portcullis-agent.service'), 'utf8').split('\n');
    const wrong = lines.filter((line) => line !== '' && !/^(#|\[(Unit|Service|Install)\]$|[A-Z][A-Za-z]+=)/.test(line));
    expect(wrong).toEqual([]);
    const start = lines.find((line) => line.startsWith('ExecStart=')) ?? '';
    expect(optionsIn(start)).toContain('--token-file');
    expect(optionsIn(start).filter((option) => !options.has(option))).toEqual([]);
  });
});

/** nginx and Caddy are run by test/e2e/front-proxies.test.ts. */
describe('the examples for proxies that ask for decisions', () => {
  const IDENTITY = [
    'portcullis-token-id',
    'portcullis-subject',
    'portcullis-scopes',
    'portcullis-request-id',
    'portcullis-assertion',
  ];
  const read = (file: string): Tree => {
    const documents = parseAllDocuments(readFileSync(join(ROOT, 'deploy', file), 'utf8'), { strict: true });
    expect(documents.flatMap((document) => [...(document.errors ?? []), ...(document.warnings ?? [])])).toEqual([]);
    expect(documents).toHaveLength(1);
    return (documents as readonly { toJS(): Tree }[])[0]?.toJS() ?? null;
  };

  it.each(['nginx', 'caddy', 'traefik', 'envoy'])(
    'deploy/%s says how it is used, and what it was tested with',
    (name) => {
      const text = readFileSync(join(ROOT, 'deploy', name, 'README.md'), 'utf8');
      expect(text).toContain('trusted_proxies');
      expect(text).toContain('behind-other-proxies.md');
      expect(text).toMatch(/tests run it|tests\s+do not run/);
    },
  );

  /** With these an API may act on another method or path than the one that was judged, or believe to stand elsewhere. */
  const CLAIMS = [
    'forwarded',
    'x-forwarded-prefix',
    'x-http-method-override',
    'x-http-method',
    'x-method-override',
    'x-original-url',
    'x-rewrite-url',
  ];
  const TOKEN = ['authorization', 'x-api-key', 'dpop'];

  it('Traefik asks the endpoint, believes no client, and takes the token out last', () => {
    const dynamic = read('traefik/dynamic.yaml');
    const forwardAuth = at(dynamic, 'http', 'middlewares', 'portcullis', 'forwardAuth');
    expect(new URL(String(at(forwardAuth, 'address'))).pathname).toBe(DECISION_PATH);
    expect(at(forwardAuth, 'trustForwardHeader')).toBe(false);
    expect(lower(at(forwardAuth, 'authResponseHeaders'))).toEqual(IDENTITY);
    expect(lower(at(forwardAuth, 'authRequestHeaders')).filter((name) => /^x-(original|forwarded)/.test(name))).toEqual(
      [],
    );
    const order = at(dynamic, 'http', 'routers', 'api', 'middlewares');
    expect(order).toEqual(['without-identity', 'portcullis', 'without-token']);
    expect(Object.keys(at(dynamic, 'http', 'middlewares') as object).toSorted()).toEqual(
      [...(order as string[])].toSorted(),
    );
    const removed = at(dynamic, 'http', 'middlewares', 'without-token', 'headers', 'customRequestHeaders');
    expect(Object.values(removed as object).every((value) => value === '')).toBe(true);
    expect(lower(Object.keys(removed as object)).toSorted()).toEqual([...TOKEN, ...CLAIMS].toSorted());
    expect(lower(at(forwardAuth, 'authRequestHeaders'))).toEqual(expect.arrayContaining(TOKEN));
    // A client's identity in every spelling: all by the entry point, and those with underscores once more by name.
    expect(at(read('traefik/traefik.yaml'), 'entryPoints', 'web', 'http', 'aliasHeadersStrategy')).toBe('delete');
    const dropped = at(dynamic, 'http', 'middlewares', 'without-identity', 'headers', 'customRequestHeaders');
    expect(lower(Object.keys(dropped as object)).toSorted()).toEqual(IDENTITY.flatMap(withUnderscores).toSorted());
    expect(Object.values(dropped as object).every((value) => value === '')).toBe(true);
    const file = String(at(read('traefik/traefik.yaml'), 'providers', 'file', 'filename'));
    expect(file.endsWith('/dynamic.yaml')).toBe(true);
  });

  it('Envoy puts the path behind the prefix, and clients can say nothing that the endpoint believes', () => {
    const manager = at(
      read('envoy/envoy.yaml'),
      'static_resources',
      'listeners',
      0,
      'filter_chains',
      0,
      'filters',
      0,
      'typed_config',
    );
    const filters = at(manager, 'http_filters') as readonly Tree[];
    expect(filters.map((filter) => String(at(filter, 'name')).replace('envoy.filters.http.', ''))).toEqual([
      'header_mutation',
      'ext_authz',
      'router',
    ]);
    const authz = at(filters[1], 'typed_config');
    expect(at(authz, 'failure_mode_allow')).toBe(false);
    expect(at(authz, 'http_service', 'path_prefix')).toBe(DECISION_PATH);
    const exact = (patterns: Tree): string[] => (patterns as readonly Tree[]).map((each) => String(at(each, 'exact')));
    expect(exact(at(authz, 'allowed_headers', 'patterns'))).toEqual(
      expect.arrayContaining(['x-api-key', 'dpop', 'x-forwarded-for', 'x-forwarded-proto']),
    );
    expect(exact(at(authz, 'allowed_headers', 'patterns')).join()).not.toMatch(/x-original|x-forwarded-(?!for|proto)/);
    const answer = at(authz, 'http_service', 'authorization_response');
    expect(exact(at(answer, 'allowed_upstream_headers', 'patterns'))).toEqual(IDENTITY);
    const removed = at(filters[0], 'typed_config', 'mutations', 'request_mutations') as readonly Tree[];
    expect(removed.map((each) => String(at(each, 'remove')))).toEqual(IDENTITY);
    expect([at(manager, 'normalize_path'), at(manager, 'merge_slashes'), at(manager, 'use_remote_address')]).toEqual([
      true,
      true,
      true,
    ]);
    expect(at(manager, 'common_http_protocol_options', 'headers_with_underscores_action')).toBe('REJECT_REQUEST');
    expect(at(manager, 'route_config', 'virtual_hosts', 0, 'request_headers_to_remove')).toEqual(
      expect.arrayContaining([...TOKEN, ...CLAIMS, 'x-forwarded-host', 'x-forwarded-port']),
    );
  });
});

/** With the SDK on both sides: test/e2e/mcp-sdk.test.ts. */
describe('deploy/mcp', () => {
  const mcp = join(ROOT, 'deploy/mcp');
  const files = readdirSync(join(mcp, 'policies')).map((name) => ({
    name,
    text: readFileSync(join(mcp, 'policies', name), 'utf8'),
  }));

  it('loads without a word', async () => {
    const { config, diagnostics } = await loadConfig(join(mcp, 'portcullis.yaml'), {});
    expect(diagnostics).toEqual([]);
    expect(config?.policies).toBe(join(mcp, 'policies'));
    const { policy, diagnostics: more } = compilePolicy(files, { upstreams: new Set(config?.upstreams.keys()) });
    expect(more).toEqual([]);
    expect(policy === null ? null : lintPolicy(policy)).toEqual([]);
  });

  it('passes its own tests', () => {
    const { policy } = compilePolicy(files, { upstreams: null });
    if (policy === null) throw new Error('the policies do not load');
    const tests = files.filter(({ name }) => isPolicyTestFile(name));
    const { results, diagnostics } = runPolicyTests(policy, tests, { canonicalise: canonicalTarget, now: Date.now() });
    expect(diagnostics).toEqual([]);
    expect(results.flatMap(({ name, differences }) => differences.map((each) => `${name}: ${each}`))).toEqual([]);
    expect(results).toHaveLength(6);
  });

  it('shows issuers that would load', async () => {
    const text = readFileSync(join(mcp, 'portcullis.yaml'), 'utf8');
    const shown = text.replace(/^# (?=issuers:| {2}- issuer| {4}\w)/gm, '');
    expect(shown).toContain('\nissuers:\n  - issuer: ');
    expect(parseConfig(shown, join(mcp, 'portcullis.yaml'), {}).diagnostics).toEqual([]);
  });
});

type Tree = unknown;

function at(tree: Tree, ...path: readonly (string | number)[]): Tree {
  return path.reduce<Tree>((node, key) => {
    if (typeof node !== 'object' || node === null || !(key in node)) throw new Error(`there is no ${path.join('.')}`);
    return (node as Record<string | number, Tree>)[key];
  }, tree);
}

/** Every way to write a name with at least one of its hyphens as an underscore. */
function withUnderscores(name: string): string[] {
  const [first = '', ...rest] = name.split('-');
  const spellings = rest.reduce(
    (begun, part) => begun.flatMap((each) => [`${each}-${part}`, `${each}_${part}`]),
    [first],
  );
  return spellings.filter((each) => each !== name);
}

function lower(names: Tree): string[] {
  return (names as readonly string[]).map((name) => name.toLowerCase());
}
