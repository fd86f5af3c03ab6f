import { constants, PerformanceObserver } from 'node:perf_hooks';
import { setImmediate as turn } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { systemClock } from '../../src/base/clock.ts';
import type { Exchange } from '../../src/gateway/exchange.ts';
import { type LiveStream, LiveStreams } from '../../src/gateway/live-streams.ts';
import { createMetrics } from '../../src/metrics/recorder.ts';

const REQUESTS = 250_000;
const UNDER_WAY = 64;

class Held implements LiveStream {
  readonly exchange: Exchange;
  readonly more = Array.from({ length: 100 }, (_, at) => at + 0.5);
  expiresAt = null;
  place = -1;

  constructor(exchange: Exchange) {
    this.exchange = exchange;
  }

  close(): void {
    // Nobody closes it here.
  }
}

/*
 * What a list of requests under way forgets, the young collections have to find: if the list's own leftovers hold one another, each
 * request lives on until a full collection, and the pauses of the young ones grow tenfold.
 */
describe('requests that are over', () => {
  it('are found by the collector without a full collection', async () => {
    const metrics = createMetrics();
    const streams = new LiveStreams(metrics, systemClock, () => false);
    let young = 0;
    let full = 0;
    const observer = new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) {
        const { kind } = ('detail' in entry ? entry.detail : {}) as { readonly kind?: number };
        if (kind === constants.NODE_PERFORMANCE_GC_MINOR) young += 1;
        else if (kind === constants.NODE_PERFORMANCE_GC_MAJOR) full += 1;
      }
    });
    observer.observe({ entryTypes: ['gc'] });
    const exchange = { tokenId: 'A1b2C3d4E5f6', api: null } as Exchange;
    const open: LiveStream[] = [];
    for (let i = 0; i < REQUESTS; i += 1) {
      const stream = new Held(exchange);
      streams.enter(stream);
      const over = open[i % UNDER_WAY];
      if (over !== undefined) streams.ended(over, false);
      open[i % UNDER_WAY] = stream;
      if (i % 10_000 === 0) await turn();
    }
    await turn();
    observer.disconnect();
    await metrics.close();
    process.stdout.write(`collections: ${young} young, ${full} full\n`);
    expect(young).toBeGreaterThan(5);
    expect({ young, full }).toEqual({ young, full: expect.toSatisfy((count: number) => count <= young / 10) });
    expect(streams.has('A1b2C3d4E5f6')).toBe(true);
    for (const stream of open) streams.ended(stream, false);
    expect(streams.has('A1b2C3d4E5f6')).toBe(false);
  });
});
