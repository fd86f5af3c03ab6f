import { readFileSync } from 'node:fs';
import type { z } from 'zod';
import type { Diagnostic } from '../base/diagnostic.ts';
import { readJwkSet } from '../base/jwk-set.ts';
import type { JwsAlgorithm } from '../base/jws-algorithm.ts';
import type { Secret } from '../base/secret.ts';
import type { LocatedDocument } from '../base/yaml-document.ts';
import type { issuersSchema } from './issuer-schema.ts';
import { errorCode } from './secret-reference.ts';

/** Whose JWTs are taken. Durations in milliseconds. */
export interface IssuerConfig {
  readonly issuer: string;
  readonly audiences: readonly string[];
  readonly keys: IssuerKeys;
  readonly algorithms: readonly JwsAlgorithm[];
  readonly maxLifetimeMs: number;
  readonly clockSkewMs: number;
  readonly scopeClaim: string;
  readonly rolesClaim: string;
  /** A null value: any. */
  readonly requiredClaims: readonly { readonly name: string; readonly value: string | number | boolean | null }[];
  /** In lower case, without `application/`; null: those of an access token, or none. */
  readonly types: readonly string[] | null;
}

export type IssuerKeys =
  | { readonly kind: 'uri'; readonly url: URL }
  /** A null document: at the well-known places. */
  | { readonly kind: 'discovery'; readonly document: URL | null }
  | { readonly kind: 'file'; readonly path: string }
  | { readonly kind: 'secret'; readonly secret: Secret };

type Section = z.output<ReturnType<typeof issuersSchema>>;

const ASYMMETRIC: readonly JwsAlgorithm[] = ['RS256', 'PS256', 'ES256', 'EdDSA'];

export function issuers(section: Section): IssuerConfig[] {
  return section.map((each) => ({
    issuer: each.issuer,
    audiences: listOf(each.audience),
    keys: keysOf(each),
    algorithms: algorithmsOf(each),
    maxLifetimeMs: each.max_lifetime,
    clockSkewMs: each.clock_skew,
    scopeClaim: each.scope_claim,
    rolesClaim: each.roles_claim,
    requiredClaims: Array.isArray(each.required_claims)
      ? each.required_claims.map((name) => ({ name, value: null }))
      : Object.entries(each.required_claims).map(([name, value]) => ({ name, value })),
    types: each.typ === undefined ? null : listOf(each.typ),
  }));
}

function algorithmsOf({ algorithms, secret }: Section[number]): readonly JwsAlgorithm[] {
  return algorithms ?? (secret === undefined ? ASYMMETRIC : ['HS256']);
}

function listOf(one: string | readonly string[]): readonly string[] {
  return typeof one === 'string' ? [one] : one;
}

/** The schema has made sure that exactly one of them is there. */
function keysOf({ jwks_uri: url, discovery, jwks_file: file, secret }: Section[number]): IssuerKeys {
  if (url !== undefined) return { kind: 'uri', url };
  if (discovery !== undefined) return { kind: 'discovery', document: discovery === true ? null : discovery };
  if (file !== undefined) return { kind: 'file', path: file };
  if (secret !== undefined) return { kind: 'secret', secret };
  throw new TypeError('an issuer without keys passed the schema');
}

/** The files have to be there and to hold keys that can be used: better said now than with the first token. */
export function checkKeyFiles({ value, file, locate }: LocatedDocument<{ readonly issuers: Section }>): Diagnostic[] {
  return value.issuers.flatMap((each, index): Diagnostic[] => {
    const keys = each.jwks_file;
    const wrong = keys === undefined ? null : wrongKeys(keys, algorithmsOf(each));
    if (wrong === null) return [];
    const message = `jwks_file of ${JSON.stringify(each.issuer)}: ${keys} ${wrong}`;
    return [{ severity: 'error', file, ...locate(['issuers', index, 'jwks_file']), message }];
  });
}

function wrongKeys(file: string, algorithms: readonly JwsAlgorithm[]): string | null {
  let bytes: Buffer;
  try {
    bytes = readFileSync(file);
  } catch (error) {
    return `cannot be read (${errorCode(error)})`;
  }
  const set = readJwkSet(bytes, algorithms);
  if (!set.ok) return set.error;
  if (set.value.keys.length > 0) return null;
  const whys = set.value.unusable.map(({ index, why }) => `keys[${index}] ${why}`);
  return `holds no key for ${algorithms.join(', ')}${whys.length === 0 ? '' : `: ${whys.join('; ')}`}`;
}
