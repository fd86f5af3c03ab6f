import { z } from 'zod';
import { followedSecret, type SecretSource } from './secret-reference.ts';
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
        value: followedSecret(source, fieldValueComplaint).meta({
          description: "The header's whole value; a file is read again when it changes.",
        }),
      })
      .optional()
      .meta({ description: 'What the gateway presents to the upstream in place of the token.' }),
    assertion: z.boolean().prefault(false).meta({
      description: 'Whether Portcullis-Assertion says signed who a request is for; needs the section assertion.',
    }),
  });
}

/** Why a text cannot be the value of a header (RFC 9110 §5.5), or null. */
export function fieldValueComplaint(text: string): string | null {
  if (!/^[\t\x20-\x7e\x80-\xff]*$/.test(text)) return 'holds characters that cannot stand in a header';
  return text.trim() === '' ? 'is blank' : null;
}
