import { z } from 'zod';
import { rfc3339 } from '../../base/encoding.ts';
import { openApiDocument } from '../openapi.ts';
import type { AdminOptions, WorkerReport } from '../options.ts';
import { type AdminRoute, defineRoute, json, type PublicRoute } from '../route.ts';

const STATUS = z.strictObject({
  version: z.string(),
  environment: z.string(),
  started_at: z.iso.datetime(),
  uptime_ms: z.int(),
  draining: z.boolean(),
  store: z.strictObject({ kind: z.enum(['embedded', 'redis']), up: z.boolean() }),
  lease: z
    .object({ valid: z.boolean(), remaining_ms: z.int() })
    .nullable()
    .meta({ description: 'Null where every request asks the store' }),
  replicas: z.int(),
  workers: z
    .array(z.strictObject({ worker: z.int(), pid: z.int(), started_at: z.iso.datetime() }))
    .optional()
    .meta({ description: 'The processes of this gateway that answered; left out where it is one' }),
  policy: z
    .object({ version: z.string(), loaded_at: z.iso.datetime().nullable(), last_reload_failed: z.boolean() })
    .nullable(),
});

export function statusRoute(options: AdminOptions): AdminRoute {
  return defineRoute({
    method: 'GET',
    path: '/v1/status',
    operationId: 'getStatus',
    tag: 'Operations',
    summary: 'Store, lease, replicas, policy version and uptime of this gateway',
    scope: 'portcullis:status:read',
    answers: { 200: { description: 'The status', schema: STATUS } },
    handle: async () => {
      const report = await options.status();
      const policy = options.policy.current();
      const { loadedAt, lastError } = options.policy.state();
      const body: z.input<typeof STATUS> = {
        version: options.version,
        environment: options.environment,
        started_at: rfc3339(report.startedAt),
        uptime_ms: Math.max(0, options.clock.now() - report.startedAt),
        draining: report.draining,
        store: { kind: report.store.kind, up: report.store.up },
        lease:
          report.lease === null
            ? null
            : { valid: report.lease.valid, remaining_ms: Math.round(report.lease.remainingMs) },
        replicas: report.replicas,
        ...(report.workers === undefined ? {} : { workers: report.workers.map(describedWorker) }),
        policy:
          policy === null
            ? null
            : {
                version: policy.version,
                loaded_at: loadedAt === null ? null : rfc3339(loadedAt),
                last_reload_failed: lastError !== null,
              },
      };
      return json(200, body);
    },
  });
}

function describedWorker({ worker, pid, startedAt }: WorkerReport) {
  return { worker, pid, started_at: rfc3339(startedAt) };
}

/**
 * What needs no token. Probes and scrapers have none, and the listener is private by its address (127.0.0.1 unless
 * configured otherwise); nothing here names a token, a client or a caller.
 */
export function publicRoutes(options: AdminOptions, calls: readonly AdminRoute[]): PublicRoute[] {
  const routes: PublicRoute[] = [
    {
      method: 'GET',
      path: '/healthz',
      operationId: 'getHealth',
      tag: 'Operations',
      summary: 'Whether the process is alive',
      description: 'Says nothing of the store: restarting this process would not bring it back.',
      answers: { 200: { description: 'It is', schema: z.strictObject({ status: z.literal('ok') }) } },
      run: async () => json(200, { status: 'ok' }),
    },
    {
      method: 'GET',
      path: '/readyz',
      operationId: 'getReadiness',
      tag: 'Operations',
      summary: 'Whether requests should be sent here',
      answers: {
        200: { description: 'Ready', schema: z.strictObject({ ready: z.literal(true), reasons: z.array(z.string()) }) },
        503: {
          description: 'Not ready',
          schema: z.strictObject({ ready: z.literal(false), reasons: z.array(z.string()) }),
        },
      },
      run: async () => {
        const { ready, reasons } = await options.ready();
        return json(ready ? 200 : 503, { ready, reasons });
      },
    },
    {
      method: 'GET',
      path: '/metrics',
      operationId: 'getMetrics',
      tag: 'Operations',
      summary: 'Metrics in the Prometheus text format or OpenMetrics, as Accept asks',
      answers: { 200: { description: 'All metrics', contentType: 'text/plain', schema: z.string() } },
      run: async ({ accept }) => {
        const { contentType, body } = await options.metricsText(accept);
        return { ok: true, kind: 'text', contentType, text: body };
      },
    },
    {
      method: 'GET',
      path: '/v1/openapi.json',
      operationId: 'getOpenApi',
      tag: 'Operations',
      summary: 'This description',
      answers: { 200: { description: 'An OpenAPI 3.1 document', schema: z.looseObject({ openapi: z.string() }) } },
      run: async () => json(200, document),
    },
  ];
  const document = openApiDocument(options.version, calls, routes);
  return routes;
}
