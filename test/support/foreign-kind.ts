import type { ForeignToken, Principal } from '../../src/model/principal.ts';
import type { AuthenticationOutcome, ForeignTokens, TokenReason } from '../../src/token/authenticator.ts';

/**
 * A kind of tokens of others that needs no issuer: the token is its own claims, in base64url after `test.`. With `untimely` it
 * is refused for that, as a token that is proven and not good now.
 */
export interface TestClaims extends Partial<ForeignToken> {
  readonly tokenId?: string;
  readonly expiresAt?: number;
  readonly untimely?: TokenReason;
}

export function foreignToken(claims: TestClaims): string {
  return `test.${Buffer.from(JSON.stringify(claims)).toString('base64url')}`;
}

export const testTokens: ForeignTokens = {
  authenticate(credential, now) {
    if (!credential.startsWith('test.')) return null;
    const claims = JSON.parse(Buffer.from(credential.slice(5), 'base64url').toString()) as TestClaims;
    const principal = principalOf(claims, now);
    const { untimely } = claims;
    const outcome: AuthenticationOutcome =
      untimely === undefined
        ? { ok: true, generation: 0, principal }
        : { ok: false, reason: untimely, tokenId: principal.tokenId, generation: 0 };
    return outcome;
  },
};

function principalOf(claims: TestClaims, now: number): Principal {
  const { issuer = 'https://issuer.example', jti = null, subject = null, issuedAt = now - 60_000 } = claims;
  return {
    tokenType: 'jwt',
    tokenId: claims.tokenId ?? `jwt:${String(jti ?? '').padStart(22, '0')}`,
    subject,
    owner: null,
    class: null,
    scopes: ['orders:read'],
    roles: [],
    claims: {},
    ip: [],
    issuedAt: issuedAt ?? now,
    expiresAt: claims.expiresAt ?? now + 3_600_000,
    supersededUntil: null,
    foreign: { issuer, jti, subject, issuedAt },
    confirmation: null,
  };
}
