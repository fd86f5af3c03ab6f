import { setTimeout as delay } from 'node:timers/promises';
import { request } from 'undici';
import type { Chance } from './chance.ts';
import type { Berth, Fleet } from './fleet.ts';
import type { OpenStream, SentRequest, TokenLife } from './history.ts';

export interface StormOptions {
  readonly revocations: number;
  readonly leaseMs: number;
  /** Requests that are under way at once. */
  readonly load: number;
  /** Calls to revoke that are under way at once. */
  readonly revokers: number;
  /** Replicas are paused, cut off and killed at random; or one is cut off, or stopped, all the time. */
  readonly trouble: 'none' | 'random' | 'one cut off' | 'one stopped';
  /** How many tokens are JWTs that somebody else issued, as a part of all. */
  readonly foreign: number;
  /** How many times Redis is killed and started again. */
  readonly redisRestarts: number;
}

export interface Storm {
  readonly requests: readonly SentRequest[];
  readonly streams: readonly OpenStream[];
  readonly lives: readonly TokenLife[];
  /** How long calls to revoke took while every replica was well, and while one was not, milliseconds; sorted. */
  readonly healthyMs: readonly number[];
  readonly troubledMs: readonly number[];
  /** Of the slowest of these how long it took by the gateway's own account, from the announcement on. */
  readonly slowest: { readonly tookMs: number; readonly elapsedMs: number };
  readonly troubles: Readonly<Record<string, number>>;
}

/** Tokens that are in use at once, and of those that are revoked how many are still tried. */
const IN_USE = 24;
const STILL_TRIED = 40;

const TROUBLES = ['pause', 'pause', 'cut off', 'cut off', 'kill'] as const;

/** How long these live, seconds. */
const FOREIGN_LIFE_S = 3500;

/** How many requests are followed by an event stream. */
const STREAMS = 0.1;

interface Token {
  readonly id: string;
  /** Every generation that was handed out. */
  readonly secrets: string[];
  /** The call that revokes it. */
  readonly revocation: { readonly path: string; readonly body: object };
  /** Another token that has to end with it; of a token of this gateway a rotation makes one. */
  readonly twin: (() => string) | null;
  revokeSentAt: number;
  revokedAt: number;
}

/** Issues, rotates and revokes tokens while all of them are in use and everything goes wrong. */
export async function storm(fleet: Fleet, chance: Chance, options: StormOptions): Promise<Storm> {
  return await new StormRun(fleet, chance, options).run();
}

class StormRun {
  readonly #fleet: Fleet;
  readonly #chance: Chance;
  readonly #options: StormOptions;
  readonly #requests: SentRequest[] = [];
  readonly #streams: OpenStream[] = [];
  readonly #listening = new Set<Promise<void>>();
  readonly #leave = new AbortController();
  readonly #tokens: Token[] = [];
  readonly #inUse: Token[] = [];
  readonly #healthyMs: number[] = [];
  readonly #troubledMs: number[] = [];
  readonly #troubles: Record<string, number> = {};
  #slowest = { tookMs: 0, elapsedMs: 0 };
  #left: number;
  #over = false;

  constructor(fleet: Fleet, chance: Chance, options: StormOptions) {
    this.#fleet = fleet;
    this.#chance = chance;
    this.#options = options;
    this.#left = options.revocations;
  }

