import { z } from 'zod';
import { InvalidAuditCursor, queryAudit } from '../../audit/query.ts';
import { listTrail } from '../../audit/worker-files.ts';
import { AUDIT_EVENT_TYPES } from '../../model/audit-event.ts';
import { CURSOR, LIMIT, NEXT_CURSOR, TEXT, TIME } from '../fields.ts';
import type { AdminOptions } from '../options.ts';
import { refusal } from '../problem.ts';
import { type AdminRoute, defineRoute, invalidRequest, json } from '../route.ts';

const GROUPS = [...new Set(AUDIT_EVENT_TYPES.map((type) => type.split('.')[0] ?? type))];

const AUDIT_QUERY = z.strictObject({
  token: TEXT.optional().meta({ description: 'A token id' }),
  since: TIME.optional().meta({ description: 'Inclusive', format: 'date-time' }),
  until: TIME.optional().meta({ description: 'Exclusive', format: 'date-time' }),
  type: z
    .enum([...AUDIT_EVENT_TYPES, ...GROUPS])
    .optional()
    .meta({ description: 'A type, or what stands before its dot for the whole group' }),
  decision: z.enum(['allow', 'deny', 'would_deny']).optional(),
  cursor: CURSOR,
  limit: LIMIT,
});

/** As the audit trail has it; the reference of its members is the trail's own. */
const AUDIT_EVENT = z.looseObject({
  v: z.literal(1),
  seq: z.int(),
  time: z.iso.datetime(),
  type: z.enum(AUDIT_EVENT_TYPES),
  outcome: z.enum(['success', 'failure']),
  prev: z.string(),
  hash: z.string(),
});

export function auditRoute(options: AdminOptions): AdminRoute {
  return defineRoute({
    method: 'GET',
    path: '/v1/audit',
    operationId: 'queryAudit',
    tag: 'Audit',
    summary: 'Audit events, the newest first',
    description:
      'A page may hold fewer events than asked for, even none, and have a cursor: the work for one page is bounded.',
    scope: 'portcullis:audit:read',
    query: AUDIT_QUERY,
    answers: {
      200: { description: 'One page', schema: z.strictObject({ events: z.array(AUDIT_EVENT), cursor: NEXT_CURSOR }) },
    },
    refusals: ['not_found'],
    handle: async ({ query }) => {
      // Every file sink holds every event, so one of them is looked through: of every worker, with what was rotated away.
      const [path] = options.auditFiles;
      if (path === undefined) return refusal('not_found', 'The audit trail is not written to a file here.');
      try {
        const page = await queryAudit(await listTrail(path), query);
        return json(200, { events: page.events, cursor: page.cursor });
      } catch (error) {
        if (error instanceof InvalidAuditCursor) return invalidRequest([{ path: 'cursor', message: error.message }]);
        throw error;
      }
    },
  });
}
