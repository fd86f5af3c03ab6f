import type { Principal, TokenType } from '../model/principal.ts';
import type { Claims } from '../model/token-record.ts';

/** A token as a test case or an operator's question describes it; what is left out is empty. */
export interface SampleToken {
  readonly scopes?: readonly string[];
  readonly roles?: readonly string[];
  readonly claims?: Claims;
  readonly type?: TokenType;
  /** Milliseconds since its issue. */
  readonly age?: number;
  readonly subject?: string;
  readonly owner?: string;
  readonly class?: string;
  readonly ip?: readonly string[];
}

/** A principal for a question: the token counts as verified, and as living for another hour. */
export function samplePrincipal(token: SampleToken, now: number): Principal {
  return {
    tokenType: token.type ?? 'opaque',
    tokenId: 'sample',
    subject: token.subject ?? null,
    owner: token.owner ?? null,
    class: token.class ?? null,
    scopes: token.scopes ?? [],
    roles: token.roles ?? [],
    claims: token.claims ?? {},
    ip: token.ip ?? [],
    issuedAt: now - (token.age ?? 0),
    expiresAt: now + 3_600_000,
    supersededUntil: null,
    foreign: null,
    confirmation: null,
  };
}
