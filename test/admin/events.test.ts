import { once } from 'node:events';
import { type ClientRequest, createServer, get, type IncomingMessage } from 'node:http';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { EventStreams } from '../../src/admin/event-streams.ts';
import type { AuditLog } from '../../src/audit/audit-log.ts';
import { openAuditLog } from '../../src/audit/open.ts';
import { createMetrics } from '../../src/metrics/recorder.ts';
import type { AuditEventInput } from '../../src/model/audit-event.ts';
import { type Harness, responseTo, startAdmin } from './harness.ts';

let admin: Harness;
beforeEach(async () => {
  admin = await startAdmin();
});
afterEach(() => admin.close());

describe('GET /v1/audit', () => {
  it('filters by token, type, group, decision and time, the newest first, in pages', async () => {
    const { id } = await admin.issue();
    admin.advance(60_000);
    const since = new Date(admin.options.clock.now()).toISOString();
    await admin.call('POST', `/v1/tokens/${id}/rotate`);
    await admin.call('POST', `/v1/tokens/${id}/revoke`, { json: { reason: 'x' } });
    admin.options.audit.record({
      type: 'access.denied',
      outcome: 'failure',
      token_id: id,
      reason: 'scope_insufficient',
    });
    await admin.auditEvents();
    const types = async (query: string): Promise<string[]> =>
      (await admin.call('GET', `/v1/audit?${query}`)).json.events.map(({ type }: { type: string }) => type);
    expect(await types(`token=${id}`)).toEqual(['access.denied', 'token.revoked', 'token.rotated', 'token.issued']);
    expect(await types(`token=${id}&type=token.rotated`)).toEqual(['token.rotated']);
    expect(await types(`token=${id}&type=token&since=${since}`)).toEqual(['token.revoked', 'token.rotated']);
    expect(await types(`token=${id}&until=${since}`)).toEqual(['token.issued']);
    expect(await types('decision=deny')).toEqual(['access.denied']);
    expect(await types('decision=allow')).toEqual([]);

    const seen: string[] = [];
    let cursor: string | null = '';
    while (cursor !== null) {
      const page = await admin.call('GET', `/v1/audit?token=${id}&limit=3${cursor === '' ? '' : `&cursor=${cursor}`}`);
      expect(page.json.events.length).toBeLessThanOrEqual(3);
      seen.push(...page.json.events.map(({ type }: { type: string }) => type));
      cursor = page.json.cursor;
    }
    expect(seen).toEqual(['access.denied', 'token.revoked', 'token.rotated', 'token.issued']);
  });

  it('refuses queries that it does not understand', async () => {
    const refused = await admin.call('GET', '/v1/audit?type=token.isued&decision=allowed&since=1&form=x&cursor=y');
    expect(refused.json.errors).toEqual([
      { path: 'since', message: expect.stringContaining('expected a time such as') },
      { path: 'type', message: expect.stringMatching(/did you mean "token.issued"\?$/) },
      { path: 'decision', message: 'expected one of allow, deny, would_deny; did you mean "allow"?' },
      { path: 'form', message: 'unknown key "form"' },
    ]);
    const cursor = await admin.call('GET', '/v1/audit?cursor=y');
    expect(cursor.status).toBe(400);
    expect(cursor.json.errors).toMatchObject([{ path: 'cursor' }]);
  });

  it('says so where the trail is written to no file', async () => {
    const other = await startAdmin((options) => ({ ...options, auditFiles: [] }));
    expect((await other.call('GET', '/v1/audit')).status).toBe(404);
    await other.close();
  });
});