  async run(): Promise<Storm> {
    while (this.#inUse.length < IN_USE) await this.#issue();
    // Whoever remembers what it has read does so from here on.
    await Promise.all(
      this.#fleet.berths.map(async (berth) => {
        for (const token of this.#inUse) await this.#ask(token, berth);
      }),
    );
    const load = Array.from({ length: this.#options.load }, () => this.#keepAsking());
    const trouble = this.#makeTrouble();
    const redis = this.#restartRedis();
    try {
      await Promise.all(Array.from({ length: this.#options.revokers }, () => this.#keepRevoking()));
    } finally {
      this.#over = true;
      await Promise.all([...load, trouble, redis]);
    }
    // Everybody is well again: whatever was revoked stays so, at every replica, and nothing else is.
    await Promise.all(
      this.#fleet.berths.map(async (berth) => {
        for (const token of this.#tokens) await this.#askUntilTold(token, berth);
      }),
    );
    this.#leave.abort();
    await Promise.all(this.#listening);
    return {
      requests: this.#requests,
      streams: this.#streams,
      lives: this.#tokens.map(({ id, revokeSentAt, revokedAt }) => ({ token: id, revokeSentAt, revokedAt })),
      healthyMs: this.#healthyMs.sort((a, b) => a - b),
      troubledMs: this.#troubledMs.sort((a, b) => a - b),
      slowest: this.#slowest,
      troubles: this.#troubles,
    };
  }

  async #keepAsking(): Promise<void> {
    while (!this.#over) {
      const old = this.#chance.next() < 0.25;
      const token = this.#chance.pick(old ? this.#tokens.slice(-STILL_TRIED) : this.#inUse);
      const berth = this.#chance.pick(this.#fleet.berths);
      if (token !== undefined && berth !== undefined) await this.#ask(token, berth);
      if (token !== undefined && berth !== undefined && this.#chance.next() < STREAMS) this.#listen(token, berth);
      await delay(this.#chance.between(0, 20));
    }
  }

  /** Opens an event stream and reads it to its end. */
  #listen(token: Token, berth: Berth): void {
    const listening: Promise<void> = this.#read(token, berth).finally(() => this.#listening.delete(listening));
    this.#listening.add(listening);
  }

  async #read(token: Token, berth: Berth): Promise<void> {
    let lastSentAt = Number.NEGATIVE_INFINITY;
    try {
      const { statusCode, body } = await request(`${berth.process.trafficUrl}/orders/events`, {
        dispatcher: berth.process.streams,
        headers: { authorization: `Bearer ${token.secrets[0] ?? ''}` },
        signal: this.#leave.signal,
      });
      if (statusCode !== 200) return await body.dump();
      for await (const chunk of body) {
        const [, sentAt] = /data: ([\d.]+)\n\n$/.exec(String(chunk)) ?? [];
        if (sentAt !== undefined) lastSentAt = Number(sentAt);
      }
    } catch {
      // Cut off: by the gateway, with its process, or by the driver that leaves.
    } finally {
      if (lastSentAt > 0) this.#streams.push({ token: token.id, replica: berth.name, lastSentAt });
    }
  }

  async #askUntilTold(token: Token, berth: Berth): Promise<void> {
    const patience = performance.now() + 20_000;
    while (performance.now() < patience) {
      const status = await this.#ask(token, berth);
      if (status !== 0 && status !== 503) return;
      await delay(50);
    }
    throw new Error(`${berth.name} does not come back`);
  }

  async #ask(token: Token, berth: Berth): Promise<number> {
    const secret = this.#chance.pick(token.secrets) ?? '';
    const { trafficUrl, agent } = berth.process;
    const sentAt = performance.now();
    const answer = await request(`${trafficUrl}/orders`, {
      dispatcher: agent,
      headers: { authorization: `Bearer ${secret}` },
    })
      .then(async ({ statusCode, body }) => ({ status: statusCode, text: await body.text() }))
      .catch(() => ({ status: 0, text: '' }));
    const answeredAt = performance.now();
    const { status, text } = answer;
    const reason = text.startsWith('{') ? (JSON.parse(text) as { reason: string }).reason : null;
    this.#requests.push({ token: token.id, replica: berth.name, sentAt, answeredAt, status, reason });
    return status;
  }

  async #keepRevoking(): Promise<void> {
    while (this.#left > 0) {
      this.#left -= 1;
      const [token] = this.#inUse.splice(Math.floor(this.#chance.next() * this.#inUse.length), 1);
      if (token === undefined) throw new Error('no token is left');
      if (this.#chance.next() < 0.3) await this.#rotate(token);
      await this.#revoke(token);
      // Everybody is asked at once, also who cannot answer now.
      for (const berth of this.#fleet.berths) void this.#ask(token, berth);
      await this.#issue();
      await delay(this.#chance.between(0, 100));
    }
  }

  async #revoke(token: Token): Promise<void> {
    token.revokeSentAt = performance.now();
    for (;;) {
      const sentAt = performance.now();
      const well = this.#isWell(sentAt);
      const answer = await this.#call('POST', token.revocation.path, token.revocation.body);
      if (answer.status !== 200) continue;
      token.revokedAt = performance.now();
      const took = token.revokedAt - sentAt;
      if (well && this.#isWell(sentAt)) this.#healthyMs.push(took);
      else if (!answer.disturbed) {
        this.#troubledMs.push(took);
        const { propagation } = JSON.parse(answer.text) as { propagation: { elapsed_ms: number } };
        if (took > this.#slowest.tookMs) this.#slowest = { tookMs: took, elapsedMs: propagation.elapsed_ms };
      }
      return;
    }
  }

  /** No replica has been in trouble for so long that a revocation sent at `since` could notice. */
  #isWell(since: number): boolean {
    const { healthy, berths, redisAway, lastTroubleAt } = this.#fleet;
    return healthy.length === berths.length && !redisAway && lastTroubleAt + 3 * this.#options.leaseMs < since;
  }

  async #rotate(token: Token): Promise<void> {
    if (token.twin !== null) {
      token.secrets.push(token.twin());
      return;
    }
    const answer = await this.#call('POST', `/v1/tokens/${token.id}/rotate`, { grace: '1h' });
    if (answer.status === 200 || answer.status === 201)
      token.secrets.push((JSON.parse(answer.text) as { token: string }).token);
    // No answer: the replica was killed meanwhile. If it did rotate, the old secret is still in its grace.
    else if (answer.status !== 0 && answer.status !== 503)
      throw new Error(`rotate answered ${answer.status}: ${answer.text}`);
  }

  async #issue(): Promise<void> {
    if (this.#chance.next() < this.#options.foreign) {
      const issued = this.#foreign(`f${this.#fleet.issuer.made}`);
      this.#tokens.push(issued);
      this.#inUse.push(issued);
      return;
    }
    for (;;) {
      const body = { name: 'storm', owner: 'tests', class: 'service', scopes: ['orders:read'] };
      const answer = await this.#call('POST', '/v1/tokens', body);
      if (answer.status !== 201) continue;
      const { id, token } = JSON.parse(answer.text) as { id: string; token: string };
      const revocation = { path: `/v1/tokens/${id}/revoke`, body: { reason: 'test' } };
      const issued = { id, secrets: [token], revocation, twin: null, revokeSentAt: Infinity, revokedAt: Infinity };
      this.#tokens.push(issued);
      this.#inUse.push(issued);
      return;
    }
  }

  /** A JWT, which is revoked in one of the ways in which that can be done. */
  #foreign(id: string): Token {
    const { issuer } = this.#fleet;
    const claims = { jti: id, sub: `subject of ${id}`, exp: Math.floor(Date.now() / 1000) + FOREIGN_LIFE_S };
    // What the issuer has made before the revocation is meant, so that a twin is made with it, not after it.
    const [token, twin] = [issuer.token(claims), issuer.token({ ...claims, exp: claims.exp - 1 })];
    const selectors = [{ jti: id }, { jti: id, issuer: issuer.name }, { subject: claims.sub }, { token }];
    const body = { reason: 'test', ...this.#chance.pick(selectors) };
    const ends = { revokeSentAt: Infinity, revokedAt: Infinity };
    return { id, secrets: [token], revocation: { path: '/v1/revocations', body }, twin: () => twin, ...ends };
  }

  /** A call at some healthy replica. `disturbed`: that replica or Redis itself got into trouble meanwhile. */
  async #call(
    method: 'POST',
    path: string,
    body: object,
  ): Promise<{ status: number; text: string; disturbed: boolean }> {
    const berth = this.#chance.pick(this.#fleet.healthy);
    if (berth === undefined || this.#fleet.redisAway) {
      await delay(20);
      return { status: 503, text: '', disturbed: true };
    }
    const sentAt = performance.now();
    const { process } = berth;
    const answer = await request(`${process.adminUrl}${path}`, {
      method,
      dispatcher: process.agent,
      headers: { authorization: `Bearer ${this.#fleet.adminToken}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
    })
      .then(async ({ statusCode, body: text }) => ({ status: statusCode, text: await text.text() }))
      .catch(() => ({ status: 0, text: '' }));
    const disturbed =
      berth.trouble !== null ||
      berth.process !== process ||
      berth.troubledAt > sentAt ||
      this.#fleet.redisAway ||
      this.#fleet.redisBackAt > sentAt;
    if (answer.status !== 0 && answer.status >= 300 && answer.status !== 503) {
      throw new Error(`${path} answered ${answer.status}: ${answer.text}`);
    }
    if (answer.status === 0 || answer.status === 503) await delay(20);
    return { ...answer, disturbed };
  }

  /** Up to all replicas but one are in trouble at once. */
  async #makeTrouble(): Promise<void> {
    if (this.#options.trouble === 'none') return;
    const [first] = this.#fleet.berths;
    if (this.#options.trouble === 'one cut off' && first !== undefined) {
      while (!this.#over) await this.#fleet.cutOff(first, 10 * this.#options.leaseMs, () => this.#over);
      return;
    }
    if (this.#options.trouble === 'one stopped' && first !== undefined) {
      while (!this.#over) await this.#fleet.pause(first, 2 * this.#options.leaseMs).then(() => delay(500));
      return;
    }
    const kinds = this.#fleet.canBeCutOff ? TROUBLES : TROUBLES.filter((kind) => kind !== 'cut off');
    const under: Promise<void>[] = [];
    while (!this.#over) {
      await delay(this.#chance.between(100, 800));
      const berth = this.#chance.pick(this.#fleet.healthy);
      if (berth === undefined || this.#fleet.healthy.length === 1 || this.#over) continue;
      const ms = this.#chance.between(0.2, 2.5) * this.#options.leaseMs;
      const kind = this.#chance.pick(kinds) ?? 'pause';
      this.#troubles[kind] = (this.#troubles[kind] ?? 0) + 1;
      if (kind === 'pause') under.push(this.#fleet.pause(berth, ms));
      else if (kind === 'cut off') under.push(this.#fleet.cutOff(berth, ms));
      else under.push(this.#fleet.replace(berth));
    }
    await Promise.all(under);
  }

  async #restartRedis(): Promise<void> {
    const { revocations, redisRestarts, leaseMs } = this.#options;
    for (let done = 1; done <= redisRestarts; done += 1) {
      const at = revocations - Math.floor((revocations * done) / (redisRestarts + 1));
      while (this.#left > at && !this.#over) await delay(50);
      if (this.#over) return;
      this.#troubles['Redis restarted'] = done;
      await this.#fleet.restartRedis(this.#chance.between(0.1, 2) * leaseMs);
    }
  }
}
