import { execFileSync, spawnSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { FAMILIES } from '../../src/metrics/families.ts';
import { createMetrics, type MetricsRecorder } from '../../src/metrics/recorder.ts';

function recordEverything(metrics: MetricsRecorder): void {
  metrics.request('orders', 'read orders', 'allow', 'ok');
  metrics.request('orders', 'read orders', 'allow', 'ok');
  metrics.request('orders', 'write', 'deny', 'scope_insufficient');
  metrics.request('-', '-', 'deny', 'route_not_declared');
  metrics.response('orders', 200);
  metrics.response('orders', 999);
  metrics.decisionSeconds(2e-6);
  metrics.requestSeconds('orders', 0.02);
  metrics.upstreamSeconds('orders', 0.01);
  metrics.inFlight('orders', 1);
  metrics.inFlight('orders', 1);
  metrics.inFlight('orders', -1);
  metrics.streamsOpen('orders', 1);
  metrics.tokenEvent('issued');
  metrics.tokens([{ class: 'service', status: 'active', count: 3 }]);
  metrics.tokensExpiring([{ class: 'service', withinMs: 7 * 86_400_000, count: 1 }]);
  metrics.revocationPropagationSeconds(0.004);
  metrics.storeUp(true);
  metrics.storeLeaseValid(true);
  metrics.storeOperationSeconds('find', 3e-5);
  metrics.cacheHit();
  metrics.cacheMiss();
  metrics.auditEvent('file');
  metrics.auditDropped('stdout');
  metrics.policyInfo('abc123');
  metrics.policyReload('success');
  metrics.introspection('https://issuer.example/introspect', 'failure');
  metrics.jwksRefresh('https://issuer.example', 'failure');
}

async function samples(metrics: MetricsRecorder, family: string): Promise<string[]> {
  const { body } = await metrics.text('prometheus');
  return body.split('\n').filter((line) => line.startsWith(family));
}

describe('the metrics', () => {
  it('count what they are told', async () => {
    const metrics = createMetrics({ defaults: false });
    recordEverything(metrics);
    const { body, contentType } = await metrics.text('prometheus');
    expect(contentType).toBe('text/plain; version=0.0.4; charset=utf-8');
    for (const line of [
      'portcullis_requests_total{api="orders",rule="read orders",decision="allow",reason="ok"} 2',
      'portcullis_requests_total{api="orders",rule="write",decision="deny",reason="scope_insufficient"} 1',
      'portcullis_requests_total{api="-",rule="-",decision="deny",reason="route_not_declared"} 1',
      'portcullis_responses_total{api="orders",code="200"} 1',
      'portcullis_responses_total{api="orders",code="other"} 1',
      'portcullis_decision_duration_seconds_bucket{le="1e-06"} 0',
      'portcullis_decision_duration_seconds_bucket{le="2.5e-06"} 1',
      'portcullis_decision_duration_seconds_bucket{le="1.0"} 1',
      'portcullis_decision_duration_seconds_bucket{le="+Inf"} 1',
      'portcullis_decision_duration_seconds_sum 0.000002',
      'portcullis_decision_duration_seconds_count 1',
      'portcullis_request_duration_seconds_bucket{api="orders",le="0.01"} 0',
      'portcullis_request_duration_seconds_bucket{api="orders",le="0.025"} 1',
      'portcullis_upstream_duration_seconds_count{upstream="orders"} 1',
      'portcullis_in_flight{api="orders"} 1',
      'portcullis_streams_open{api="orders"} 1',
      'portcullis_tokens{class="service",status="active"} 3',
      'portcullis_tokens_expiring{class="service",within="7d"} 1',
      'portcullis_token_events_total{event="issued"} 1',
      'portcullis_revocation_propagation_seconds_count 1',
      'portcullis_store_up 1',
      'portcullis_store_lease_valid 1',
      'portcullis_store_operation_duration_seconds_count{op="find"} 1',
      'portcullis_cache_hits_total 1',
      'portcullis_cache_misses_total 1',
      'portcullis_audit_events_total{sink="file"} 1',
      'portcullis_audit_dropped_total{sink="file"} 0',
      'portcullis_audit_dropped_total{sink="stdout"} 1',
      'portcullis_policy_info{version="abc123"} 1',
      'portcullis_policy_reloads_total{result="success"} 1',
      'portcullis_jwks_refresh_total{issuer="https://issuer.example",result="failure"} 1',
      'portcullis_jwks_refresh_total{issuer="https://issuer.example",result="success"} 0',
    ]) {
      expect(body.split('\n')).toContain(line);
    }
  });

  it('show every family of the table, and no other, from the start', async () => {
    const { body } = await createMetrics({ defaults: false }).text('prometheus');
    const shown = [...body.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map((match) => [match[1], match[2]]);
    expect(shown).toEqual(Object.values(FAMILIES).map(({ name, type }) => [name, type === 'info' ? 'gauge' : type]));
    const helped = [...body.matchAll(/^# HELP (\S+) \S.*$/gm)].map((match) => match[1]);
    expect(helped).toEqual(Object.values(FAMILIES).map(({ name }) => name));
  });

  it('stand at zero before anything has happened, so that the first increase is seen', async () => {
    const metrics = createMetrics({ defaults: false });
    expect(await samples(metrics, 'portcullis_store_up')).toEqual(['portcullis_store_up 0']);
    expect(await samples(metrics, 'portcullis_policy_reloads_total')).toEqual([
      'portcullis_policy_reloads_total{result="success"} 0',
      'portcullis_policy_reloads_total{result="failure"} 0',
    ]);
    expect(await samples(metrics, 'portcullis_token_events_total')).toHaveLength(7);
    expect(await samples(metrics, 'portcullis_cache_hits_total')).toEqual(['portcullis_cache_hits_total 0']);
  });

  it('replace a gauge as a whole, so that a class that is gone is gone', async () => {
    const metrics = createMetrics({ defaults: false });
    metrics.tokens([
      { class: 'ci', status: 'active', count: 1 },
      { class: 'service', status: 'active', count: 2 },
    ]);
    metrics.tokens([{ class: 'service', status: 'revoked', count: 2 }]);
    expect(await samples(metrics, 'portcullis_tokens{')).toEqual([
      'portcullis_tokens{class="service",status="revoked"} 2',
    ]);
    metrics.tokensExpiring([{ class: 'ci', withinMs: 3_600_000, count: 1 }]);
    metrics.tokensExpiring([]);
    expect(await samples(metrics, 'portcullis_tokens_expiring{')).toEqual([]);
    metrics.policyInfo('one');
    metrics.policyInfo('two');
    expect(await samples(metrics, 'portcullis_policy_info')).toEqual(['portcullis_policy_info{version="two"} 1']);
  });

  it('do not count a duration that is none, and count one of a clock that stepped as zero', async () => {
    const metrics = createMetrics({ defaults: false });
    for (const seconds of [Number.NaN, Number.POSITIVE_INFINITY, -1, 5]) metrics.decisionSeconds(seconds);
    const lines = await samples(metrics, 'portcullis_decision_duration_seconds');
    expect(lines).toContain('portcullis_decision_duration_seconds_bucket{le="1e-06"} 1');
    expect(lines).toContain('portcullis_decision_duration_seconds_count 2');
    expect(lines).toContain('portcullis_decision_duration_seconds_sum 5');
  });

  it('have only labels whose values come from the operator or from closed lists', () => {
    const labels = new Set(Object.values(FAMILIES).flatMap(({ labels: names }) => [...names]));
    // Each with where its values come from. A label that is not here has to be thought about first.
    const sources = {
      api: 'policy files',
      rule: 'policy files',
      decision: 'closed list',
      reason: 'model/reason.ts',
      code: 'status codes 100 to 599, or other',
      upstream: 'configuration',
      class: 'classes.yaml',
      status: 'model/token-record.ts',
      within: 'configuration',
      event: 'closed list',
      op: 'names of store operations',
      sink: 'closed list',
      version: 'digest of the policies',
      result: 'closed list',
      issuer: 'configuration',
      server: 'configuration',
    };
    expect([...labels].toSorted()).toEqual(Object.keys(sources).toSorted());
  });

  it('keep no state outside of themselves', async () => {
    const one = createMetrics();
    const other = createMetrics();
    one.cacheHit();
    expect(await samples(other, 'portcullis_cache_hits_total')).toEqual(['portcullis_cache_hits_total 0']);
    one.close();
    other.close();
  });

  it('include those of Node, unless they are not wanted', async () => {
    const metrics = createMetrics();
    const { body } = await metrics.text('prometheus');
    expect(body).toMatch(/^process_resident_memory_bytes [1-9]/m);
    expect(body).toMatch(/^nodejs_eventloop_lag_p99_seconds /m);
    expect(body).toMatch(/^# TYPE nodejs_version_info gauge$/m);
    metrics.close();
    expect((await createMetrics({ defaults: false }).text('prometheus')).body).not.toMatch(/nodejs|process_/);
  });
});

const promtool = spawnSync('promtool', ['--version']).status === 0;

describe.skipIf(!promtool)('promtool (skipped where it is not installed: Debian package prometheus)', () => {
  it('finds nothing to say about the metrics', async () => {
    const metrics = createMetrics();
    recordEverything(metrics);
    const { body } = await metrics.text('prometheus');
    metrics.close();
    expect(execFileSync('promtool', ['check', 'metrics'], { input: body, encoding: 'utf8' })).toBe('');
  });
});
