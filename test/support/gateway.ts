import { watch } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { request } from 'undici';
import { loadConfig } from '../../src/config/load.ts';
import { createTokenInStore } from '../../src/main/admin-token.ts';
import { type RunningGateway, startGateway } from '../../src/main/gateway-process.ts';
import { createLogger } from '../../src/metrics/log.ts';

export interface TestGatewayOptions {
  /** Upstream name → URL. */
  readonly upstreams: Readonly<Record<string, string>>;
  /** File name → text. `classes.yaml` has a roomy default. */
  readonly policies: Readonly<Record<string, string>>;
  /** Lines of YAML in place of the defaults, by top-level key, e.g. `{ listen: '{ port: 0, limits: { headers: 20 } }' }`. */
  readonly config?: Readonly<Record<string, string>>;
  /** More YAML for the upstreams, by name. */
  readonly upstreamOptions?: Readonly<Record<string, string>>;
  /** A folder to use (and keep); else a temporary one that goes with the gateway. */
  readonly folder?: string;
  readonly env?: Readonly<Record<string, string>>;
}

export interface AuditLine {
  readonly seq: number;
  readonly type: string;
  readonly outcome: string;
  readonly reason?: string;
  readonly request_id?: string;
  readonly status?: number;
  readonly [member: string]: unknown;
}

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
  readonly problem: { readonly reason?: string; readonly status?: number; readonly detail?: string } | null;
}

const DEFAULT_CLASSES = `classes:
  service: { max_ttl: 90d, default_ttl: 30d, scopes: ["orders:*", "items:*", "corpus", "user", "admin-area"], grace: 24h }
`;

/** The whole product, started from real files in this process, with its admin API and its audit file. */
export class TestGateway {
  readonly folder: string;
  readonly port: number;
  readonly adminPort: number;
  readonly adminToken: string;
  readonly running: RunningGateway;
  readonly #temporary: boolean;

  private constructor(folder: string, temporary: boolean, running: RunningGateway, adminToken: string) {
    this.folder = folder;
    this.#temporary = temporary;
    this.running = running;
    this.port = Number(new URL(running.trafficUrl).port);
    this.adminPort = Number(new URL(running.adminUrl).port);
    this.adminToken = adminToken;
  }

  static async start(options: TestGatewayOptions): Promise<TestGateway> {
    const folder = options.folder ?? (await mkdtemp(join(tmpdir(), 'portcullis-')));
    await writeGatewayFiles(folder, options);
    const { config, diagnostics } = await loadConfig(join(folder, 'portcullis.yaml'), { ...options.env });
    if (config === null) throw new Error(`the test's configuration is wrong: ${JSON.stringify(diagnostics, null, 2)}`);
    const admin = await createTokenInStore(config, {
      name: 'test admin',
      owner: 'tests',
      class: 'admin',
      scopes: ['*'],
      ttlMs: null,
    });
    const running = await startGateway(config, createLogger({ level: process.env['TEST_LOG'] ? 'debug' : 'silent' }));
    return new TestGateway(folder, options.folder === undefined, running, admin.token);
  }

