import type { TokenStatus } from '../model/token-record.ts';

/** What can be asked of a token after its issue. */
export type TokenChange = 'rotate' | 'narrow' | 'revoke';

/** Null: the change may go ahead. A text says why not; it completes "the token …". `repeat`: it is so already. */
type Verdict = string | 'repeat' | null;

/**
 * Which change is open to which status. Nothing leads out of `revoked`, and only time leads to `expired`.
 * Revoking an expired token is allowed: it puts on record that it must not be revived.
 */
const TRANSITIONS: Readonly<Record<TokenStatus, Readonly<Record<TokenChange, Verdict>>>> = {
  active: { rotate: null, narrow: null, revoke: null },
  rotating: { rotate: null, narrow: null, revoke: null },
  expired: { rotate: 'has expired: issue a new one', narrow: 'has expired', revoke: null },
  revoked: { rotate: 'has been revoked: issue a new one', narrow: 'has been revoked', revoke: 'repeat' },
};

export function transition(status: TokenStatus, change: TokenChange): Verdict {
  return TRANSITIONS[status][change];
}
