import { hash } from 'node:crypto';
import type { Clock } from '../base/clock.ts';
import { LIMITS } from '../base/limits.ts';
import type { MaybePromise } from '../base/result.ts';
import type { IntrospectionResult } from '../model/introspection-result.ts';
import { AnswerMemory } from './answer-memory.ts';
import type { AuthenticationOutcome, ForeignTokens } from './authenticator.ts';
import { type AnswerRules, type IntrospectionAnswer, readIntrospectionAnswer } from './introspection-answer.ts';
import { askServer, type IntrospectionServerOptions, type ServerReply } from './introspection-server.ts';
import { unprovenRefusal } from './verify-opaque.ts';

type Allowed = Extract<AuthenticationOutcome, { ok: true }>;
type Refusal = Extract<AuthenticationOutcome, { ok: false }>;

export interface IntrospectionOptions extends IntrospectionServerOptions, AnswerRules {
  /** How the tokens begin; empty: all but JWTs and those of `ownPrefix`. */
  readonly prefix: string;
  /** How tokens of this gateway begin, `_` included: never sent anywhere. */
  readonly ownPrefix: string;
  readonly cacheMs: number;
  readonly negativeCacheMs: number;
  readonly clock: Pick<Clock, 'now' | 'monotonic'>;
  /** Hears of every result; `why` where there was no usable answer. Must not throw. */
  readonly observe: (result: IntrospectionResult, why: string | null) => void;
}

/** RFC 6750 §2.1 (b64token): what else stands in a request is no token, and nobody is asked about it. */
const B64TOKEN = /^[A-Za-z0-9._~+/-]+=*$/;

/** Where the server does not say when a token ends: as late as RFC 3339 can write. */
const NEVER = Date.parse('9999-12-31T23:59:59Z');

/** The server's clock may be ahead of this one by so much: it calls a token active that begins just now. */
const SKEW_MS = 60_000;

/** Something that a server has said of a token. */
interface Known {
  /** The same object for as long as it is remembered. */
  readonly allowed: Allowed;
  readonly notBefore: number;
  readonly expiresAt: number;
}

/**
 * Tokens that a server is asked about (RFC 7662): one question at a time about one token, and a bounded number about all. An
 * answer is taken for true for `cacheMs` from when the question was sent. At once for what is remembered.
 */
export class IntrospectedTokens implements ForeignTokens {
  readonly #options: IntrospectionOptions;
  readonly #active: AnswerMemory<Known>;
  /** Apart from the others: whoever floods with made-up tokens displaces no good one. */
  readonly #refused: AnswerMemory<Refusal>;
  readonly #asking = new Map<string, Promise<AuthenticationOutcome>>();

  constructor(options: IntrospectionOptions) {
    this.#options = options;
    this.#active = new AnswerMemory(LIMITS.introspectedTokens, LIMITS.introspectedTokenChars, options.cacheMs);
    this.#refused = new AnswerMemory(LIMITS.introspectedTokens, LIMITS.introspectedTokenChars, options.negativeCacheMs);
  }

