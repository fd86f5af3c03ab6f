import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ANSWER, LARGE_BYTES } from './answer.ts';
import { type Bench, LOAD_CORE } from './bench.ts';
import { upstreamConf } from './peers/nginx.ts';
import { lacking, startNginx } from './peers/start.ts';
import { freePort, type Started } from './processes.ts';

/** What stands behind the gateway and its peers. */
export interface Upstream {
  readonly process: Started;
  readonly port: number;
  readonly url: string;
}

/** nginx answering by itself, or null where it is not installed. */
export async function startUpstream(bench: Bench, core = LOAD_CORE): Promise<Upstream | null> {
  if (lacking('nginx') !== null) return null;
  const port = await freePort();
  const process = await startNginx(
    bench,
    `upstream-${port}`,
    (folder) => {
      mkdirSync(folder, { recursive: true });
      writeFileSync(join(folder, 'large'), Buffer.alloc(LARGE_BYTES, 'large answer '), { mode: 0o644 });
      return upstreamConf({ folder, port, answer: ANSWER });
    },
    core,
  );
  return { process, port, url: `http://127.0.0.1:${port}` };
}

/** Takes WebSockets and says nothing on them. */
export async function startSilentWebSockets(bench: Bench): Promise<Upstream> {
  const port = await freePort();
  const file = join(import.meta.dirname, 'silent-websockets.ts');
  const process_ = await bench.processes.start(process.execPath, [file, String(port)], {
    core: LOAD_CORE,
    ready: /^ready$/m,
  });
  return { process: process_, port, url: `http://127.0.0.1:${port}` };
}
