import { z } from 'zod';
import { type SecretSource, secretReference } from './secret-reference.ts';
import { headerName, timeout, upstreamUrl } from './values.ts';

/** One of the section `upstreams`. */
export function upstreamSchema(source: SecretSource) {
  return z.strictObject({
    url: upstreamUrl().meta({ description: 'Origin, with an optional path prefix.' }),
    preserve_host: z.boolean().prefault(false).meta({ description: "Whether the client's Host is passed on." }),
    connect_timeout: timeout().prefault('5s').meta({ description: 'For a connection to be made.' }),
    response_timeout: timeout().prefault('60s').meta({ description: "For the answer's headers to arrive." }),
    credential: z
      .strictObject({
        header: headerName().meta({ description: 'Header that carries the credential.' }),
        value: secretReference(source)
          .refine((secret) => /^[\t\x20-\x7e\x80-\xff]+$/.test(secret.reveal()), {
            error: 'the secret holds characters that cannot stand in a header',
          })
          .meta({ description: "The header's whole value." }),
      })
      .optional()
      .meta({ description: 'What the gateway presents to the upstream in place of the token.' }),
    assertion: z
      .boolean()
      .refine((wanted) => !wanted, { error: 'signed assertions are not available in this version' })
      .prefault(false)
      .meta({ description: 'Signed identity for the upstream. Not available in this version.' }),
  });
}
