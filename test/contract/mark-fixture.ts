import type { ForeignToken } from '../../src/model/principal.ts';
import type { RevocationMark } from '../../src/model/revocation-mark.ts';
import { type MarkedPrincipal, markId } from '../../src/store/revocation-marks.ts';

/** Far enough in the future for the clock of any machine that runs the tests. */
export const MARKED_AT = 4_000_000_000_000;

/** A mark that is kept for an hour after `MARKED_AT`, or as `changes` says. */
export function aMark(changes: Partial<RevocationMark>): RevocationMark {
  const mark = {
    id: '',
    tokenId: null,
    jti: null,
    subject: null,
    issuer: null,
    issuedBefore: null,
    keepUntil: MARKED_AT + 3_600_000,
    revokedAt: MARKED_AT,
    revokedBy: 'admin',
    reason: 'leaked',
    ...changes,
  };
  return { ...mark, id: markId(mark) };
}

/** Of a token that somebody else issued. */
export function aForeign(changes: Partial<ForeignToken> & { readonly tokenId?: string } = {}): MarkedPrincipal {
  const { tokenId = 'jwt:one', ...foreign } = changes;
  return {
    tokenId,
    foreign: { issuer: 'https://issuer.example', jti: 'one', subject: 'alice', issuedAt: MARKED_AT - 1000, ...foreign },
  };
}
