import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { PEER_TOKEN } from '../answer.ts';
import { type Bench, SERVER_CORE } from '../bench.ts';
import { findProgram, freePort, type Started } from '../processes.ts';
import type { Upstream } from '../upstream.ts';
import { caddyfile } from './caddy.ts';
import { LUA_MODULES, luaConf, proxyConf } from './nginx.ts';

/** A peer that runs. */
export interface Peer {
  readonly name: PeerName;
  readonly process: Started;
  readonly url: string;
}

export type PeerName = 'nginx' | 'nginx-lua' | 'caddy' | 'node-undici' | 'fastify-http-proxy' | 'http-proxy-3';

/** What is missing, and what to do about it. */
export interface MissingPeer {
  readonly name: PeerName;
  readonly missing: string;
}

const INSTALL_NODE_PEERS = 'npm ci --prefix bench/peers';

/** Starts one peer before the upstream, or says what it lacks. */
export async function startPeer(bench: Bench, name: PeerName, upstream: Upstream): Promise<Peer | MissingPeer> {
  const missing = lacking(name);
  if (missing !== null) return { name, missing };
  const port = await freePort();
  try {
    const process = await STARTERS[name](bench, port, upstream.port);
    return { name, process, url: `http://127.0.0.1:${port}` };
  } catch (error) {
    // The others can be measured without it.
    const [line = ''] = (error instanceof Error ? error.message : String(error)).trim().split('\n').slice(-1);
    return { name, missing: `it does not start (${line})` };
  }
}

export function isMissing(peer: Peer | MissingPeer): peer is MissingPeer {
  return 'missing' in peer;
}

/** Null when all that it needs is there. */
export function lacking(name: PeerName): string | null {
  // Of the product's own dependencies.
  if (name === 'node-undici') return null;
  if (name === 'caddy') return findProgram('caddy') === null ? 'apt-get install caddy' : null;
  if (name === 'fastify-http-proxy' || name === 'http-proxy-3') {
    const folder = name === 'http-proxy-3' ? name : '@fastify/http-proxy';
    return existsSync(join(import.meta.dirname, 'node_modules', folder)) ? null : INSTALL_NODE_PEERS;
  }
  if (findProgram('nginx') === null) return 'apt-get install nginx';
  return name === 'nginx' || LUA_MODULES.every((file) => existsSync(file))
    ? null
    : 'apt-get install libnginx-mod-http-lua';
}

type Starter = (bench: Bench, port: number, upstream: number) => Promise<Started>;

const STARTERS: Readonly<Record<PeerName, Starter>> = {
  nginx: (bench, port, upstream) =>
    startNginx(bench, 'nginx', (folder) => proxyConf({ folder, port, upstream }), SERVER_CORE),
  'nginx-lua': (bench, port, upstream) =>
    startNginx(bench, 'nginx-lua', (folder) => luaConf({ folder, port, upstream, token: PEER_TOKEN }), SERVER_CORE),
  caddy: async (bench, port, upstream) => {
    const file = join(bench.folder, 'Caddyfile');
    writeFileSync(file, caddyfile({ port, upstream }));
    const env = { GOMAXPROCS: '1', XDG_DATA_HOME: bench.folder, XDG_CONFIG_HOME: bench.folder };
    const args = ['run', '--config', file, '--adapter', 'caddyfile'];
    return await bench.processes.start('caddy', args, {
      core: SERVER_CORE,
      env,
      ready: /serving initial configuration/,
    });
  },
  'node-undici': (bench, port, upstream) => startNode(bench, 'node-undici.js', [port, upstream]),
  'fastify-http-proxy': (bench, port, upstream) => startNode(bench, 'fastify-http-proxy.js', [port, upstream]),
  'http-proxy-3': (bench, port, upstream) => startNode(bench, 'http-proxy-3.js', [port, upstream, PEER_TOKEN]),
};

/** nginx in the foreground, from a folder of its own that its worker (another user, when root starts it) can read. */
export async function startNginx(
  bench: Bench,
  name: string,
  conf: (folder: string) => string,
  core: number,
): Promise<Started> {
  const folder = join(bench.publicFolder, name);
  mkdirSync(folder, { recursive: true, mode: 0o755 });
  const file = join(folder, 'nginx.conf');
  writeFileSync(file, conf(folder));
  const program = findProgram('nginx') ?? 'nginx';
  return await bench.processes.start(program, ['-p', folder, '-e', 'stderr', '-c', file], {
    core,
    ready: /start worker process \d+/,
  });
}

function startNode(bench: Bench, script: string, args: readonly (string | number)[]): Promise<Started> {
  const file = join(import.meta.dirname, script);
  const options = { core: SERVER_CORE, ready: /^ready$/m, env: { NODE_ENV: 'production' } };
  return bench.processes.start(process.execPath, [file, ...args.map(String)], options);
}
