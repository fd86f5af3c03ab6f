import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { type ClientRequest, IncomingMessage } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'vitest';
import { EventStreams } from '../../src/admin/event-streams.ts';
import type { AdminOptions, PolicySource } from '../../src/admin/options.ts';
import { PROBLEM_CONTENT_TYPE } from '../../src/admin/problem.ts';
import { publicRoutes } from '../../src/admin/routes/operations.ts';
import { adminRoutes } from '../../src/admin/routes/table.ts';
import { createAdminServer } from '../../src/admin/server.ts';
import { openAuditLog } from '../../src/audit/open.ts';
import type { Clock } from '../../src/base/clock.ts';
import type { Diagnostic } from '../../src/base/diagnostic.ts';
import { canonicalTarget } from '../../src/gateway/canonical-path.ts';
import type { Actor, LifecycleContext } from '../../src/lifecycle/context.ts';
import { Generations } from '../../src/lifecycle/generations.ts';
import { type IssueRequest, issueToken } from '../../src/lifecycle/issue.ts';
import { createLogger } from '../../src/metrics/log.ts';
import { createMetrics } from '../../src/metrics/recorder.ts';
import type { CompiledPolicy } from '../../src/policy/compiled-policy.ts';
import { loadPolicyFolder } from '../../src/policy/load.ts';
import { openEmbeddedStore } from '../../src/store/sqlite/embedded-store.ts';
import type { Store, TokenUse } from '../../src/store/token-store.ts';
import { createAuthenticator } from '../../src/token/authenticate.ts';

export const POLICIES = {
  'orders.yaml': `
api: orders
upstream: orders
base: /orders
rules:
  - name: read orders
    methods: [GET]
    path: /
    scopes: [orders:read]
    when: { ip: [10.0.0.0/8] }
  - name: write orders
    methods: [POST]
    path: /
    scopes: [orders:write]
  - name: health
    path: /health
    public: true
`,
  'roles.yaml': `
roles:
  support: { scopes: [orders:read] }
  operator: { scopes: ['portcullis:tokens:*', 'portcullis:status:read'] }
`,
  'classes.yaml': `
classes:
  admin: { max_ttl: 30d, default_ttl: 1d, scopes: ['*'] }
  service: { max_ttl: 90d, default_ttl: 30d, scopes: ['orders:*', 'portcullis:*'], grace: 24h }
`,
} as const;

const OPERATOR: Actor = { tokenId: null, name: 'break-glass', scopes: ['*'], roles: [], class: 'admin' };

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  // biome-ignore lint/suspicious/noExplicitAny: answers are compared member by member; a wrong shape fails the comparison
  readonly json: any;
}

