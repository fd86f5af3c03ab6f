import { once } from 'node:events';
import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { request } from 'undici';
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest';
import { verifyAuditFiles } from '../../src/audit/verify-files.ts';
import { runProgram } from '../support/gateway-program.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { WorkerFleet } from '../support/worker-fleet.ts';

/** For what has to come, on a machine that is slow and busy. */
const SOON = { timeout: 60_000, interval: 50 };

const isAlive = (pid: number): boolean => {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
};

const areGone = (pids: readonly number[]): Promise<void> =>
  vi.waitFor(() => expect(pids.filter(isAlive)).toEqual([]), SOON);

describe.each(['embedded', 'redis'])('two workers on the %s store', { timeout: 120_000 }, (store) => {
  let redis: RedisServer | null = null;
  let fleet: WorkerFleet;

  beforeAll(async () => {
    if (store === 'redis') redis = await startRedis();
    fleet = await WorkerFleet.prepare({
      store:
        redis === null
          ? '{ kind: embedded, path: ./data }'
          : `{ kind: redis, url: "redis://127.0.0.1:${redis.port}/0" }`,
      audit: '{ sinks: [ { kind: file, path: ./data/audit.jsonl }, { kind: stdout } ] }',
    });
    await fleet.serve();
  }, 120_000);

  afterAll(async () => {
    await fleet?.close();
    await redis?.stop();
  });

  it('share one address, and are one gateway to whoever looks at it', async () => {
    const { token } = await fleet.issue();
    const before = await fleet.metric('portcullis_requests_total');
    const asked = fleet.upstream.seen.length;
    const connections = (await fleet.connections(token, 2)).flat();
    for (let round = 0; round < 5; round += 1) {
      expect(await Promise.all(connections.map((each) => each.get()))).toEqual([200, 200, 200, 200]);
    }
    for (const each of connections) each.close();
    // The client has its answer a moment before it is counted.
    const sent = fleet.upstream.seen.length - asked;
    await vi.waitFor(async () => expect(await fleet.metric('portcullis_requests_total')).toBe(before + sent), SOON);
    expect(sent).toBeGreaterThanOrEqual(24);
    expect(await fleet.metric('portcullis_store_lease_valid')).toBe(1);
    const policies = JSON.parse((await fleet.admin('GET', '/v1/policies')).text);
    expect(policies.apis[0].rules[0].hits).toBe(before + sent);
    const status = JSON.parse((await fleet.admin('GET', '/v1/status')).text);
    expect(status).toMatchObject({ replicas: 2, lease: { valid: true }, workers: [{ worker: 1 }, { worker: 2 }] });
    expect(status.workers.map(({ pid }: { pid: number }) => pid)).not.toContain(fleet.program.child.pid);
    expect((await fleet.admin('GET', '/readyz')).text).toBe('{"ready":true,"reasons":[]}');
    const query = await fleet.admin('GET', '/v1/audit?type=access&limit=1000');
    expect(JSON.parse(query.text).events).toHaveLength(before + sent);
  });

  it('refuse a revoked token on both, and have closed what is open on both, when the call returns', async () => {
    const { id, token } = await fleet.issue();
    const of = await fleet.connections(token, 2);
    const [streaming, others] = [of.map(([first]) => first), of.map(([, second]) => second)];
    const streams = await Promise.all(streaming.map((each) => each?.stream('/orders/events')));
    const { text } = await fleet.admin('POST', `/v1/tokens/${id}/revoke`, { reason: 'test' });
    expect(JSON.parse(text).propagation).toMatchObject({ replicas: 2, acknowledged: 2, streams_closed: 2 });
    expect(await Promise.all(others.map((each) => each?.get()))).toEqual([401, 401]);
    await Promise.all(streams.map((stream) => stream?.closed));
    for (const each of of.flat()) each.close();
  });

  it('tell the events of both to who follows one of them', async () => {
    const { token } = await fleet.issue();
    const { body } = await request(`${fleet.program.adminUrl}/v1/events`, {
      headers: { authorization: `Bearer ${fleet.adminToken}` },
    });
    onTestFinished(() => void body.destroy());
    body.on('error', () => undefined);
    let events = '';
    body.on('data', (chunk: Buffer) => {
      events += chunk.toString();
    });
    await once(body, 'data');
    const of = await fleet.connections(token, 1);
    for (const [worker, connections] of of.entries()) {
      await vi.waitFor(async () => {
        await connections[0]?.get(`/orders/of-${worker + 1}`);
        expect(events).toContain(`"path":"/orders/of-${worker + 1}"`);
      }, SOON);
      connections[0]?.close();
    }
  });

  it('replace one that is killed under load; the others lose nothing, and the trail holds', async () => {
    const { token } = await fleet.issue();
    const of = await fleet.connections(token, 3);
    const victim = (await fleet.workers()).find(({ worker }) => worker === 2);
    const counted = await fleet.metric('portcullis_requests_total');
    let loading = true;
    const load = of.map((connections) =>
      connections.map(async (each) => {
        const failures: unknown[] = [];
        while (loading) {
          const answer = await each.get();
          if (answer !== 200) failures.push(answer);
          await new Promise((resolve) => setTimeout(resolve, 10));
        }
        return failures;
      }),
    );
    const asked = fleet.upstream.seen.length;
    await vi.waitFor(() => expect(fleet.upstream.seen.length).toBeGreaterThan(asked + 50), SOON);
    process.kill(victim?.pid ?? 0, 'SIGKILL');
    await vi.waitFor(async () => {
      const now = (await fleet.workers()).find(({ worker }) => worker === 2);
      expect(now?.pid).toSatisfy((pid: unknown) => typeof pid === 'number' && pid !== victim?.pid);
    }, SOON);
    loading = false;
    const [first, second] = await Promise.all(load.map((each) => Promise.all(each)));
    expect(first?.flat()).toEqual([]);
    // One failure for each connection that the dead one had, at most; then the client was on a new one.
    for (const failures of second ?? []) expect(failures.length).toBeLessThanOrEqual(1);
    for (const each of of.flat()) each.close();
    expect(await fleet.metric('portcullis_requests_total')).toBeGreaterThanOrEqual(counted);
    expect((await fleet.admin('GET', '/readyz')).status).toBe(200);
    // The new one takes its share, in the chain of the one before.
    for (const each of (await fleet.connections(token, 1)).flat()) each.close();
    expect(fleet.log).toContain('"worker":0,"ended_worker":2');
    expect((await verifyAuditFiles([1, 2].map((worker) => fleet.auditFile(worker)))).problems).toEqual([]);
  });

  it('finish what is in flight on both when they are told to end, and end with 0', async () => {
    const { token } = await fleet.issue();
    const of = (await fleet.connections(token, 1)).flat();
    const pids = (await fleet.workers()).map(({ pid }) => pid);
    let printed = '';
    fleet.program.child.stdout?.on('data', (chunk: Buffer) => {
      printed += chunk.toString();
    });
    const answers = of.map((each) => each.get('/orders/held'));
    await vi.waitFor(() => expect(fleet.held).toHaveLength(2), SOON);
    fleet.program.child.kill('SIGTERM');
    await vi.waitFor(() => expect(fleet.log.split('"draining"').length - 1).toBe(3), SOON);
    for (const release of fleet.held.splice(0)) release();
    expect(await Promise.all(answers)).toEqual([200, 200]);
    expect(await fleet.program.exited).toEqual({ code: 0, signal: null });
    await areGone(pids);
    for (const each of of) each.close();

    const { problems, chains } = await verifyAuditFiles([1, 2].map((worker) => fleet.auditFile(worker)));
    expect([problems, chains.map(({ closed }) => closed)]).toEqual([[], [true, true]]);
    // Both wrote to one stdout: what was seen of it begins somewhere, and then there are whole lines of two chains.
    const lines = printed.slice(printed.indexOf('\n') + 1).split('\n');
    expect(lines.pop()).toBe('');
    const ends = lines.map((line) => JSON.parse(line)).filter(({ details }) => details?.final === true);
    expect(new Set(ends.map(({ details }) => details.chain)).size).toBe(2);
    const logged = fleet.log
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line).worker);
    expect(new Set(logged)).toEqual(new Set([0, 1, 2]));
  });
});

