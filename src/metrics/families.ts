import type { Across } from './exposition.ts';

/** What a metric family is, for the writer, the text formats, and the documentation. */
export type FamilyDefinition = CountedFamily | GaugeFamily;

interface CommonDefinition {
  readonly name: string;
  readonly help: string;
  readonly labels: readonly string[];
}

interface GaugeFamily extends CommonDefinition {
  readonly type: 'gauge';
  /** What it is for the workers of one gateway together. */
  readonly across: Across;
}

interface CountedFamily extends CommonDefinition {
  /** An `info` is a gauge in the Prometheus text format, which has no such type. */
  readonly type: 'counter' | 'histogram' | 'info';
  /** Upper bounds in ascending order, without +Inf. Histograms only. */
  readonly buckets?: readonly number[];
}

/** 1 µs … 1 s: most decisions take a few µs, those that ask a store or an issuer much longer. */
const DECISION_BUCKETS = [
  1e-6, 2.5e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1,
];
const REQUEST_BUCKETS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300];
const PROPAGATION_BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 30];
const STORE_BUCKETS = [
  1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1, 5,
];

/** Every family of the product. No label takes a value from a client: they are names of the policy, or closed lists. */
export const FAMILIES = {
  requests: {
    name: 'portcullis_requests_total',
    help: 'Requests by the decision made on them.',
    type: 'counter',
    labels: ['api', 'rule', 'decision', 'reason'],
  },
  responses: {
    name: 'portcullis_responses_total',
    help: 'Answers sent to clients by status code.',
    type: 'counter',
    labels: ['api', 'code'],
  },
  decisionDuration: {
    name: 'portcullis_decision_duration_seconds',
    help: 'Time from a complete request head to the decision.',
    type: 'histogram',
    labels: [],
    buckets: DECISION_BUCKETS,
  },
  requestDuration: {
    name: 'portcullis_request_duration_seconds',
    help: 'Time from a complete request head to the end of the answer.',
    type: 'histogram',
    labels: ['api'],
    buckets: REQUEST_BUCKETS,
  },
  upstreamDuration: {
    name: 'portcullis_upstream_duration_seconds',
    help: 'Time from sending a request to an upstream to its response head.',
    type: 'histogram',
    labels: ['upstream'],
    buckets: REQUEST_BUCKETS,
  },
  inFlight: {
    name: 'portcullis_in_flight',
    help: 'Requests under way.',
    type: 'gauge',
    across: 'sum',
    labels: ['api'],
  },
  streamsOpen: {
    name: 'portcullis_streams_open',
    help: 'Open WebSockets and streamed answers.',
    type: 'gauge',
    across: 'sum',
    labels: ['api'],
  },
  tokens: {
    name: 'portcullis_tokens',
    help: 'Tokens in the store by class and status.',
    type: 'gauge',
    across: 'newest',
    labels: ['class', 'status'],
  },
  tokensExpiring: {
    name: 'portcullis_tokens_expiring',
    help: 'Tokens that still work and end within the given time.',
    type: 'gauge',
    across: 'newest',
    labels: ['class', 'within'],
  },
  tokenEvents: {
    name: 'portcullis_token_events_total',
    help: 'Events in the lives of tokens.',
    type: 'counter',
    labels: ['event'],
  },
  revocationPropagation: {
    name: 'portcullis_revocation_propagation_seconds',
    help: 'Time from the start of a revocation until every replica had it or had lost its lease.',
    type: 'histogram',
    labels: [],
    buckets: PROPAGATION_BUCKETS,
  },
  storeUp: {
    name: 'portcullis_store_up',
    help: 'Whether the token store can be reached (1) or not (0).',
    type: 'gauge',
    across: 'min',
    labels: [],
  },
  storeLeaseValid: {
    name: 'portcullis_store_lease_valid',
    help: 'Whether this process may answer from its cache (1) or has to ask the store (0).',
    type: 'gauge',
    across: 'min',
    labels: [],
  },
  storeOperationDuration: {
    name: 'portcullis_store_operation_duration_seconds',
    help: 'Duration of operations on the token store.',
    type: 'histogram',
    labels: ['op'],
    buckets: STORE_BUCKETS,
  },
  cacheHits: {
    name: 'portcullis_cache_hits_total',
    help: 'Token look-ups answered from the cache of this process.',
    type: 'counter',
    labels: [],
  },
  cacheMisses: {
    name: 'portcullis_cache_misses_total',
    help: 'Token look-ups that had to ask the store.',
    type: 'counter',
    labels: [],
  },
  staleAnswers: {
    name: 'portcullis_stale_answers_total',
    help: 'Token look-ups answered without lease and store, because of on_unavailable: serve_cached.',
    type: 'counter',
    labels: [],
  },
  auditEvents: {
    name: 'portcullis_audit_events_total',
    help: 'Audit events written.',
    type: 'counter',
    labels: ['sink'],
  },
  auditDropped: {
    name: 'portcullis_audit_dropped_total',
    help: 'Audit events that a sink could not take.',
    type: 'counter',
    labels: ['sink'],
  },
  policyInfo: {
    name: 'portcullis_policy_info',
    help: 'The version of the policies in force.',
    type: 'info',
    labels: ['version'],
  },
  policyReloads: {
    name: 'portcullis_policy_reloads_total',
    help: 'Attempts to load policies; a failed one leaves those in force that were.',
    type: 'counter',
    labels: ['result'],
  },
  policyInStep: {
    name: 'portcullis_policy_in_step',
    help: 'Whether the policies in force are what the files say (1), or the files were rejected (0).',
    type: 'gauge',
    labels: [],
    across: 'min',
  },
  introspections: {
    name: 'portcullis_introspection_total',
    help: 'Questions to introspection servers, by what came of them.',
    type: 'counter',
    labels: ['server', 'result'],
  },
  tlsReloads: {
    name: 'portcullis_tls_reloads_total',
    help: "Attempts to renew the listener's certificates; a failed one leaves those in force that were.",
    type: 'counter',
    labels: ['result'],
  },
  tlsCertificateExpires: {
    name: 'portcullis_tls_certificate_expires_timestamp_seconds',
    help: "When the listener's certificate ends, seconds since the epoch.",
    type: 'gauge',
    labels: [],
    across: 'min',
  },
  jwksRefreshes: {
    name: 'portcullis_jwks_refresh_total',
    help: 'Attempts to fetch the keys of a JWT issuer.',
    type: 'counter',
    labels: ['issuer', 'result'],
  },
} as const satisfies Readonly<Record<string, FamilyDefinition>>;