export interface Request {
  readonly token?: string | null;
  readonly json?: unknown;
  readonly form?: Readonly<Record<string, string>> | string;
  readonly body?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** A real admin listener over a real embedded store, audit file and policy folder. */
export interface Harness {
  readonly url: string;
  readonly port: number;
  readonly store: Store;
  readonly options: AdminOptions;
  readonly auditFile: string;
  readonly policyFolder: string;
  /** A token of class `admin` with scope `*`. */
  readonly root: string;
  readonly rootId: string;
  readonly uses: readonly TokenUse[];
  /** Every line of the log. */
  readonly logged: readonly string[];
  /** Every answer text so far, with its request's path. */
  readonly answers: readonly { readonly path: string; readonly text: string }[];
  call(method: string, path: string, request?: Request): Promise<Answer>;
  /** Issues a token directly, as the operator at the machine. */
  issue(request?: Partial<IssueRequest>): Promise<{ readonly token: string; readonly id: string }>;
  advance(milliseconds: number): void;
  auditEvents(): Promise<readonly Record<string, unknown>[]>;
  close(): Promise<void>;
}

export async function startAdmin(
  change: (options: AdminOptions) => AdminOptions = (options) => options,
): Promise<Harness> {
  const folder = await mkdtemp(join(tmpdir(), 'portcullis-admin-'));
  const policyFolder = join(folder, 'policies');
  await mkdir(policyFolder);
  for (const [name, text] of Object.entries(POLICIES)) await writeFile(join(policyFolder, name), text);
  const auditFile = join(folder, 'audit.jsonl');
  let offset = 0;
  const clock: Clock = { now: () => Date.now() + offset, monotonic: () => performance.now() };
  const logged: string[] = [];
  const log = createLogger({ level: 'debug', destination: { write: (line) => void logged.push(line) } });
  const metrics = createMetrics({ defaults: false });
  const store = openEmbeddedStore({ path: join(folder, 'store') });
  const audit = await openAuditLog({ sinks: [{ kind: 'file', path: auditFile }], onFull: 'drop', clock, metrics });
  const policy = new FolderPolicy(policyFolder, clock);
  const loaded = await policy.reload();
  if (!loaded.ok) throw new Error(loaded.diagnostics.map(({ message }) => message).join('\n'));
  const tokens = { prefix: 'pct', environment: 'test', pepper: null };
  const lifecycle: LifecycleContext = {
    store,
    audit,
    clock,
    metrics,
    tokens,
    policy: () => policy.current(),
    propagate: async (ids, kind) => {
      let closed = 0;
      for (const id of ids) {
        closed += kind === 'revoked' ? server.events.closeToken(id) : await server.events.review(id);
      }
      return { replicas: 1, acknowledged: 1, streams_closed: closed, elapsed_ms: 0 };
    },
  };
  const authenticator = createAuthenticator({ ...tokens, store });
  const uses: TokenUse[] = [];
  const options = change({
    version: '1.2.3',
    environment: 'test',
    store,
    lifecycle,
    authenticate: (credential, now) => authenticator.authenticate(credential, now),
    identify: null,
    policy,
    canonicalise: canonicalTarget,
    audit,
    auditFiles: [auditFile],
    metricsText: (accept) => metrics.text(metrics.contentTypeFor(accept)),
    status: () => ({
      startedAt: clock.now() - 5000,
      store: { kind: 'embedded', up: true },
      lease: null,
      replicas: 1,
      draining: false,
    }),
    ready: () => ({ ready: true, reasons: [] }),
    uses: { note: (use) => void uses.push(use) },
    generations: new Generations(lifecycle, (error) => logged.push(String(error))),
    vouchesFor: () => true,
    clock,
    log,
  });
  const server = createAdminServer(options);
  const { url, port } = await server.listen('127.0.0.1', 0);
  const answers: { path: string; text: string }[] = [];
  const conforms = documentation(options);

  const issue: Harness['issue'] = async (request = {}) => {
    const issued = await issueToken(lifecycle, OPERATOR, {
      name: 'a token',
      owner: 'team-a',
      class: 'service',
      scopes: ['orders:read'],
      ...request,
    });
    if (!issued.ok) throw new Error(JSON.stringify(issued.error));
    return { token: issued.value.token, id: issued.value.stored.record.id };
  };
  const root = await issue({ name: 'root', class: 'admin', scopes: ['*'] });

  return {
    url,
    port,
    store,
    options,
    auditFile,
    policyFolder,
    root: root.token,
    rootId: root.id,
    uses,
    logged,
    answers,
    issue,
    call: async (method, path, request = {}) => {
      const response = await fetch(`${url}${path}`, {
        method,
        headers: headersOf(request, root.token),
        body: bodyOf(request),
      });
      const text = await response.text();
      answers.push({ path, text });
      const isJson = /json/.test(response.headers.get('content-type') ?? '');
      const answer: Answer = {
        status: response.status,
        headers: response.headers,
        text,
        json: isJson && text !== '' ? JSON.parse(text) : null,
      };
      conforms(method, path, answer);
      return answer;
    },
    advance: (milliseconds) => {
      offset += milliseconds;
    },
    auditEvents: async () => {
      // What was recorded before is written before.
      await audit.recordDurably({ type: 'config.loaded', outcome: 'success' });
      const lines = (await readFile(auditFile, 'utf8')).split('\n').filter((line) => line !== '');
      return lines
        .map((line): Record<string, unknown> => JSON.parse(line))
        .filter(({ type }) => type !== 'config.loaded' && !String(type).startsWith('chain.'));
    },
    close: async () => {
      await server.close();
      await audit.close();
      await store.close();
      metrics.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Every answer of every test has to be one that the API's description announces, member by member. */
function documentation(options: AdminOptions): (method: string, path: string, answer: Answer) => void {
  const calls = adminRoutes(options, new EventStreams(options.audit, options.log));
  const open = publicRoutes(options, calls);
  return (method, path, answer) => {
    expect(answer.headers.get('portcullis-request-id')).toMatch(/^[0-9a-f-]{36}$/);
    expect(answer.headers.get('cache-control')).toBe('no-store');
    expect(answer.headers.get('access-control-allow-origin')).toBeNull();
    if (method === 'HEAD') return;
    const pathname = path.split('?')[0] ?? '';
    const matches = (route: { path: string; method: string }): boolean =>
      route.method === method && new RegExp(`^${route.path.replace('{id}', '[^/]+')}$`).test(pathname);
    const described = [...calls, ...open].find(matches)?.answers[answer.status];
    if (described === undefined) {
      expect(answer.headers.get('content-type')).toBe(PROBLEM_CONTENT_TYPE);
      expect(answer.json).toMatchObject({
        type: `urn:portcullis:reason:${answer.json.reason}`,
        title: expect.any(String),
        status: answer.status,
        detail: expect.any(String),
        request_id: answer.headers.get('portcullis-request-id'),
      });
      return;
    }
    expect(answer.headers.get('content-type')).toMatch(described.contentType ?? /^application\/json$/);
    if (answer.json !== null) described.schema?.parse(answer.json);
  };
}

/** The response of a request of node:http, whose body the caller reads. */
export async function responseTo(request: ClientRequest): Promise<IncomingMessage> {
  const [response] = await once(request, 'response');
  if (!(response instanceof IncomingMessage)) throw new Error('no response');
  return response;
}

function headersOf(request: Request, root: string): Record<string, string> {
  const token = request.token === undefined ? root : request.token;
  return {
    ...(token === null ? {} : { authorization: `Bearer ${token}` }),
    ...(request.json === undefined ? {} : { 'content-type': 'application/json' }),
    ...(request.form === undefined ? {} : { 'content-type': 'application/x-www-form-urlencoded' }),
    ...request.headers,
  };
}

function bodyOf(request: Request): string | undefined {
  if (request.json !== undefined) return JSON.stringify(request.json);
  if (request.form !== undefined) return new URLSearchParams(request.form).toString();
  return request.body;
}

class FolderPolicy implements PolicySource {
  readonly #folder: string;
  readonly #clock: Clock;
  #current: CompiledPolicy | null = null;
  #loadedAt: number | null = null;
  #lastError: readonly Diagnostic[] | null = null;

  constructor(folder: string, clock: Clock) {
    this.#folder = folder;
    this.#clock = clock;
  }

  current(): CompiledPolicy | null {
    return this.#current;
  }

  state(): ReturnType<PolicySource['state']> {
    return { loadedAt: this.#loadedAt, lastError: this.#lastError };
  }

  async reload(): ReturnType<PolicySource['reload']> {
    const { policy, diagnostics } = await loadPolicyFolder(this.#folder, { upstreams: new Set(['orders']) });
    this.#lastError = policy === null ? diagnostics : null;
    if (policy === null) return { ok: false, diagnostics };
    this.#current = policy;
    this.#loadedAt = this.#clock.now();
    return { ok: true, policy };
  }

  hits(): ReadonlyMap<string, number> {
    return new Map([['orders/read orders', 7]]);
  }
}