describe('a gateway of two workers', { timeout: 120_000 }, () => {
  let fleet: WorkerFleet;

  beforeAll(async () => {
    fleet = await WorkerFleet.prepare({});
    await fleet.serve();
  }, 120_000);

  afterAll(() => fleet?.close());

  it('goes on with one while the other cannot be started, and tries again', async () => {
    const { token } = await fleet.issue();
    const policies = join(fleet.folder, 'policies');
    await rename(policies, `${policies}.away`);
    const victim = (await fleet.workers()).find(({ worker }) => worker === 1);
    process.kill(victim?.pid ?? 0, 'SIGKILL');
    await vi.waitFor(() => expect(fleet.log).toContain('the policy folder cannot be read'), SOON);
    expect((await fleet.workers()).map(({ worker }) => worker)).toEqual([2]);
    expect((await fleet.admin('GET', '/readyz')).status).toBe(200);
    await rename(`${policies}.away`, policies);
    await vi.waitFor(async () => expect((await fleet.workers()).map(({ worker }) => worker)).toEqual([1, 2]), SOON);
    for (const each of (await fleet.connections(token, 1)).flat()) {
      expect(await each.get()).toBe(200);
      each.close();
    }
  });

  it('leaves no process behind when the supervisor is killed', async () => {
    const pids = (await fleet.workers()).map(({ pid }) => pid);
    expect(await fleet.program.signal('SIGKILL')).toEqual({ code: null, signal: 'SIGKILL' });
    await areGone(pids);
    await expect(request(`${fleet.program.trafficUrl}/orders`)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    // Nor anything that would keep the next one from starting.
    await fleet.serve();
    expect((await fleet.workers()).filter(({ pid }) => pids.includes(pid))).toEqual([]);
  });

  it('ends at once on a second signal', async () => {
    const pids = (await fleet.workers()).map(({ pid }) => pid);
    const { token } = await fleet.issue();
    const [connections] = await fleet.connections(token, 1);
    const answer = connections?.[0]?.get('/orders/held');
    await vi.waitFor(() => expect(fleet.held).toHaveLength(1), SOON);
    fleet.program.child.kill('SIGINT');
    await vi.waitFor(() => expect(fleet.log).toContain('"draining"'), SOON);
    expect(await fleet.program.signal('SIGINT')).toEqual({ code: 1, signal: null });
    expect(await answer).toMatch(/ECONNRESET/);
    await areGone(pids);
  });

  it('leaves a trail of which the command line finds all', async () => {
    const verified = await runProgram(['audit', 'verify', '--config', fleet.configFile]);
    expect([verified.code, verified.stderr]).toEqual([0, '']);
    expect(verified.stdout.match(/^chain \S+audit(\.w2)?\.jsonl: /gm)).toHaveLength(2);
    const file = fleet.auditFile(1);
    const query = await runProgram(['audit', 'query', file, '--type', 'access', '--limit', '1000000', '--json']);
    const written = await Promise.all([1, 2].map((worker) => readFile(fleet.auditFile(worker), 'utf8')));
    const counts = written.map((text) => text.match(/"type":"access\./g)?.length ?? 0);
    expect(query.stdout.trim().split('\n')).toHaveLength(counts.reduce((sum, count) => sum + count));
    expect(Math.min(...counts)).toBeGreaterThan(0);
    await rm(fleet.auditFile(2));
    const gone = await runProgram(['audit', 'verify', '--config', fleet.configFile]);
    expect([gone.code, gone.stdout]).toEqual([1, expect.stringMatching(/audit\.w2\.jsonl.* which the store knows/)]);
  });

  it('says once, as one process does, that a port is taken', async () => {
    const taken = createServer();
    await new Promise<void>((listening) => taken.listen(0, '127.0.0.1', listening));
    onTestFinished(() => void taken.close());
    const address = taken.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    const text = (await readFile(fleet.configFile, 'utf8')).replace(/^listen: .*$/m, `listen: { port: ${port} }`);
    await writeFile(fleet.configFile, `${text}log: { level: silent }\n`);
    const { code, stdout, stderr } = await runProgram(['serve', '--config', fleet.configFile]);
    const expected = `portcullis: listen.host and listen.port: 127.0.0.1:${port} is in use already\n`;
    expect([code, stdout, stderr]).toEqual([1, '', expected]);
  });
});
