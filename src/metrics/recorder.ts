import { formatDuration } from '../base/quantity.ts';
import { INTROSPECTION_RESULTS, type IntrospectionResult } from '../model/introspection-result.ts';
import type { Reason } from '../model/reason.ts';
import type { TokenStatus } from '../model/token-record.ts';
import { contentTypeFor, expositionBody, type Family, type MetricsFormat } from './exposition.ts';
import { FAMILIES } from './families.ts';
import type { Metrics } from './metrics.ts';
import { NodeDefaults } from './node-defaults.ts';
import { HistogramFamily, ScalarFamily } from './series.ts';

/** The metrics together with their text, for the admin listener. */
export interface MetricsRecorder extends Metrics {
  text(format: MetricsFormat): Promise<{ readonly contentType: string; readonly body: string }>;
  /** What `text` writes. */
  collect(): Promise<readonly Family[]>;
  /** The format that an Accept header asks for. */
  contentTypeFor(accept: string | undefined): MetricsFormat;
  close(): void;
}

export interface MetricsOptions {
  /** Whether Node's and the process's own metrics are included. Default: yes. */
  readonly defaults?: boolean;
}

const TOKEN_EVENTS = ['issued', 'rotated', 'revoked', 'narrowed', 'expired', 'reuse', 'expiring'] as const;
const RESULTS = ['success', 'failure'] as const;

export function createMetrics(options: MetricsOptions = {}): MetricsRecorder {
  return new Recorder((options.defaults ?? true) ? new NodeDefaults() : null);
}

class Recorder implements MetricsRecorder {
  readonly #defaults: NodeDefaults | null;
  readonly #requests = new ScalarFamily(FAMILIES.requests);
  readonly #responses = new ScalarFamily(FAMILIES.responses);
  readonly #decisionDuration = new HistogramFamily(FAMILIES.decisionDuration);
  readonly #requestDuration = new HistogramFamily(FAMILIES.requestDuration);
  readonly #upstreamDuration = new HistogramFamily(FAMILIES.upstreamDuration);
  readonly #inFlight = new ScalarFamily(FAMILIES.inFlight);
  readonly #streamsOpen = new ScalarFamily(FAMILIES.streamsOpen);
  readonly #tokens = new ScalarFamily(FAMILIES.tokens);
  readonly #tokensExpiring = new ScalarFamily(FAMILIES.tokensExpiring);
  readonly #tokenEvents = new ScalarFamily(FAMILIES.tokenEvents);
  readonly #revocationPropagation = new HistogramFamily(FAMILIES.revocationPropagation);
  readonly #storeUp = new ScalarFamily(FAMILIES.storeUp);
  readonly #storeLeaseValid = new ScalarFamily(FAMILIES.storeLeaseValid);
  readonly #storeOperationDuration = new HistogramFamily(FAMILIES.storeOperationDuration);
  readonly #cacheHits = new ScalarFamily(FAMILIES.cacheHits);
  readonly #cacheMisses = new ScalarFamily(FAMILIES.cacheMisses);
  readonly #staleAnswers = new ScalarFamily(FAMILIES.staleAnswers);
  readonly #auditEvents = new ScalarFamily(FAMILIES.auditEvents);
  readonly #auditDropped = new ScalarFamily(FAMILIES.auditDropped);
  readonly #policyInfo = new ScalarFamily(FAMILIES.policyInfo);
  readonly #policyReloads = new ScalarFamily(FAMILIES.policyReloads);
  readonly #policyInStep = new ScalarFamily(FAMILIES.policyInStep);
  readonly #introspections = new ScalarFamily(FAMILIES.introspections);
  readonly #tlsReloads = new ScalarFamily(FAMILIES.tlsReloads);
  readonly #tlsCertificateExpires = new ScalarFamily(FAMILIES.tlsCertificateExpires);
  readonly #jwksRefreshes = new ScalarFamily(FAMILIES.jwksRefreshes);
  readonly #decisionSeries = this.#decisionDuration.series('');
  readonly #cacheHit = this.#cacheHits.cell();
  readonly #cacheMiss = this.#cacheMisses.cell();
  readonly #stale = this.#staleAnswers.cell();
  /** Names of status codes, so that none is made per answer. */
  readonly #codes = Array.from({ length: 600 }, (_, code) => (code < 100 ? 'other' : String(code)));

  constructor(defaults: NodeDefaults | null) {
    this.#defaults = defaults;
    // A rate can be told from the first increment only where the series stood at zero before.
    for (const event of TOKEN_EVENTS) this.#tokenEvents.cell(event);
    for (const result of RESULTS) this.#policyReloads.cell(result);
    this.#policyInStep.cell();
    this.#storeUp.cell();
    this.#storeLeaseValid.cell();
  }

  request(api: string, rule: string, decision: 'allow' | 'deny' | 'would_deny', reason: Reason | 'ok'): void {
    this.#requests.cell4(api, rule, decision, reason).value += 1;
  }

