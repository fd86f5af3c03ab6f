import { LIMITS } from '../base/limits.ts';
import type { MaybePromise } from '../base/result.ts';
import { type AuthenticatorOptions, createAuthenticator } from './authenticate.ts';
import type { AuthenticationOutcome, ForeignTokens } from './authenticator.ts';

/** `now` is milliseconds since the epoch. Throws (or rejects with) a Fault `store_unavailable`. */
export type Identify = (credential: string, now: number) => MaybePromise<AuthenticationOutcome>;

/**
 * Says which token an authenticated caller speaks about: for tokens of others as `ForeignTokens.identify`, revoked or not; one of
 * ours as it is let in. Never whether whoever presents it may do anything.
 */
export function createIdentifier(
  options: Omit<AuthenticatorOptions, 'foreign'>,
  kinds: readonly ForeignTokens[],
): Identify {
  const own = createAuthenticator(options);
  return (credential, now) => {
    for (const kind of credential.length > LIMITS.credentialBytes ? [] : kinds) {
      const outcome = kind.identify === undefined ? kind.authenticate(credential, now) : kind.identify(credential, now);
      if (outcome !== null) return outcome;
    }
    return own.authenticate(credential, now);
  };
}
