import type { Secret } from '../base/secret.ts';
import type { ProtectedResource } from '../model/protected-resource.ts';
import type { IssuerConfig } from './issuers.ts';
import type { FollowedSecret } from './secret-reference.ts';

/** The configuration as the composition root uses it: durations in milliseconds, sizes in bytes, paths absolute. */
export interface Config {
  readonly file: string;
  readonly environment: string;
  readonly listen: ListenConfig;
  readonly workers: number | 'auto';
  readonly admin: { readonly host: string; readonly port: number };
  readonly store: StoreConfig;
  readonly tokens: TokensConfig;
  readonly upstreams: ReadonlyMap<string, UpstreamConfig>;
  readonly issuers: readonly IssuerConfig[];
  readonly introspection: readonly IntrospectionConfig[];
  /** Null: clients are told nothing of the kind. */
  readonly resource: ProtectedResource | null;
  /** Null where nothing is signed. */
  readonly assertion: AssertionConfig | null;
  readonly policies: string;
  readonly audit: { readonly sinks: readonly AuditSinkConfig[]; readonly onFull: 'drop' | 'block' };
  readonly log: { readonly level: LogLevel };
}

export type LogLevel = 'fatal' | 'error' | 'warn' | 'info' | 'debug' | 'trace' | 'silent';

export interface ListenConfig {
  readonly host: string;
  readonly port: number;
  readonly tls: {
    readonly cert: string;
    readonly key: string;
    readonly clientCa: string | null;
    readonly clientAuth: 'require' | 'request';
  } | null;
  readonly trustedProxies: readonly string[];
  readonly limits: TrafficLimits;
}

export interface TrafficLimits {
  readonly headerBytes: number;
  readonly headers: number;
  /** Null: no bound. */
  readonly bodyBytes: number | null;
  readonly mcpMessageBytes: number;
  readonly headerTimeoutMs: number;
  readonly requestTimeoutMs: number;
  readonly idleTimeoutMs: number;
  readonly connections: number;
}

interface StoreCommon {
  readonly leaseMs: number;
  readonly onUnavailable: 'deny' | 'serve_cached';
  readonly maxStaleMs: number;
}

export type StoreConfig =
  | (StoreCommon & { readonly kind: 'embedded'; readonly path: string })
  | (StoreCommon & {
      readonly kind: 'redis';
      readonly keyPrefix: string;
      readonly connection: RedisConnection;
      /** Paths of PEM files; null: as the connection itself says. */
      readonly tls: RedisTlsFiles | null;
      /** Null: a change counts when the primary has it. */
      readonly wait: { readonly replicas: number; readonly timeoutMs: number } | null;
    });

export interface RedisTlsFiles {
  readonly ca: string | null;
  readonly cert: string | null;
  readonly key: string | null;
}

export type RedisConnection =
  | { readonly kind: 'standalone'; readonly url: Secret }
  | {
      readonly kind: 'sentinel';
      readonly sentinels: readonly string[];
      readonly name: string;
      readonly username: string | null;
      readonly password: Secret | null;
    }
  | {
      readonly kind: 'cluster';
      readonly nodes: readonly string[];
      readonly username: string | null;
      readonly password: Secret | null;
    };

export interface TokensConfig {
  readonly prefix: string;
  /** Where a token may stand. Header names in lower case; a null scheme takes the whole value. */
  readonly accept: readonly { readonly header: string; readonly scheme: string | null }[];
  readonly expiryWarningMs: number;
  readonly pepper: Secret | null;
  /** Proofs of possession (RFC 9449). */
  readonly dpop: {
    readonly nonce: 'off' | 'required';
    readonly proofLifetimeMs: number;
    readonly clockSkewMs: number;
  };
}

export interface UpstreamConfig {
  readonly name: string;
  /** Origin, with an optional path prefix; never credentials. */
  readonly url: URL;
  readonly preserveHost: boolean;
  readonly connectTimeoutMs: number;
  readonly responseTimeoutMs: number;
  readonly credential: { readonly header: string; readonly value: FollowedSecret } | null;
  /** Only with the section `assertion`. */
  readonly assertion: boolean;
}

/** A server that is asked about tokens that somebody else issued (RFC 7662). */
export interface IntrospectionConfig {
  /** How the tokens begin; empty: all that no other kind takes. */
  readonly prefix: string;
  readonly endpoint: URL;
  readonly clientId: string;
  readonly clientSecret: FollowedSecret;
  /** Null: whoever a token is for. */
  readonly audiences: readonly string[] | null;
  readonly requireTokenType: boolean;
  readonly cacheMs: number;
  readonly negativeCacheMs: number;
  readonly timeoutMs: number;
}

export interface AssertionConfig {
  readonly issuer: string;
  /** Text that `parseSigningKeys` has taken. */
  readonly keys: FollowedSecret;
  readonly leadMs: number;
}

export type AuditSinkConfig = { readonly kind: 'file'; readonly path: string } | { readonly kind: 'stdout' };
