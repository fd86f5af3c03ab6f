import { rfc3339 } from '../base/encoding.ts';
import type { OwnTokenOutcome, OwnTokenService } from '../gateway/own-token.ts';
import type { Principal } from '../model/principal.ts';

/** What the holder of a token that somebody else issued may do with it here. */
export function createForeignOwnTokenService(): Pick<OwnTokenService, 'show' | 'rotate'> {
  return {
    show: async ({ principal }) => ({ kind: 'answer', body: described(principal) }),
    rotate: async () => notHere('A new secret for it comes from its issuer, not from this gateway.'),
  };
}

/** What the token says of itself; there is no record. */
function described(principal: Principal): Readonly<Record<string, unknown>> {
  const { tokenId, tokenType, subject, scopes, roles, claims, foreign, issuedAt, expiresAt } = principal;
  return {
    id: tokenId,
    type: tokenType,
    issuer: foreign?.issuer ?? null,
    jti: foreign?.jti ?? null,
    status: 'active',
    subject,
    scopes,
    roles,
    claims,
    issued_at: foreign?.issuedAt === null ? null : rfc3339(issuedAt),
    /** The clock skew that is granted to the issuer included. */
    expires_at: rfc3339(expiresAt),
  };
}

function notHere(what: string): OwnTokenOutcome {
  return { kind: 'problem', reason: 'conflict', detail: `The token was issued by somebody else. ${what}` };
}