describe('GET /v1/events', () => {
  it('sends every audit event as it is written', async () => {
    const stream = await follow(admin.root);
    expect(stream.response.statusCode).toBe(200);
    expect(stream.response.headers).toMatchObject({
      'content-type': 'text/event-stream',
      'cache-control': 'no-store',
      'portcullis-request-id': expect.any(String),
    });
    const { id } = await admin.issue({ name: 'seen' });
    const text = await stream.until(id);
    const data = /^event: audit\ndata: (\{.*\})$/m.exec(text)?.[1] ?? '';
    expect(JSON.parse(data)).toMatchObject({ type: 'token.issued', token_id: id, details: { name: 'seen' } });
    stream.response.destroy();
  });

  it('ends when its token is revoked', async () => {
    const follower = await admin.issue({ scopes: ['portcullis:audit:read'] });
    const stream = await follow(follower.token);
    await admin.call('POST', `/v1/tokens/${follower.id}/revoke`, { json: { reason: 'x' } });
    expect(await stream.end()).not.toContain(': still here');
  });

  it('ends when its token no longer allows it, and goes on when that is not so', async () => {
    const follower = await admin.issue({ scopes: ['portcullis:audit:read', 'orders:read'] });
    const stream = await follow(follower.token);
    const path = `/v1/tokens/${follower.id}`;
    await admin.call('PATCH', path, { json: { name: 'still a follower' } });
    await stream.until('still a follower');
    await admin.call('PATCH', path, { json: { scopes: ['orders:read'] } });
    expect(await stream.end()).not.toContain(': still here');
  });

  it('does not begin when its token has ended since it was looked at', async () => {
    const looked = Promise.withResolvers<boolean>();
    const { streams, request, close } = await serve(admin.options.audit, () => looked.promise);
    await once(request, 'socket');
    const gone = once(request, 'error');
    await expect.poll(() => streams.closeToken('x'), { timeout: 30_000 }).toBe(1);
    looked.resolve(true);
    await gone;
    await close();
  });

  it('ends with the listener, and is refused to whoever may not read the trail', async () => {
    const stream = await follow(admin.root);
    await admin.close();
    await stream.end();
    admin = await startAdmin();
    const { token } = await admin.issue({ scopes: ['portcullis:tokens:read'] });
    expect((await admin.call('GET', '/v1/events', { token })).status).toBe(403);
    expect((await admin.call('GET', '/v1/events', { token: null })).status).toBe(401);
    expect((await admin.call('GET', '/v1/events?x=1')).status).toBe(400);
    expect((await admin.call('HEAD', '/v1/events')).status).toBe(405);
  });

  it('is served to 64 clients at a time', async () => {
    const streams = await Promise.all(Array.from({ length: 64 }, () => follow(admin.root)));
    const refused = await admin.call('GET', '/v1/events');
    expect(refused.status).toBe(503);
    expect(refused.json.reason).toBe('overloaded');
    const [first] = streams;
    first?.response.destroy();
    await expect.poll(async () => (await follow(admin.root)).response.statusCode, { timeout: 5000 }).toBe(200);
    for (const { response } of streams) response.destroy();
  });

  it('leaves out what a slow client cannot take, and tells how much', async () => {
    const audit = await openAuditLog({
      sinks: [],
      onFull: 'drop',
      clock: admin.options.clock,
      metrics: createMetrics({ defaults: false }),
    });
    const { streams, request, close } = await serve(audit, async () => true);
    const response = await responseTo(request);
    response.pause();
    const event: AuditEventInput = { type: 'config.loaded', outcome: 'success', details: { text: 'x'.repeat(16_000) } };
    // More than the buffers of two sockets and the bound take together.
    for (let batch = 0; batch < 30; batch += 1) {
      for (let i = 0; i < 50; i += 1) audit.record(event);
      await audit.recordDurably(event);
    }
    let text = '';
    response.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
    response.resume();
    await expect
      .poll(
        async () => {
          await audit.recordDurably({ type: 'config.loaded', outcome: 'success' });
          return /event: missed\ndata: \{"count":\d+\}\n\nevent: audit/.test(text);
        },
        { timeout: 10_000 },
      )
      .toBe(true);
    const missed = [...text.matchAll(/"count":(\d+)/g)].reduce((sum, [, count]) => sum + Number(count), 0);
    expect(missed).toBeGreaterThan(0);
    expect(missed + [...text.matchAll(/^event: audit$/gm)].length).toBeGreaterThanOrEqual(30 * 51);
    streams.close();
    await close();
    await audit.close();
  });

  it('looks at the token again at every heartbeat, and ends on any doubt', async () => {
    for (const later of [async () => false, () => Promise.reject(new Error('the store is away'))]) {
      let first = true;
      const stillAllowed = async (): Promise<boolean> => {
        if (!first) return await later();
        first = false;
        return true;
      };
      const { request, close } = await serve(admin.options.audit, stillAllowed, 5);
      const response = await responseTo(request);
      expect(await response.setEncoding('utf8').toArray()).toEqual([': connected\n\n', ': still here\n\n']);
      await close();
    }
  });
});

it('sends nothing at a moment at which nobody vouches for its token, and ends', async () => {
  let vouched = true;
  const { request, close } = await serve(
    admin.options.audit,
    async () => true,
    undefined,
    () => vouched,
  );
  const response = await responseTo(request);
  const text = response.setEncoding('utf8').toArray();
  await admin.issue({ name: 'before' });
  vouched = false;
  await admin.issue({ name: 'after' });
  const all = (await text).join('');
  expect(all).toContain('before');
  expect(all).not.toContain('after');
  await close();
});

/** A bare server with event streams of its own, and a client of it. */
async function serve(
  audit: AuditLog,
  stillAllowed: () => Promise<boolean>,
  heartbeatMs?: number,
  vouchedFor: () => boolean = () => true,
): Promise<{ streams: EventStreams; request: ClientRequest; close(): Promise<void> }> {
  const streams = new EventStreams(audit, admin.options.log, heartbeatMs);
  const server = createServer((_, response) => streams.start(response, { tokenId: 'x', stillAllowed, vouchedFor }));
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const address = server.address();
  const request = get({ host: '127.0.0.1', port: typeof address === 'object' ? address?.port : 0 });
  return {
    streams,
    request,
    close: async () => {
      server.close();
      server.closeAllConnections();
      await once(server, 'close');
    },
  };
}

interface Followed {
  readonly response: IncomingMessage;
  /** All that has come when it holds `part`. */
  until(part: string): Promise<string>;
  /** All that came, once the stream is over. */
  end(): Promise<string>;
}

async function follow(token: string): Promise<Followed> {
  const request = get(`${admin.url}/v1/events`, { headers: { authorization: `Bearer ${token}` } });
  const response = await responseTo(request);
  let text = '';
  response.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
  });
  response.on('error', () => undefined);
  return {
    response,
    until: async (part) => {
      while (!text.includes(part)) await once(response, 'data');
      return text;
    },
    end: async () => {
      if (!response.readableEnded) await once(response, 'end');
      return text;
    },
  };
}