  /** A configuration for another process on the same store and policies, with an audit file of its own. */
  async secondConfig(): Promise<string> {
    const text = await readFile(join(this.folder, 'portcullis.yaml'), 'utf8');
    const file = join(this.folder, 'second.yaml');
    await writeFile(file, text.replace('data/audit.jsonl', 'data/audit-second.jsonl'));
    return file;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  get adminUrl(): string {
    return `http://127.0.0.1:${this.adminPort}`;
  }

  get auditFile(): string {
    return join(this.folder, 'data/audit.jsonl');
  }

  async call(
    path: string,
    options: { method?: string; token?: string; headers?: Record<string, string>; body?: string | Buffer } = {},
  ): Promise<Answer> {
    const headers = {
      ...options.headers,
      ...(options.token === undefined ? {} : { authorization: `Bearer ${options.token}` }),
    };
    return await answerOf(`${this.url}${path}`, { method: options.method ?? 'GET', headers, body: options.body });
  }

  /** A call of the admin API; a body is sent as JSON. */
  async admin(method: string, path: string, body?: unknown, token = this.adminToken): Promise<Answer> {
    const headers: Record<string, string> = { authorization: `Bearer ${token}` };
    if (body !== undefined) headers['content-type'] = 'application/json';
    return await answerOf(`${this.adminUrl}${path}`, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  }

  async issue(fields: Record<string, unknown> = {}): Promise<{ readonly id: string; readonly token: string }> {
    const answer = await this.admin('POST', '/v1/tokens', {
      name: 'test',
      owner: 'tests',
      class: 'service',
      scopes: ['orders:read'],
      ...fields,
    });
    if (answer.status !== 201) throw new Error(`issue answered ${answer.status}: ${answer.text}`);
    return JSON.parse(answer.text) as { id: string; token: string };
  }

  async auditLines(): Promise<AuditLine[]> {
    const text = await readFile(this.auditFile, 'utf8');
    // The last line may be in the middle of being written.
    return text
      .slice(0, text.lastIndexOf('\n') + 1)
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as AuditLine);
  }

  /** The first audit event that fits, as soon as it is in the file. */
  async event(fits: (line: AuditLine) => boolean, timeoutMs = 10_000): Promise<AuditLine> {
    const changes = watch(this.auditFile);
    try {
      return await new Promise<AuditLine>((resolve, reject) => {
        const timer = setTimeout(() => {
          void this.auditLines().then((lines) =>
            reject(
              new Error(`no such audit event in ${timeoutMs} ms; the last ones: ${JSON.stringify(lines.slice(-5))}`),
            ),
          );
        }, timeoutMs);
        const look = (): void => {
          this.auditLines().then((lines) => {
            const found = lines.find(fits);
            if (found === undefined) return;
            clearTimeout(timer);
            resolve(found);
          }, reject);
        };
        changes.on('change', look);
        look();
      });
    } finally {
      changes.close();
    }
  }

  async eventOf(answer: Answer): Promise<AuditLine> {
    const id = answer.headers['portcullis-request-id'];
    return await this.event((line) => line.request_id === id && line.type.startsWith('access.'));
  }

  /** Sum over the series that fit; NaN where none does. */
  async metric(pattern: RegExp): Promise<number> {
    const { text } = await answerOf(`${this.adminUrl}/metrics`, { method: 'GET', headers: {} });
    const values = text
      .split('\n')
      .filter((line) => pattern.test(line))
      .map((line) => Number(line.slice(line.lastIndexOf(' ') + 1)));
    return values.length === 0 ? Number.NaN : values.reduce((sum, value) => sum + value, 0);
  }

  async close(graceMs?: number): Promise<void> {
    await this.running.close(graceMs);
    if (this.#temporary) await rm(this.folder, { recursive: true, force: true });
  }
}

/** Writes `portcullis.yaml` and `policies/` as the options say. */
export async function writeGatewayFiles(folder: string, options: TestGatewayOptions): Promise<void> {
  await mkdir(join(folder, 'policies'), { recursive: true });
  const policies = { 'classes.yaml': DEFAULT_CLASSES, ...options.policies };
  for (const [name, text] of Object.entries(policies)) await writeFile(join(folder, 'policies', name), text);
  const upstreams = Object.entries(options.upstreams)
    .map(([name, url]) => {
      const more = options.upstreamOptions?.[name];
      return `  ${name}: { url: "${url}"${more === undefined ? '' : `, ${more}`} }`;
    })
    .join('\n');
  const keys: Record<string, string> = {
    environment: 'test',
    listen: '{ host: 127.0.0.1, port: 0 }',
    admin: '{ host: 127.0.0.1, port: 0 }',
    store: '{ kind: embedded, path: ./data }',
    policies: './policies',
    audit: '{ sinks: [ { kind: file, path: ./data/audit.jsonl } ] }',
    ...options.config,
  };
  const lines = Object.entries(keys).map(([key, value]) => `${key}: ${value}`);
  await writeFile(join(folder, 'portcullis.yaml'), `${lines.join('\n')}\nupstreams:\n${upstreams}\n`);
}

async function answerOf(
  url: string,
  options: { method: string; headers: Record<string, string>; body?: string | Buffer },
): Promise<Answer> {
  const response = await request(url, options);
  const text = await response.body.text();
  const type = String(response.headers['content-type'] ?? '');
  return {
    status: response.statusCode,
    headers: response.headers,
    text,
    problem: type.startsWith('application/problem+json') ? (JSON.parse(text) as Answer['problem']) : null,
  };
}
