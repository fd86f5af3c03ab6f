import { readFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Bench, ROOT, SERVER_CORE } from './bench.ts';
import type { Started } from './processes.ts';

const PROGRAM = join(ROOT, 'bin/portcullis.js');

export interface GatewaySettings {
  /** Unique within the bench: names its folder. */
  readonly name: string;
  /** `redis://…`; null: the embedded store. */
  readonly redisUrl: string | null;
  readonly upstreamUrl: string;
  readonly workers?: number;
  /** Rules beside the ones that are loaded. */
  readonly moreRules?: number;
  /** YAML of the section `issuers`. */
  readonly issuers?: string;
  /** Called with the folder's configuration before the gateway starts. */
  readonly prepare?: (configFile: string) => Promise<void>;
}

/** A gateway that runs as an operator runs it: policies, metrics, an audit file, a store. */
export interface BenchGateway {
  readonly process: Started;
  readonly url: string;
  readonly adminUrl: string;
  /** A token with `items:read` and `items:write`. */
  readonly token: string;
  issue(scopes: readonly string[]): Promise<string>;
}

export const ENVIRONMENT = 'bench';

export async function startGateway(bench: Bench, settings: GatewaySettings): Promise<BenchGateway> {
  const configFile = await writeGatewayFiles(bench, settings);
  await settings.prepare?.(configFile);
  const adminTokenFile = join(bench.folder, settings.name, 'admin.token');
  const once = { core: null };
  await bench.processes.run(PROGRAM, ['admin-token', '--config', configFile, '--out', adminTokenFile], once);
  const adminToken = readFileSync(adminTokenFile, 'utf8').trim();
  const process = await bench.processes.start(PROGRAM, ['serve', '--config', configFile], {
    core: SERVER_CORE,
    ready: /admin on http\S+\n/,
  });
  const [, url = ''] = await process.said(/traffic on (http\S+)/);
  const [, adminUrl = ''] = await process.said(/admin on (http\S+)/);
  const issue = (scopes: readonly string[]): Promise<string> => issueToken(adminUrl, adminToken, scopes);
  return { process, url, adminUrl, token: await issue(['items:read', 'items:write']), issue };
}

/** What is wrong with such a gateway, in the program's own words; null when it would start. */
export async function refusedSettings(bench: Bench, settings: GatewaySettings): Promise<string | null> {
  const configFile = await writeGatewayFiles(bench, settings);
  const check = await bench.processes.start(PROGRAM, ['config', 'check', '--config', configFile], { core: null });
  const [status] = await new Promise<[number | null]>((resolve) =>
    check.child.once('close', (code) => resolve([code])),
  );
  return status === 0
    ? null
    : (check.output.split('\n').find((line) => line.includes('workers')) ?? check.output.trim());
}

async function writeGatewayFiles(bench: Bench, settings: GatewaySettings): Promise<string> {
  const folder = join(bench.folder, settings.name);
  await mkdir(join(folder, 'policies'), { recursive: true });
  await writeFile(join(folder, 'policies', 'items.yaml'), policyText(settings.moreRules ?? 0));
  await writeFile(join(folder, 'policies', 'classes.yaml'), CLASSES);
  const file = join(folder, 'portcullis.yaml');
  await writeFile(file, configText(settings));
  return file;
}

const CLASSES = `classes:
  service: { max_ttl: 90d, default_ttl: 30d, scopes: ["items:*"] }
`;

function configText({ redisUrl, upstreamUrl, workers, issuers, name }: GatewaySettings): string {
  // The prefix keeps the gateways of one bench apart on one Redis.
  const store =
    redisUrl === null ? '{ kind: embedded, path: ./data }' : `{ kind: redis, url: "${redisUrl}", key_prefix: ${name} }`;
  return `environment: ${ENVIRONMENT}
listen: { host: 127.0.0.1, port: 0 }
admin: { host: 127.0.0.1, port: 0 }
${workers === undefined ? '' : `workers: ${workers}\n`}store: ${store}
${issuers === undefined ? '' : `issuers: ${issuers}\n`}upstreams:
  items: { url: "${upstreamUrl}" }
policies: ./policies
audit: { sinks: [ { kind: file, path: ./data/audit.jsonl } ] }
`;
}

/** Ten rules and more; those that are used stand in the middle of them. */
export function policyText(moreRules: number): string {
  const others = (from: number, to: number): string[] =>
    Array.from({ length: Math.max(0, to - from) }, (_, i) => {
      const n = String(from + i).padStart(4, '0');
      return `  - { name: other ${n}, methods: [GET], path: "/other-${n}/{id}", scopes: ["items:read"] }`;
    });
  const half = Math.floor(moreRules / 2);
  return `${[
    'api: items',
    'upstream: items',
    'rules:',
    ...others(0, half + 2),
    '  - { name: list, methods: [GET, HEAD], path: /items, scopes: ["items:read"] }',
    '  - { name: one, methods: [GET], path: "/items/{id}", scopes: ["items:read"] }',
    '  - { name: large, methods: [GET], path: /large, scopes: ["items:read"] }',
    '  - { name: upload, methods: [POST], path: /upload, scopes: ["items:write"] }',
    '  - { name: socket, methods: [GET], path: /socket, scopes: ["items:read"] }',
    '  - { name: purge, methods: [GET], path: /purge, scopes: ["items:purge"] }',
    ...others(half + 2, moreRules + 4),
  ].join('\n')}\n`;
}

async function issueToken(adminUrl: string, adminToken: string, scopes: readonly string[]): Promise<string> {
  const response = await fetch(`${adminUrl.replace(/\/$/, '')}/v1/tokens`, {
    method: 'POST',
    headers: { authorization: `Bearer ${adminToken}`, 'content-type': 'application/json' },
    body: JSON.stringify({ name: 'bench', owner: 'bench', class: 'service', scopes }),
  });
  const text = await response.text();
  if (response.status !== 201) throw new Error(`the admin API answered ${response.status}: ${text}`);
  const { token } = JSON.parse(text) as { token: string };
  return token;
}

/** As wrk takes it. */
export function bearer(token: string): string {
  return `authorization: Bearer ${token}`;
}
