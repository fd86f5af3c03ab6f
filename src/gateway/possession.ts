import { equalDigests } from '../base/encoding.ts';
import type { MaybePromise } from '../base/result.ts';
import { Fault } from '../model/fault.ts';
import type { Principal } from '../model/principal.ts';
import type { ProofMemory } from '../store/proof-memory.ts';
import {
  accessTokenHash,
  type DpopProof,
  isSignedByItsKey,
  keyThumbprintOf,
  readDpopProof,
  replayKeyOf,
} from '../token/dpop-proof.ts';
import type { DpopNonces } from './dpop-nonces.ts';
import type { Exchange } from './exchange.ts';
import type { Gateway } from './gateway.ts';
import { type ProofError, type Refusal, refuse } from './refusal.ts';
import { namesUri, normaliseAuthority, type RequestUri } from './request-uri.ts';

/** How proofs of possession are judged. Durations in milliseconds. */
export interface PossessionOptions {
  readonly proofs: ProofMemory;
  /** How old a proof may be. */
  readonly proofLifetimeMs: number;
  /** How far its time may lie ahead. */
  readonly clockSkewMs: number;
  /** Null: proofs need no nonce of this server. */
  readonly nonces: DpopNonces | null;
}

/**
 * Whether whoever presents a token has shown that it is theirs; null: they have. To be asked for every token that is bound, and
 * for every one that came under the scheme DPoP. Rejects with a Fault where the proofs that have been used cannot be looked at.
 */
export function checkPossession(
  gateway: Gateway,
  exchange: Exchange,
  principal: Principal,
): MaybePromise<Refusal | null> {
  const { confirmation } = principal;
  const presentedWithProof = exchange.head?.dpop === true;
  // RFC 9449 §7.1: the scheme says that there is a binding. Not taken back to what a bearer token may do.
  if (confirmation === null) return doubt('invalid_token', 'The token is not bound to a key: present it as Bearer.');
  const { certificateThumbprint, keyThumbprint } = confirmation;
  // Bound to something that cannot be looked at here.
  if (certificateThumbprint === null && keyThumbprint === null) {
    return refuse('token_untrusted', 'The token is bound in a way that is not known here.');
  }
  if (certificateThumbprint !== null && !showsCertificate(gateway, exchange, certificateThumbprint)) {
    return refuse('token_untrusted', 'The token is bound to a client certificate that this connection has not shown.');
  }
  if (keyThumbprint === null) {
    return presentedWithProof ? doubt('invalid_token', 'The token is not bound to a key: present it as Bearer.') : null;
  }
  // RFC 9449 §7.2: a thief's way around the proof.
  if (!presentedWithProof) {
    return doubt('invalid_token', 'The token is bound to a key: present it under the scheme DPoP, with a proof.');
  }
  return checkProof(gateway, exchange, principal, keyThumbprint);
}

/**
 * RFC 8705 §3: the certificate of this very connection. Behind a proxy that ends TLS there is none, and the connection of one
 * that asks for a decision is not that of the client.
 */
function showsCertificate(gateway: Gateway, { request, decisionOnly }: Exchange, thumbprint: string): boolean {
  if (decisionOnly) return false;
  const shown = gateway.certificates.thumbprint(request.socket, gateway.options.clock.now());
  return shown !== null && equalTexts(shown, thumbprint);
}

