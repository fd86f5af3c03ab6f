import { z } from 'zod';
import type { ProtectedResource } from '../model/protected-resource.ts';
import { unique } from './unique-items.ts';
import { publicUrl, resourceIdentifier } from './values.ts';

const asText = (item: unknown): string | null => (typeof item === 'string' ? item : null);

/** The section `resource`: what clients are told about the APIs behind this listener (RFC 9728). */
export function resourceSchema() {
  return z
    .strictObject({
      identifier: resourceIdentifier().meta({ description: 'The URL by which clients know these APIs.' }),
      authorization_servers: unique(z.array(publicUrl()), asText)
        .optional()
        .meta({ description: 'Issuers whose tokens are taken; those of issuers where it is left out.' }),
      scopes_supported: unique(
        z.array(z.string().regex(/^[\x21\x23-\x5b\x5d-\x7e]+$/, { error: 'expected a scope' })),
        asText,
      )
        .optional()
        .meta({ description: 'Scopes that clients may ask for; not told where it is left out.' }),
      documentation: publicUrl().optional().meta({ description: 'A page for developers.' }),
      name: z
        .string()
        .min(1, { error: 'cannot be empty' })
        .max(200)
        .optional()
        .meta({ description: 'A name for people.' }),
    })
    .optional()
    .meta({ description: 'What clients are told about these APIs (RFC 9728); nothing where it is left out.' });
}

type Section = z.output<ReturnType<typeof resourceSchema>>;

export function resource(section: Section): ProtectedResource | null {
  if (section === undefined) return null;
  return {
    identifier: section.identifier,
    authorizationServers: section.authorization_servers ?? null,
    scopesSupported: section.scopes_supported ?? null,
    documentation: section.documentation ?? null,
    name: section.name ?? null,
  };
}
