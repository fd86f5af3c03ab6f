import type { AuditLog } from '../audit/audit-log.ts';
import type { Clock } from '../base/clock.ts';
import type { MaybePromise } from '../base/result.ts';
import type { Logger } from '../metrics/log.ts';
import type { Metrics } from '../metrics/metrics.ts';
import type { Principal } from '../model/principal.ts';
import type { Reason } from '../model/reason.ts';
import type { CompiledPolicy } from '../policy/compiled-policy.ts';
import type { TokenUse, WhenUnavailable } from '../store/token-store.ts';
import type { Authenticator } from '../token/authenticator.ts';
import type { AssertionOptions } from './assertions.ts';
import type { OwnTokenService } from './own-token.ts';
import type { PossessionOptions } from './possession.ts';
import type { RateLimitOptions } from './rate-limit.ts';
import type { ResourceOptions } from './resource-metadata.ts';

/** Bounds of the traffic listener. Durations are milliseconds, sizes bytes. */
export interface TrafficLimits {
  readonly headerBytes: number;
  readonly headers: number;
  /** Null: no bound. */
  readonly bodyBytes: number | null;
  /** Of a body that an `mcp` condition looks at. */
  readonly mcpMessageBytes: number;
  readonly headerTimeoutMs: number;
  readonly requestTimeoutMs: number;
  readonly idleTimeoutMs: number;
  readonly connections: number;
}

export interface UpstreamOptions {
  readonly name: string;
  readonly url: URL;
  readonly preserveHost: boolean;
  readonly connectTimeoutMs: number;
  readonly responseTimeoutMs: number;
  /** The value may change from one request to the next; it is there at once, and never empty. */
  readonly credential: { readonly header: string; readonly value: { reveal(): string } } | null;
  /** Whether it is told by a signed assertion who a request is for. */
  readonly assertion: boolean;
}

/** Where a credential may stand in a request. `header` is lower case; a null scheme takes the whole value. */
export interface CredentialSource {
  readonly header: string;
  readonly scheme: string | null;
}

export interface TlsMaterial {
  readonly cert: Buffer;
  readonly key: Buffer;
  readonly clientCa: Buffer | null;
  /** With `clientCa`: whether a client without a certificate gets in. One with a wrong certificate never does. */
  readonly clientAuth: 'require' | 'request';
}

export interface GenerationRules {
  /** Resolves when the generations that end with a use of this one are refused everywhere; rejects with a Fault. */
  retireOlder(tokenId: string, used: number): Promise<void>;
  /** An old generation was presented after its end. Never rejects; at once where nothing follows from it. */
  reused(reuse: {
    readonly tokenId: string;
    readonly generation: number;
    readonly tokenClass: string;
    readonly requestId: string;
    readonly ip: string;
  }): MaybePromise<void>;
}

export interface GatewayOptions {
  readonly tls: TlsMaterial | null;
  readonly trustedProxies: readonly string[];
  readonly limits: TrafficLimits;
  readonly accept: readonly CredentialSource[];
  readonly expiryWarningMs: number;
  readonly upstreams: ReadonlyMap<string, UpstreamOptions>;
  /** Null where no upstream asks for assertions. */
  readonly assertion: AssertionOptions | null;
  readonly authenticator: Authenticator;
  /** The rules of classes about the use of old and new generations. */
  readonly generations: GenerationRules;
  /**
   * Whether the token of an answer that goes on is still good at this very moment, at once: null, or why it is cut. Asked
   * for every part of an answer that does not come whole in one piece, and of a tunnel. `whenUnavailable` null: as the
   * store is configured.
   */
  readonly standing: (principal: Principal, whenUnavailable: WhenUnavailable | null) => Reason | null;
  /** Whether this process knows that a token which somebody else issued is revoked; nothing is asked. */
  readonly isRevoked: (principal: Principal) => boolean;
  readonly possession: PossessionOptions;
  /** What the holder of a token may do with it. */
  readonly ownToken: OwnTokenService;
  readonly policy: { current(): CompiledPolicy | null };
  readonly rateLimits: RateLimitOptions;
  /** What clients are told about where tokens come from. */
  readonly resource: ResourceOptions;
  /** Takes notes of uses in the background; must not throw and must not block. */
  readonly uses: { note(use: TokenUse): void };
  readonly audit: AuditLog;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly log: Logger;
}