/** RFC 9449 §4.3 in the order of what it costs: nobody without the token makes this process check a signature. */
async function checkProof(
  gateway: Gateway,
  exchange: Exchange,
  principal: Principal,
  keyThumbprint: string,
): Promise<Refusal | null> {
  const { proofs, proofLifetimeMs, clockSkewMs } = gateway.options.possession;
  const proof = readProof(gateway, exchange);
  if ('reason' in proof) return proof;
  if (!equalTexts(keyThumbprintOf(proof), keyThumbprint)) {
    return doubt('invalid_token', 'The token is bound to another key than that of the DPoP proof.');
  }
  const stale = await checkNonce(gateway, exchange, proof);
  if (stale !== null) return stale;
  if (!isSignedByItsKey(proof)) return invalid('its signature is wrong');
  // Time has passed, and whether it is still in time is part of whether it is remembered for long enough.
  const now = gateway.options.clock.now();
  const late = untimely(gateway, proof, now);
  if (late !== null) return late;
  // Twice as long as it can be accepted by this clock: the clocks of other replicas may differ.
  const keepMs = proof.issuedAt - now + 2 * proofLifetimeMs + clockSkewMs;
  const first = await remember(proofs, replayKeyOf(keyThumbprint, proof), keepMs);
  if (first === null) return refuse('store_unavailable', 'The store has no space left to remember the DPoP proof.');
  if (!first) return invalid('it was used before');
  // Meanwhile the token may have been revoked, or have come to its end.
  const over = gateway.streams.refusal({ tokenId: principal.tokenId, principal });
  return over === null ? null : refuse(over);
}

/** RFC 9449 §4.3, step 10, and §9. The client is told the next nonce in time, so that it is refused at most once. */
async function checkNonce({ options }: Gateway, exchange: Exchange, proof: DpopProof): Promise<Refusal | null> {
  const { nonces } = options.possession;
  if (nonces === null) return null;
  const now = options.clock.now();
  const state = proof.nonce === null ? 'bad' : await nonces.judge(proof.nonce, now);
  if (state === 'current') return null;
  exchange.proofNonce = await nonces.current(now);
  return state === 'old' ? null : doubt('use_dpop_nonce', 'The DPoP proof needs the nonce that this server gives out.');
}

/** Null where the store has no space left: what is not remembered could be used again. */
async function remember(proofs: ProofMemory, key: string, keepMs: number): Promise<boolean | null> {
  try {
    return await proofs.rememberProof(key, keepMs);
  } catch (error) {
    if (error instanceof Fault && error.code === 'store_full') return null;
    throw error;
  }
}

function readProof(gateway: Gateway, exchange: Exchange): DpopProof | Refusal {
  const { head } = exchange;
  if (head === null || head.credential === null) throw new TypeError('a proof is read for a request with a token');
  if (head.proof === null) return invalid('there is none');
  if (head.proofAmbiguous) return invalid('there is more than one');
  const read = readDpopProof(head.proof);
  if (!read.ok) return invalid(read.error);
  const proof = read.value;
  if (proof.htm !== exchange.method) return invalid('its htm is not the method of the request');
  if (!namesUri(proof.htu, requestUri(gateway, exchange))) return invalid('its htu is not the URI of the request');
  if (proof.ath === null || !equalTexts(proof.ath, accessTokenHash(head.credential))) {
    return invalid('its ath is not the hash of the token');
  }
  return untimely(gateway, proof, gateway.options.clock.now()) ?? proof;
}

function untimely(gateway: Gateway, { issuedAt }: DpopProof, now: number): Refusal | null {
  const { proofLifetimeMs, clockSkewMs } = gateway.options.possession;
  if (issuedAt < now - proofLifetimeMs) return invalid('its iat is too long ago');
  if (issuedAt > now + clockSkewMs) return invalid('its iat lies ahead');
  return null;
}

function requestUri(gateway: Gateway, exchange: Exchange): RequestUri {
  const { head, peer, path } = exchange;
  if (head === null) throw new TypeError('a request without a head has no URI');
  const { scheme, host } = gateway.addresses.origin(head, peer, gateway.options.tls !== null);
  return { scheme, authority: normaliseAuthority(host, scheme), path };
}

function invalid(why: string): Refusal {
  return doubt('invalid_dpop_proof', `The DPoP proof is not accepted: ${why}.`);
}

function doubt(proofError: ProofError, detail: string): Refusal {
  return refuse('token_untrusted', detail, { proofError });
}

/** In constant time. Their length is public. */
function equalTexts(a: string, b: string): boolean {
  return equalDigests(Buffer.from(a), Buffer.from(b));
}