  authenticate(credential: string, now: number): MaybePromise<AuthenticationOutcome> | null {
    if (!this.#isMine(credential)) return null;
    const digest = hash('sha256', credential, 'base64url');
    const at = this.#options.clock.monotonic();
    const known = this.#active.get(digest, at);
    if (known !== undefined) return judged(known, now);
    const refused = this.#refused.get(digest, at);
    if (refused !== undefined) return refused;
    const asked = this.#asking.get(digest);
    if (asked !== undefined) return asked;
    const answer = this.#ask(credential, digest, at);
    if (!(answer instanceof Promise)) return answer;
    const { clock } = this.#options;
    const outcome = answer
      .then((told) => ('ok' in told ? told : judged(told, clock.now())))
      .finally(() => this.#asking.delete(digest));
    this.#asking.set(digest, outcome);
    return outcome;
  }

  /** That a server did not call it active a moment ago is no answer here. */
  identify(credential: string, now: number): MaybePromise<AuthenticationOutcome> | null {
    if (!this.#isMine(credential)) return null;
    const digest = hash('sha256', credential, 'base64url');
    const at = this.#options.clock.monotonic();
    const known = this.#active.get(digest, at);
    if (known !== undefined) return identified(known, now);
    const answer = this.#ask(credential, digest, at);
    if (!(answer instanceof Promise)) return answer;
    return answer.then((told) => ('ok' in told ? told : identified(told, now)));
  }

  #ask(credential: string, digest: string, at: number): Promise<Known | Refusal> | Refusal {
    if (!B64TOKEN.test(credential)) return unprovenRefusal('token_malformed');
    if (this.#asking.size >= LIMITS.introspectionsInFlight) {
      this.#options.observe('overloaded', null);
      return unavailable('Too many tokens are being looked up at the moment. Try again soon.');
    }
    return this.#hear(credential, digest, at);
  }

  #isMine(credential: string): boolean {
    const { prefix, ownPrefix } = this.#options;
    if (prefix !== '') return credential.startsWith(prefix);
    return !credential.startsWith(ownPrefix) && !(credential.startsWith('eyJ') && credential.includes('.'));
  }

  async #hear(credential: string, digest: string, askedAt: number): Promise<Known | Refusal> {
    const { observe } = this.#options;
    const reply = await askServer(this.#options, credential);
    const answer = reply.kind === 'body' ? readIntrospectionAnswer(reply.bytes, this.#options) : null;
    if (reply.kind !== 'body' || answer === null || !answer.ok) {
      observe(
        reply.kind === 'rejected' ? 'rejected' : 'failure',
        whyNone(reply, answer?.ok === false ? answer.error : ''),
      );
      return unavailable("The token's server cannot be asked about it at the moment. Try again soon.");
    }
    observe(answer.value.active ? 'active' : 'inactive', null);
    if (!answer.value.active) return this.#refuse(digest, askedAt, unprovenRefusal('token_unknown'));
    if (answer.value.untrusted !== null) {
      const detail = `The token is not trusted here. ${answer.value.untrusted}`;
      return this.#refuse(digest, askedAt, { ...unprovenRefusal('token_untrusted'), detail });
    }
    const known = this.#known(answer.value, digest);
    this.#active.put(digest, known, askedAt, reply.bytes.length);
    return known;
  }

  #refuse(digest: string, askedAt: number, refusal: Refusal): Refusal {
    this.#refused.put(digest, refusal, askedAt, 0);
    return refusal;
  }

  #known(answer: Extract<IntrospectionAnswer, { untrusted: null }>, digest: string): Known {
    const { issuer, jti, subject, issuedAt, notBefore, expiresAt } = answer;
    const principal = {
      tokenType: 'introspected' as const,
      tokenId: `ext:${this.#publicId(issuer, jti, digest)}`,
      subject,
      owner: null,
      class: null,
      scopes: answer.scopes,
      roles: answer.roles,
      claims: answer.claims,
      ip: [],
      // Where the server does not say, the oldest that it can be: limits of age are to err on refusal.
      issuedAt: issuedAt ?? 0,
      expiresAt: expiresAt ?? NEVER,
      supersededUntil: null,
      foreign: { issuer, jti, subject, issuedAt },
      confirmation: answer.confirmation,
    };
    const allowed: Allowed = { ok: true, generation: 0, principal };
    // One from the future would be taken for newer than a revocation of its subject that is made now.
    const begins = Math.max(notBefore ?? 0, issuedAt ?? 0);
    return { allowed, notBefore: begins - SKEW_MS, expiresAt: principal.expiresAt };
  }

  /** Where the server names no id, the token's digest; neither leads back to the token. */
  #publicId(issuer: string | null, jti: string | null, digest: string): string {
    if (jti === null) return digest.slice(0, 22);
    return hash('sha256', `${issuer ?? this.#options.endpoint.href}\0${jti}`, 'base64url').slice(0, 22);
  }
}

function judged({ allowed, notBefore, expiresAt }: Known, now: number): AuthenticationOutcome {
  if (now < expiresAt && now >= notBefore) return allowed;
  const reason = now < expiresAt ? 'token_not_yet_valid' : 'token_expired';
  return { ok: false, reason, tokenId: allowed.principal.tokenId, generation: 0 };
}

/** Of a token to be revoked: also before its time, and granted nothing. */
function identified({ allowed, expiresAt }: Known, now: number): AuthenticationOutcome {
  if (now >= expiresAt) return unprovenRefusal('token_expired');
  return { ...allowed, principal: { ...allowed.principal, scopes: [], roles: [], claims: {} } };
}

function unavailable(detail: string): Refusal {
  return { ...unprovenRefusal('store_unavailable'), detail };
}

function whyNone(reply: ServerReply, unreadable: string): string {
  return reply.kind === 'body' ? unreadable : reply.why;
}
