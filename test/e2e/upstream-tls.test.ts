import { readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join, resolve } from 'node:path';
import { getCACertificates, setDefaultCACertificates, type TLSSocket } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type SingleApi, startSingleApi } from '../support/single-api.ts';

const FIXTURES = resolve(import.meta.dirname, '../fixtures/tls');
const cert = readFileSync(join(FIXTURES, 'server.crt'), 'utf8');
const key = readFileSync(join(FIXTURES, 'server.key'), 'utf8');

describe('an upstream behind TLS', () => {
  const known = getCACertificates('default');
  const names: (string | false | null)[] = [];
  let server: Server;
  let port: number;
  let connections = 0;

  beforeAll(async () => {
    server = createServer({ cert, key }, (request, response) => {
      names.push((request.socket as TLSSocket).servername ?? null);
      const parts: Buffer[] = [];
      request.on('data', (part: Buffer) => parts.push(part));
      request.on('end', () => response.end(`${request.headers.host} ${Buffer.concat(parts).length}`));
    });
    server.on('connection', () => {
      connections += 1;
    });
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    ({ port } = server.address() as AddressInfo);
  });

  afterAll(() => {
    setDefaultCACertificates(known);
    server.closeAllConnections();
    server.close();
  });

  async function using<T>(options: string, use: (api: SingleApi) => Promise<T>): Promise<T> {
    const api = await startSingleApi(`https://localhost:${port}`, { upstream: options });
    try {
      return await use(api);
    } finally {
      await api.gateway.close(0);
    }
  }

  it('whose certificate nobody vouches for gets no request', async () => {
    await using('response_timeout: 5s', async ({ gateway, token }) => {
      const answer = await gateway.call('/x', { token });
      expect([answer.status, answer.problem?.reason]).toEqual([502, 'upstream_invalid']);
    });
    expect(names).toEqual([]);
  });

  it('gets requests over connections that are used again, by its own name even where the client’s Host is kept', async () => {
    setDefaultCACertificates([...known, cert]);
    connections = 0;
    await using('preserve_host: true', async ({ gateway, token }) => {
      const first = await gateway.call('/x', { token, headers: { host: 'shop.example' } });
      const second = await gateway.call('/x', { token, method: 'POST', body: 'b'.repeat(300_000) });
      expect([first.text, second.text.split(' ')[1]]).toEqual(['shop.example 0', '300000']);
    });
    expect({ names: [...new Set(names)], connections }).toEqual({ names: ['localhost'], connections: 1 });
  });
});
