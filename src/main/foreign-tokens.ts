import { createSecretKey } from 'node:crypto';
import type { Clock } from '../base/clock.ts';
import type { IssuerConfig } from '../config/issuers.ts';
import type { Logger } from '../metrics/log.ts';
import type { Metrics } from '../metrics/metrics.ts';
import type { ForeignTokens } from '../token/authenticator.ts';
import type { JwtIssuer } from '../token/jwt-issuer.ts';
import { FetchedKeySet, type KeySet, SecretKeySet } from '../token/key-sets.ts';
import { type KeySource, keysAt, keysByDiscovery, keysInFile } from '../token/key-sources.ts';
import { createJwtTokens } from '../token/verify-jwt.ts';

export interface ForeignTokenParts {
  readonly clock: Clock;
  readonly metrics: Pick<Metrics, 'jwksRefresh'>;
  readonly log: Logger;
}

/** The kinds of tokens of others that the configuration names, and the background work behind them. */
export interface ConfiguredForeignTokens {
  readonly kinds: readonly ForeignTokens[];
  close(): void;
}

/** Begins to fetch keys at once, and waits for none: until they are there, their issuer's tokens are `store_unavailable`. */
export function configuredForeignTokens(
  issuers: readonly IssuerConfig[],
  parts: ForeignTokenParts,
): ConfiguredForeignTokens {
  if (issuers.length === 0) return { kinds: [], close: () => undefined };
  const fetched: FetchedKeySet[] = [];
  const jwtIssuers = issuers.map((issuer): JwtIssuer => {
    const keys = keySetOf(issuer, parts);
    if (keys instanceof FetchedKeySet) fetched.push(keys);
    return { ...issuer, keys };
  });
  for (const keys of fetched) void keys.start();
  return {
    kinds: [createJwtTokens(jwtIssuers)],
    close: () => {
      for (const keys of fetched) keys.close();
    },
  };
}

function keySetOf(config: IssuerConfig, { clock, metrics, log }: ForeignTokenParts): KeySet {
  const { issuer, keys, algorithms } = config;
  if (keys.kind === 'secret') {
    const key = createSecretKey(Buffer.from(keys.secret.reveal()));
    return new SecretKeySet({ kid: null, algorithms, key, identity: issuer });
  }
  return new FetchedKeySet(sourceOf(config), algorithms, clock, {
    refreshed: (count, unusable) => {
      metrics.jwksRefresh(issuer, 'success');
      for (const { index, why } of unusable) log.warn({ issuer, index, why }, 'a key of an issuer cannot be used');
      if (count === 0) log.warn({ issuer }, 'an issuer publishes no key that can be used: none of its tokens is taken');
      else log.debug({ issuer, keys: count }, 'the keys of an issuer are there');
    },
    failed: (error, first) => {
      metrics.jwksRefresh(issuer, 'failure');
      log[first ? 'warn' : 'debug']({ issuer, err: error }, 'the keys of an issuer cannot be had; the last ones go on');
    },
  });
}

function sourceOf({ issuer, keys }: IssuerConfig): KeySource {
  switch (keys.kind) {
    case 'uri':
      return keysAt(keys.url);
    case 'discovery':
      return keysByDiscovery(issuer, keys.document);
    case 'file':
      return keysInFile(keys.path);
    case 'secret':
      throw new TypeError('a secret is not fetched');
  }
}
