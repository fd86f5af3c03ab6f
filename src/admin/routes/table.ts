import type { EventStreams } from '../event-streams.ts';
import type { AdminOptions } from '../options.ts';
import type { AdminRoute } from '../route.ts';
import { auditRoute } from './audit.ts';
import { eventsRoute } from './events.ts';
import { explainRoute } from './explain.ts';
import { introspectionRoutes } from './introspection.ts';
import { statusRoute } from './operations.ts';
import { policyRoutes } from './policies.ts';
import { revokeManyRoute } from './revocations.ts';
import { tokenRoutes } from './tokens.ts';

/** Every call that needs a token: what the server registers is what the OpenAPI document describes. */
export function adminRoutes(options: AdminOptions, streams: EventStreams): AdminRoute[] {
  return [
    ...tokenRoutes(options),
    revokeManyRoute(options),
    ...introspectionRoutes(options),
    explainRoute(options),
    ...policyRoutes(options),
    auditRoute(options),
    eventsRoute(options, streams),
    statusRoute(options),
  ];
}
