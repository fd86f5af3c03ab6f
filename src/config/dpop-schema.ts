import { z } from 'zod';
import { duration, timeout } from './values.ts';

/** The section `tokens.dpop`: proofs of possession (RFC 9449). */
export function dpopSchema() {
  return z
    .strictObject({
      nonce: z
        .enum(['off', 'required'])
        .prefault('off')
        .meta({ description: 'Whether a proof needs a nonce of this server.' }),
      proof_lifetime: timeout()
        .refine((ms) => ms <= LONGEST_MS, { error: 'must be at most 10m' })
        .prefault('60s')
        .meta({ description: 'How old a proof may be; for twice as long it is remembered.' }),
      clock_skew: duration()
        .refine((ms) => ms <= LONGEST_MS, { error: 'must be at most 10m' })
        .prefault('5s')
        .meta({ description: "How far a proof's time may lie ahead of this machine's." }),
    })
    .prefault({})
    .meta({ description: 'DPoP proofs (RFC 9449), for tokens that are bound to a key.' });
}

/** What is accepted for long has to be remembered for long. */
const LONGEST_MS = 600_000;
