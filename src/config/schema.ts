import { z } from 'zod';
import { assertionSchema } from './assertion-schema.ts';
import { dpopSchema } from './dpop-schema.ts';
import { introspectionSchema } from './introspection-schema.ts';
import { issuersSchema } from './issuer-schema.ts';
import { listenSchema } from './listen-schema.ts';
import { resourceSchema } from './resource-schema.ts';
import { type SecretSource, secretReference } from './secret-reference.ts';
import { storeSchema } from './store-schema.ts';
import { unique } from './unique-items.ts';
import { upstreamSchema } from './upstream-schema.ts';
import { authenticationScheme, duration, headerName, host, path, port } from './values.ts';

const NOT_AVAILABLE = 'not available in this version';

/** Each has memory, connections to the store and an audit file of its own. */
const MOST_WORKERS = 128;
const WORKERS_EXPECTED = { error: `expected a number of processes from 1 to ${MOST_WORKERS}, or auto` };

/** The configuration file as an operator writes it; parsing resolves secrets and paths on the way. */
export function configSchema(source: SecretSource) {
  return z
    .strictObject({
      environment: z
        .string({ error: 'expected a name' })
        .regex(/^[a-z0-9-]{1,32}$/, { error: 'expected 1 to 32 of a-z, 0-9 and -' })
        .prefault('prod')
        .meta({ description: 'Name of this environment. Tokens of another environment are refused.' }),
      listen: listenSchema(source),
      workers: z
        .union([
          z.int(WORKERS_EXPECTED).min(1, WORKERS_EXPECTED).max(MOST_WORKERS, WORKERS_EXPECTED),
          // Not a literal: what is wrong with another word would be said without a word of numbers.
          z.templateLiteral(['auto'], WORKERS_EXPECTED),
        ])
        .prefault(1)
        .meta({ description: 'Number of processes that serve; auto: as many as there are processors.' }),
      admin: z
        .strictObject({
          host: host().prefault('127.0.0.1').meta({ description: 'Address of the admin listener.' }),
          port: port().prefault(9090).meta({ description: 'Port of the admin listener; 0 takes a free one.' }),
        })
        .prefault({})
        .meta({ description: 'The admin API, the console, /metrics, /healthz and /readyz.' }),
      store: storeSchema(source),
      tokens: tokensSchema(source),
      upstreams: z
        .record(z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/, { error: UPSTREAM_NAME }), upstreamSchema(source))
        .prefault({})
        .meta({ description: 'The APIs behind the gateway, by the name that policies use.' }),
      assertion: assertionSchema(source),
      issuers: issuersSchema(source),
      introspection: introspectionSchema(source),
      resource: resourceSchema(),
      policies: path(source.folder)
        .prefault('./policies')
        .meta({ description: 'Folder of the policies, roles and classes.' }),
      audit: auditSchema(source),
      log: z
        .strictObject({
          level: z
            .enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'])
            .prefault('info')
            .meta({ description: 'Least severe level that is written.' }),
        })
        .prefault({})
        .meta({ description: 'The log of the process itself, on stderr.' }),
    })
    .superRefine(
      ({ listen, admin }, context) => {
        if (listen?.port === admin?.port && listen?.host === admin?.host && listen?.port !== 0) {
          const message = 'the admin listener needs another address or port than the traffic listener';
          context.addIssue({ code: 'custom', path: ['admin', 'port'], message });
        }
      },
      { when: ({ value }) => isObject(value) && isObject(value['listen']) && isObject(value['admin']) },
    );
}

/** What an editor needs to check a configuration while it is typed: JSON Schema, draft 2020-12. */
export function configJsonSchema(): object {
  const schema = configSchema({ folder: '.', env: {} });
  return { title: 'Portcullis configuration', ...z.toJSONSchema(schema, { io: 'input', target: 'draft-2020-12' }) };
}

const UPSTREAM_NAME = 'the name of an upstream begins with a letter or digit and holds only those, dot, - and _';

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

function tokensSchema(source: SecretSource) {
  return z
    .strictObject({
      prefix: z
        .string({ error: 'expected a prefix such as pct' })
        .regex(/^[a-z0-9]{2,16}$/, { error: 'expected 2 to 16 of a-z and 0-9' })
        .prefault('pct')
        .meta({ description: 'What every token of this installation begins with.' }),
      accept: unique(
        z.array(
          z.strictObject({
            header: headerName().meta({ description: 'Header in which a token may stand.' }),
            scheme: authenticationScheme()
              .optional()
              .meta({ description: 'Authentication scheme before the token; without it the whole value is taken.' }),
          }),
        ),
        (place) =>
          isObject(place) && typeof place['header'] === 'string'
            ? `${place['header']} ${String(place['scheme'] ?? '').toLowerCase()}`
            : null,
      )
        .refine((places) => places.length > 0, { error: 'at least one header is needed' })
        .prefault([{ header: 'authorization', scheme: 'Bearer' }, { header: 'x-api-key' }])
        .meta({ description: 'Where a token may stand in a request.' }),
      expiry_warning: duration()
        .prefault('7d')
        .meta({ description: 'How long before its end a token is announced in Portcullis-Token-Expires.' }),
      dpop: dpopSchema(),
      pepper: secretReference(source)
        .optional()
        .meta({ description: 'Key of the HMAC with which tokens are stored; set it before the first token.' }),
    })
    .prefault({})
    .meta({ description: 'The tokens that this installation issues.' });
}

function auditSchema(source: SecretSource) {
  const later = (kind: string) =>
    z.looseObject({
      kind: z.literal(kind).refine(() => false, { error: `audit sink ${kind} is ${NOT_AVAILABLE}` }),
    });
  const file = z.strictObject({
    kind: z.literal('file'),
    path: path(source.folder).meta({ description: 'File to which events are appended, one a line.' }),
  });
  const stdout = z.strictObject({ kind: z.literal('stdout') });
  return z
    .strictObject({
      sinks: unique(
        z.array(
          z.discriminatedUnion('kind', [file, stdout, later('redis-stream'), later('http')], {
            error: 'expected a sink of kind: file or kind: stdout',
          }),
        ),
        (sink) =>
          isObject(sink) && typeof sink['kind'] === 'string' ? `${sink['kind']} ${String(sink['path'])}` : null,
      )
        .prefault([{ kind: 'file', path: './data/audit.jsonl' }])
        .meta({ description: 'Where audit events go.' }),
      on_full: z
        .enum(['drop', 'block'])
        .prefault('drop')
        .meta({ description: 'When a sink cannot keep up: drop (counted) or refuse requests.' }),
    })
    .prefault({})
    .meta({ description: 'The audit trail.' });
}
