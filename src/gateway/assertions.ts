import { randomBytes, sign } from 'node:crypto';
import type { Clock } from '../base/clock.ts';
import type { Principal } from '../model/principal.ts';
import { ASSERTION_SECONDS, type AssertionKeys } from './assertion-keys.ts';

/** How the gateway says verifiably who a request is for. */
export interface AssertionOptions {
  /** `iss` of every assertion. */
  readonly issuer: string;
  readonly keys: AssertionKeys;
}

/** `typ` (RFC 8725 §3.11): no other kind of JWT is to be taken for an assertion, and an assertion for no other. */
const TYPE = 'portcullis-assertion+jwt';

/** From half its life on an assertion is not used again: what arrives has at least that much left. */
const RENEW_AFTER_MS = (ASSERTION_SECONDS * 1000) / 2;

/** Assertions of all upstreams that are remembered, and their characters together. */
const MOST_REMEMBERED = 10_000;
const MOST_CHARACTERS = 16 * 1024 * 1024;

interface Remembered {
  readonly principal: Principal;
  readonly scopes: readonly string[];
  readonly madeAt: number;
  readonly text: string;
}

/**
 * Signed statements for upstreams (JWT, RFC 7519, as JWS in compact form, RFC 7515 §3.1), at once. A signature takes longer
 * than all the rest of a request, so one serves every request of its token to an upstream for half its life.
 */
export class Assertions {
  readonly #issuer: string;
  readonly #keys: AssertionKeys;
  readonly #clock: Pick<Clock, 'now'>;
  readonly #remembered = new Map<string, Memory>();

  /** `upstreams`: the names of those that are told. */
  constructor(options: AssertionOptions, upstreams: readonly string[], clock: Pick<Clock, 'now'>) {
    this.#issuer = options.issuer;
    this.#keys = options.keys;
    this.#clock = clock;
    for (const name of upstreams) this.#remembered.set(name, new Memory(upstreams.length));
  }

  /** For one of the upstreams named at the start. `scopes`: those that the token holds, its roles' included. */
  of(upstream: string, principal: Principal, scopes: readonly string[]): string {
    const memory = this.#remembered.get(upstream);
    if (memory === undefined) throw new TypeError('an assertion was asked for an upstream that takes none');
    const now = this.#clock.now();
    const known = memory.get(principal.tokenId);
    if (known !== undefined && isFresh(known, now) && saysTheSame(known, principal, scopes)) return known.text;
    const text = this.#make(upstream, principal, scopes, now);
    memory.put({ principal, scopes, madeAt: now, text });
    return text;
  }

  #make(upstream: string, principal: Principal, scopes: readonly string[], now: number): string {
    const { privateKey, published } = this.#keys.current();
    const issuedAt = Math.floor(now / 1000);
    const { subject, foreign } = principal;
    const claims = {
      iss: this.#issuer,
      aud: upstream,
      ...(subject === null ? {} : { sub: subject }),
      token_id: principal.tokenId,
      token_type: principal.tokenType,
      // Two issuers may both know an "alice".
      ...(foreign === null || foreign.issuer === null ? {} : { token_issuer: foreign.issuer }),
      scope: scopes.join(' '),
      roles: principal.roles,
      iat: issuedAt,
      exp: issuedAt + ASSERTION_SECONDS,
      jti: randomBytes(16).toString('base64url'),
    };
    const signed = `${encoded({ alg: 'EdDSA', typ: TYPE, kid: published.kid })}.${encoded(claims)}`;
    return `${signed}.${sign(null, Buffer.from(signed, 'latin1'), privateKey).toString('base64url')}`;
  }
}

/** What one upstream has been told, by token, the oldest first; bounded in number and in characters. */
class Memory {
  readonly #byToken = new Map<string, Remembered>();
  readonly #most: number;
  readonly #mostCharacters: number;
  #characters = 0;

  /** One of so many. */
  constructor(among: number) {
    this.#most = Math.ceil(MOST_REMEMBERED / among);
    this.#mostCharacters = Math.ceil(MOST_CHARACTERS / among);
  }

  get(tokenId: string): Remembered | undefined {
    return this.#byToken.get(tokenId);
  }

  put(made: Remembered): void {
    const { tokenId } = made.principal;
    this.#drop(tokenId);
    this.#byToken.set(tokenId, made);
    this.#characters += made.text.length;
    for (const oldest of this.#byToken.keys()) {
      if (this.#byToken.size <= this.#most && this.#characters <= this.#mostCharacters) break;
      this.#drop(oldest);
    }
  }

  #drop(tokenId: string): void {
    this.#characters -= this.#byToken.get(tokenId)?.text.length ?? 0;
    this.#byToken.delete(tokenId);
  }
}

/** Not after half its life, and not from a time to come: the clock may have been set back. */
function isFresh({ madeAt }: Remembered, now: number): boolean {
  return now >= madeAt && now < madeAt + RENEW_AFTER_MS;
}

/** The record may have been narrowed, and a reload may have changed what its roles give. */
function saysTheSame(known: Remembered, principal: Principal, scopes: readonly string[]): boolean {
  if (known.principal === principal && known.scopes === scopes) return true;
  return (
    known.principal.subject === principal.subject &&
    known.principal.tokenType === principal.tokenType &&
    known.principal.foreign?.issuer === principal.foreign?.issuer &&
    sameItems(known.scopes, scopes) &&
    sameItems(known.principal.roles, principal.roles)
  );
}

function sameItems(one: readonly string[], other: readonly string[]): boolean {
  return one.length === other.length && one.every((item, index) => item === other[index]);
}

function encoded(part: object): string {
  return Buffer.from(JSON.stringify(part)).toString('base64url');
}
