import { describe, expect, it } from 'vitest';
import { exposition } from '../../src/metrics/exposition.ts';
import { FAMILIES } from '../../src/metrics/families.ts';
import { mergeSnapshots, remains, type Snapshot } from '../../src/metrics/merge.ts';
import { createMetrics, type MetricsRecorder } from '../../src/metrics/recorder.ts';

async function snapshot(countedAt: number, record: (metrics: MetricsRecorder) => void): Promise<Snapshot> {
  const metrics = createMetrics({ defaults: false });
  record(metrics);
  return { countedAt, families: await metrics.collect() };
}

function lines(snapshots: readonly Snapshot[]): string[] {
  return exposition(mergeSnapshots(snapshots), 'prometheus')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'));
}

describe('the metrics of several workers', () => {
  it('add up what was counted, and take of each gauge what is true of all', async () => {
    const first = await snapshot(1000, (metrics) => {
      metrics.request('orders', 'read', 'allow', 'ok');
      metrics.request('orders', 'read', 'allow', 'ok');
      metrics.requestSeconds('orders', 0.002);
      metrics.inFlight('orders', 1);
      metrics.storeUp(true);
      metrics.storeLeaseValid(true);
      metrics.tokens([{ class: 'service', status: 'active', count: 7 }]);
      metrics.policyInfo('old');
    });
    const second = await snapshot(2000, (metrics) => {
      metrics.request('orders', 'read', 'allow', 'ok');
      metrics.request('orders', 'write', 'deny', 'scope_insufficient');
      metrics.requestSeconds('orders', 0.2);
      metrics.inFlight('orders', 1);
      metrics.storeUp(true);
      metrics.storeLeaseValid(false);
      metrics.tokens([{ class: 'ci', status: 'active', count: 2 }]);
      metrics.policyInfo('new');
    });
    const merged = lines([first, second]);
    for (const line of [
      'portcullis_requests_total{api="orders",rule="read",decision="allow",reason="ok"} 3',
      'portcullis_requests_total{api="orders",rule="write",decision="deny",reason="scope_insufficient"} 1',
      'portcullis_request_duration_seconds_bucket{api="orders",le="0.0025"} 1',
      'portcullis_request_duration_seconds_bucket{api="orders",le="+Inf"} 2',
      'portcullis_request_duration_seconds_sum{api="orders"} 0.202',
      'portcullis_request_duration_seconds_count{api="orders"} 2',
      'portcullis_in_flight{api="orders"} 2',
      'portcullis_store_up 1',
      'portcullis_store_lease_valid 0',
      'portcullis_tokens{class="ci",status="active"} 2',
      'portcullis_policy_info{version="old"} 1',
      'portcullis_policy_info{version="new"} 1',
    ]) {
      expect(merged).toContain(line);
    }
    expect(merged.filter((line) => line.startsWith('portcullis_tokens{'))).toHaveLength(1);
  });

  it('are for one worker what it says itself, the series of every family in their order', async () => {
    const metrics = createMetrics();
    metrics.request('orders', 'read', 'allow', 'ok');
    const families = await metrics.collect();
    metrics.close();
    expect(mergeSnapshots([{ countedAt: 1, families }])).toEqual(families);
  });

  it('never fall when a worker is gone', async () => {
    const gone = await snapshot(9000, (metrics) => {
      metrics.request('orders', 'read', 'allow', 'ok');
      metrics.decisionSeconds(0.5);
      metrics.inFlight('orders', 1);
      metrics.storeUp(false);
      metrics.tokens([{ class: 'service', status: 'active', count: 7 }]);
    });
    const merged = lines([await snapshot(1, (metrics) => metrics.storeUp(true)), remains([gone, gone])]);
    expect(merged).toContain('portcullis_requests_total{api="orders",rule="read",decision="allow",reason="ok"} 2');
    expect(merged).toContain('portcullis_decision_duration_seconds_count 2');
    expect(merged).toContain('portcullis_store_up 1');
    expect(merged.filter((line) => /^portcullis_(in_flight|tokens)\{/.test(line))).toEqual([]);
  });

  it('have a rule for every gauge', () => {
    const gauges = Object.values(FAMILIES).filter(({ type }) => type === 'gauge');
    expect(gauges.length).toBeGreaterThan(5);
    expect(gauges.filter((family) => !('across' in family))).toEqual([]);
  });
});
