import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';

/** One token as the stand-in keeps it: every secret that it ever had, and until when each works. */
interface StandInToken {
  readonly id: string;
  readonly secrets: { readonly secret: string; graceUntil: number }[];
  startedAt: number;
  expiresAt: number;
  rotateAfter: number | null;
  revoked: boolean;
}

export interface SeenCall {
  readonly call: 'status' | 'rotate';
  readonly secret: string;
  readonly body: string;
}

/** What happens to a rotation after it has been committed and before it is answered. */
export type BeforeAnswer = (response: ServerResponse, answer: string) => 'answered' | 'go on';

/**
 * Speaks `/.portcullis/token` and `/.portcullis/token/rotate` as the gateway does, and can be told to fail in ways that a
 * gateway seldom does.
 */
export class AgentGateway {
  readonly calls: SeenCall[] = [];
  /** Milliseconds that a superseded secret goes on working. */
  graceMs = 60_000;
  /** When set, calls (or calls of one kind) are refused so. */
  outage: { readonly status: number; readonly reason: string; readonly only?: SeenCall['call'] } | null = null;
  beforeAnswer: BeforeAnswer = () => 'go on';
  readonly #tokens: StandInToken[] = [];
  readonly #server = createServer((request, response) => {
    // A client that was killed in the middle of its request is none of our faults.
    this.#answer(request, response).catch(() => response.destroy());
  });
  #waiting: { readonly count: number; readonly resolve: () => void }[] = [];
  #port = 0;
  #serial = 0;

  async start(): Promise<void> {
    this.#server.listen(this.#port, '127.0.0.1');
    await once(this.#server, 'listening');
    const address = this.#server.address();
    if (address === null || typeof address === 'string') throw new Error('no port was given');
    this.#port = address.port;
  }

  /** Until `start` is called again, on the same port, nobody answers. */
  async stop(): Promise<void> {
    if (!this.#server.listening) return;
    this.#server.close();
    this.#server.closeAllConnections();
    await once(this.#server, 'close');
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  /** A token with an hour of life, unless it is said otherwise; `due` ones want to be rotated now. */
  issue(options: { readonly due?: boolean; readonly lifeMs?: number; readonly rotateInMs?: number } = {}): string {
    const now = Date.now();
    const token: StandInToken = {
      id: `agent${String(this.#tokens.length).padStart(7, '0')}`,
      secrets: [],
      startedAt: now,
      expiresAt: now + (options.lifeMs ?? 3_600_000),
      rotateAfter: options.due === true ? now - 1 : options.rotateInMs === undefined ? null : now + options.rotateInMs,
      revoked: false,
    };
    this.#tokens.push(token);
    return this.#mint(token);
  }

  revoke(secret: string): void {
    const token = this.#tokenOf(secret);
    if (token !== undefined) token.revoked = true;
  }

  /** The newest secret of the token that `secret` is or was one of. */
  newest(secret: string): string {
    return this.#tokenOf(secret)?.secrets[0]?.secret ?? '';
  }

  generations(secret: string): number {
    return this.#tokenOf(secret)?.secrets.length ?? 0;
  }

  /** Resolves when so many calls have come in. */
  async called(count: number): Promise<void> {
    if (this.calls.length >= count) return;
    await new Promise<void>((resolve) => this.#waiting.push({ count, resolve }));
  }

  #tokenOf(secret: string): StandInToken | undefined {
    return this.#tokens.find(({ secrets }) => secrets.some((each) => each.secret === secret));
  }

  #mint(token: StandInToken): string {
    this.#serial += 1;
    const secret = `pct_test_${token.id}${String(this.#serial).padStart(49, 'x')}`;
    token.secrets.unshift({ secret, graceUntil: Number.POSITIVE_INFINITY });
    return secret;
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let body = '';
    for await (const chunk of request) body += String(chunk);
    const secret = (request.headers.authorization ?? '').replace(/^Bearer /, '');
    const call = request.method === 'POST' ? 'rotate' : 'status';
    this.calls.push({ call, secret, body });
    for (const { count, resolve } of this.#waiting) if (this.calls.length >= count) resolve();
    const { outage } = this;
    if (outage !== null && (outage.only ?? call) === call) return refuse(response, outage.status, outage.reason);
    const token = this.#tokenOf(secret);
    const reason = refusalOf(token, secret);
    if (token === undefined || reason !== null) return refuse(response, 401, reason ?? 'token_unknown');
    if (call === 'rotate') return this.#rotate(token, response);
    const grace = token.secrets.find((each) => each.secret === secret)?.graceUntil ?? 0;
    if (Number.isFinite(grace)) response.setHeader('portcullis-token-superseded', new Date(grace).toISOString());
    send(response, JSON.stringify(recordOf(token)));
  }

  #rotate(token: StandInToken, response: ServerResponse): void {
    const now = Date.now();
    for (const each of token.secrets) each.graceUntil = Math.min(each.graceUntil, now + this.graceMs);
    const secret = this.#mint(token);
    const life = token.expiresAt - token.startedAt;
    token.startedAt = now;
    token.expiresAt = now + life;
    token.rotateAfter = null;
    const answer = JSON.stringify({ ...recordOf(token), token: secret });
    if (this.beforeAnswer(response, answer) === 'go on') send(response, answer);
  }
}

function refusalOf(token: StandInToken | undefined, secret: string): string | null {
  if (token === undefined) return 'token_unknown';
  if (token.revoked) return 'token_revoked';
  if (Date.now() >= token.expiresAt) return 'token_expired';
  const grace = token.secrets.find((each) => each.secret === secret)?.graceUntil ?? 0;
  return Date.now() >= grace ? 'token_superseded' : null;
}

function recordOf(token: StandInToken): object {
  const time = (moment: number | null | undefined): string | null =>
    moment === null || moment === undefined || !Number.isFinite(moment) ? null : new Date(moment).toISOString();
  return {
    id: token.id,
    status: token.secrets.length > 1 ? 'rotating' : 'active',
    generation: token.secrets.length,
    created_at: time(token.startedAt),
    rotated_at: token.secrets.length > 1 ? time(token.startedAt) : null,
    expires_at: time(token.expiresAt),
    grace_until: time(token.secrets[1]?.graceUntil),
    rotate_after: time(token.rotateAfter),
  };
}

function send(response: ServerResponse, body: string): void {
  response.writeHead(200, { 'content-type': 'application/json' }).end(body);
}

function refuse(response: ServerResponse, status: number, reason: string): void {
  response.writeHead(status, { 'content-type': 'application/problem+json' });
  response.end(JSON.stringify({ status, reason, detail: 'as the test asked for' }));
}