  response(api: string, status: number): void {
    this.#responses.cell2(api, this.#codes[status] ?? 'other').value += 1;
  }

  decisionSeconds(seconds: number): void {
    this.#decisionSeries.observe(seconds);
  }

  requestSeconds(api: string, seconds: number): void {
    this.#requestDuration.series(api).observe(seconds);
  }

  upstreamSeconds(upstream: string, seconds: number): void {
    this.#upstreamDuration.series(upstream).observe(seconds);
  }

  inFlight(api: string, change: 1 | -1): void {
    this.#inFlight.cell(api).value += change;
  }

  streamsOpen(api: string, change: 1 | -1): void {
    this.#streamsOpen.cell(api).value += change;
  }

  tokenEvent(event: (typeof TOKEN_EVENTS)[number]): void {
    this.#tokenEvents.cell(event).value += 1;
  }

  tokens(counts: readonly { readonly class: string; readonly status: TokenStatus; readonly count: number }[]): void {
    this.#tokens.clear();
    for (const { class: name, status, count } of counts) this.#tokens.cell(name, status).value = count;
  }

  tokensExpiring(
    counts: readonly { readonly class: string; readonly withinMs: number; readonly count: number }[],
  ): void {
    this.#tokensExpiring.clear();
    for (const { class: name, withinMs, count } of counts) {
      this.#tokensExpiring.cell(name, formatDuration(withinMs)).value = count;
    }
  }

  revocationPropagationSeconds(seconds: number): void {
    this.#revocationPropagation.series('').observe(seconds);
  }

  storeUp(up: boolean): void {
    this.#storeUp.cell().value = Number(up);
  }

  storeLeaseValid(valid: boolean): void {
    this.#storeLeaseValid.cell().value = Number(valid);
  }

  storeOperationSeconds(operation: string, seconds: number): void {
    this.#storeOperationDuration.series(operation).observe(seconds);
  }

  cacheHit(): void {
    this.#cacheHit.value += 1;
  }

  cacheMiss(): void {
    this.#cacheMiss.value += 1;
  }

  staleAnswer(): void {
    this.#stale.value += 1;
  }

  auditEvent(sink: string): void {
    this.#auditEvents.cell(sink).value += 1;
    this.#auditDropped.cell(sink);
  }

  auditDropped(sink: string): void {
    this.#auditDropped.cell(sink).value += 1;
    this.#auditEvents.cell(sink);
  }

  policyInfo(version: string): void {
    this.#policyInfo.clear();
    this.#policyInfo.cell(version).value = 1;
  }

  policyReload(result: 'success' | 'failure'): void {
    this.#policyReloads.cell(result).value += 1;
    this.#policyInStep.cell().value = Number(result === 'success');
  }

  introspection(server: string, result: IntrospectionResult): void {
    for (const possible of INTROSPECTION_RESULTS) this.#introspections.cell(server, possible);
    this.#introspections.cell(server, result).value += 1;
  }

  tlsReload(result: 'success' | 'failure'): void {
    for (const possible of RESULTS) this.#tlsReloads.cell(possible);
    this.#tlsReloads.cell(result).value += 1;
  }

  tlsCertificateExpires(at: number): void {
    for (const possible of RESULTS) this.#tlsReloads.cell(possible);
    this.#tlsCertificateExpires.cell().value = at / 1000;
  }

  jwksRefresh(issuer: string, result: 'success' | 'failure'): void {
    for (const possible of RESULTS) this.#jwksRefreshes.cell(issuer, possible);
    this.#jwksRefreshes.cell(issuer, result).value += 1;
  }

  async text(format: MetricsFormat): Promise<{ readonly contentType: string; readonly body: string }> {
    return expositionBody(await this.collect(), format);
  }

  async collect(): Promise<readonly Family[]> {
    const own = [
      this.#requests,
      this.#responses,
      this.#decisionDuration,
      this.#requestDuration,
      this.#upstreamDuration,
      this.#inFlight,
      this.#streamsOpen,
      this.#tokens,
      this.#tokensExpiring,
      this.#tokenEvents,
      this.#revocationPropagation,
      this.#storeUp,
      this.#storeLeaseValid,
      this.#storeOperationDuration,
      this.#cacheHits,
      this.#cacheMisses,
      this.#staleAnswers,
      this.#auditEvents,
      this.#auditDropped,
      this.#policyInfo,
      this.#policyReloads,
      this.#policyInStep,
      this.#introspections,
      this.#tlsReloads,
      this.#tlsCertificateExpires,
      this.#jwksRefreshes,
    ].map((family) => family.collect());
    const node = (await this.#defaults?.collect()) ?? [];
    return [...own, ...node];
  }

  contentTypeFor(accept: string | undefined): MetricsFormat {
    return contentTypeFor(accept);
  }

  close(): void {
    this.#defaults?.close();
  }
}
