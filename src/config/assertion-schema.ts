import { z } from 'zod';
import { parseSigningKeys } from '../base/signing-key.ts';
import { followedSecret, type SecretSource } from './secret-reference.ts';
import { duration } from './values.ts';

/** The section `assertion`: how the gateway signs what it tells upstreams. */
export function assertionSchema(source: SecretSource) {
  return z
    .strictObject({
      issuer: z
        .string({ error: 'expected a name or a URL' })
        .regex(/^[\x21-\x7e]{1,200}$/, { error: 'expected 1 to 200 visible ASCII characters' })
        .optional()
        .meta({ description: 'The iss of every assertion; urn:portcullis:ENVIRONMENT where it is left out.' }),
      keys: followedSecret(source, signingKeysComplaint).meta({
        description: 'Ed25519 private keys: PEM, a JWK or a JWK Set. The first one signs; all are published.',
      }),
      lead: duration()
        .optional()
        .meta({ description: 'How long a new key is published before it signs; 15m where it is left out.' }),
    })
    .optional()
    .meta({ description: 'Signed assertions, for upstreams with assertion: true.' });
}

function signingKeysComplaint(text: string): string | null {
  const keys = parseSigningKeys(text);
  return keys.ok ? null : keys.error;
}
