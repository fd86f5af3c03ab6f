import { STATUS_CODES } from 'node:http';
import type { AuthenticationOutcome } from '../token/authenticator.ts';
import { KnownWords, problemAnswer } from './answer.ts';
import { Assertions } from './assertions.ts';
import { BodyBuffers } from './body-buffers.ts';
import { ClientAddresses } from './client-address.ts';
import { ClientCertificates } from './client-certificate.ts';
import type { TokenBases } from './decision-basis.ts';
import type { Exchange } from './exchange.ts';
import { HeaderKinds } from './header-kinds.ts';
import { HeldBytes } from './held-bytes.ts';
import { LiveStreams } from './live-streams.ts';
import type { GatewayOptions } from './options.ts';
import { RateLimits } from './rate-limit.ts';
import { recordExchange } from './record.ts';
import type { Refusal } from './refusal.ts';
import { RequestHeadReader } from './request-head.ts';
import { ResourceMetadata } from './resource-metadata.ts';
import { ResponseHeadReader } from './response-head.ts';
import { IdSource } from './trace-context.ts';
import { Upstreams } from './upstreams.ts';

/** What the steps of a request share. One for each traffic listener. */
export class Gateway {
  readonly options: GatewayOptions;
  readonly heads: RequestHeadReader;
  readonly answers = new ResponseHeadReader();
  readonly buffers = new BodyBuffers();
  readonly addresses: ClientAddresses;
  readonly certificates = new ClientCertificates();
  readonly ids = new IdSource();
  readonly upstreams: Upstreams;
  readonly assertions: Assertions | null;
  readonly streams: LiveStreams;
  readonly rateLimits: RateLimits;
  readonly resources: ResourceMetadata;
  /** Requests that each rule has decided, by rule id, since the process started. */
  readonly ruleHits = new Map<string, number>();
  /** Of bodies that were read before the decision, in memory now. */
  readonly held = new HeldBytes();
  readonly #bases: TokenBases = new WeakMap();
  readonly #words = new KnownWords();
  draining = false;
  /** Requests that have begun and are not recorded yet. */
  inFlight = 0;
  /** Called when the last request in flight has been recorded. */
  onIdle: (() => void) | null = null;

  constructor(options: GatewayOptions) {
    this.options = options;
    this.heads = new RequestHeadReader(new HeaderKinds(options.accept.map(({ header }) => header)), options.accept);
    this.addresses = new ClientAddresses(options.trustedProxies);
    this.upstreams = new Upstreams(options.upstreams, options.limits.connections, options.clock);
    const asserted = [...options.upstreams.values()].flatMap(({ name, assertion }) => (assertion ? [name] : []));
    if (options.assertion === null && asserted.length > 0)
      throw new TypeError('there is no key to sign assertions with');
    this.assertions = options.assertion === null ? null : new Assertions(options.assertion, asserted, options.clock);
    this.streams = new LiveStreams(options.metrics, options.clock, options.isRevoked);
    this.rateLimits = new RateLimits(options.rateLimits, options.clock);
    this.resources = new ResourceMetadata(options.resource);
  }

  /** The one way out for a request that the upstream does not answer. */
  answer(exchange: Exchange, refusal: Refusal): void {
    const { response } = exchange;
    exchange.reason = refusal.reason;
    if (response.headersSent || response.destroyed) {
      response.destroy();
      return;
    }
    const dpop = exchange.head?.dpop === true;
    const answer = problemAnswer(refusal, exchange.requestId, dpop, this.resources.urlFor(exchange.api), this.#words);
    exchange.status = answer.status;
    if (exchange.rateFields !== null) answer.headers.push(...exchange.rateFields);
    if (exchange.proofNonce !== null) answer.headers.push('dpop-nonce', exchange.proofNonce);
    // After a request that is malformed nobody can be sure where the next one begins.
    const last = exchange.bodyPending || this.draining || refusal.reason === 'request_malformed';
    if (last) answer.headers.push('connection', 'close');
    exchange.bytesOut = exchange.method === 'HEAD' ? 0 : answer.body.length;
    // With its own reason phrase: one of the upstream's that could not be written would fail here again.
    response.writeHead(answer.status, STATUS_CODES[answer.status] ?? '', answer.headers);
    if (exchange.bodyPending) response.linger();
    response.finish(answer.body);
  }

  begin(): void {
    this.inFlight += 1;
  }

  /** The API of a request is known from here on: it counts as one of that API's requests in flight. */
  judged(exchange: Exchange): void {
    exchange.judged = true;
    this.options.metrics.inFlight(exchange.api?.name ?? '-', 1);
  }

  /** Exactly once for each exchange, when it is over. */
  record(exchange: Exchange): void {
    if (exchange.recorded) return;
    exchange.recorded = true;
    this.inFlight -= 1;
    this.held.release(exchange);
    if (exchange.judged) this.options.metrics.inFlight(exchange.api?.name ?? '-', -1);
    recordExchange(this.options, exchange, this.#bases);
    const rule = exchange.rule?.id;
    if (rule !== undefined) this.ruleHits.set(rule, (this.ruleHits.get(rule) ?? 0) + 1);
    if (this.inFlight === 0) this.onIdle?.();
  }

  /** A promise only where the class wants more than the report: what then has to be done before the refusal is given. */
  reportReuse(exchange: Exchange, outcome: Extract<AuthenticationOutcome, { ok: false }>): Promise<void> | undefined {
    const { tokenId, generation, tokenClass } = outcome;
    if (tokenId === null) return undefined;
    this.options.metrics.tokenEvent('reuse');
    this.options.audit.record({
      type: 'token.reuse',
      outcome: 'failure',
      reason: 'token_superseded',
      token_id: tokenId,
      request_id: exchange.requestId,
      ip: exchange.client,
      details: { generation },
    });
    if (generation === null || tokenClass === undefined) return undefined;
    const { requestId, client: ip } = exchange;
    return this.options.generations.reused({ tokenId, generation, tokenClass, requestId, ip }) ?? undefined;
  }
}
