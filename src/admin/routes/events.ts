import { z } from 'zod';
import type { EventStreams } from '../event-streams.ts';
import type { AdminOptions } from '../options.ts';
import { refusal } from '../problem.ts';
import { type AdminRoute, defineRoute } from '../route.ts';

export function eventsRoute(options: AdminOptions, streams: EventStreams): AdminRoute {
  return defineRoute({
    method: 'GET',
    path: '/v1/events',
    operationId: 'followEvents',
    tag: 'Audit',
    summary: 'Audit events as they are written, as server-sent events',
    description:
      'Each is `event: audit` with the line of the audit trail as its data. A client that reads too slowly gets `event: ' +
      'missed` with the number of events left out. The stream ends when its token does.',
    scope: 'portcullis:audit:read',
    headless: true,
    answers: { 200: { description: 'A stream without end', contentType: 'text/event-stream', schema: z.string() } },
    refusals: ['overloaded'],
    handle: async ({ caller }) => {
      if (streams.full) return refusal('overloaded', 'As many clients as can be served follow the events already.');
      const owner = {
        tokenId: caller.principal.tokenId,
        stillAllowed: () => caller.stillAllowed(options.clock.now()),
        vouchedFor: () => options.vouchesFor(caller.principal),
      };
      return { ok: true, kind: 'stream', start: (response) => streams.start(response, owner) };
    },
  });
}
