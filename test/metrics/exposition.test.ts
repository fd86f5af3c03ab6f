import { describe, expect, it } from 'vitest';
import { contentTypeFor, exposition, type Family } from '../../src/metrics/exposition.ts';
import { createMetrics } from '../../src/metrics/recorder.ts';

const FAMILIES: readonly Family[] = [
  {
    name: 'a_total',
    help: 'With a "quote", a \\ and\na new line.',
    type: 'counter',
    samples: [{ suffix: '', labels: [['api', 'a"b\\c\nd\ud800']], value: 3 }],
  },
  {
    name: 'b_seconds',
    help: 'b.',
    type: 'histogram',
    samples: [
      {
        suffix: '_bucket',
        labels: [
          ['api', 'x'],
          ['le', 0.00025],
        ],
        value: 1,
      },
      {
        suffix: '_bucket',
        labels: [
          ['api', 'x'],
          ['le', 2.5e-5],
        ],
        value: 1,
      },
      {
        suffix: '_bucket',
        labels: [
          ['api', 'x'],
          ['le', 10],
        ],
        value: 1,
      },
      {
        suffix: '_bucket',
        labels: [
          ['api', 'x'],
          ['le', Number.POSITIVE_INFINITY],
        ],
        value: 1,
      },
      { suffix: '_sum', labels: [['api', 'x']], value: 1e-7 },
      { suffix: '_count', labels: [['api', 'x']], value: 1 },
    ],
  },
  { name: 'c_info', help: 'c.', type: 'info', samples: [{ suffix: '', labels: [['version', '1']], value: 1 }] },
  { name: 'd', help: 'd.', type: 'gauge', samples: [{ suffix: '', labels: [], value: Number.NaN }] },
];

describe('the text formats', () => {
  it('write Prometheus text 0.0.4', () => {
    expect(exposition(FAMILIES, 'prometheus')).toBe(`# HELP a_total With a "quote", a \\\\ and\\na new line.
# TYPE a_total counter
a_total{api="a\\"b\\\\c\\nd\ufffd"} 3
# HELP b_seconds b.
# TYPE b_seconds histogram
b_seconds_bucket{api="x",le="0.00025"} 1
b_seconds_bucket{api="x",le="2.5e-05"} 1
b_seconds_bucket{api="x",le="10.0"} 1
b_seconds_bucket{api="x",le="+Inf"} 1
b_seconds_sum{api="x"} 1e-7
b_seconds_count{api="x"} 1
# HELP c_info c.
# TYPE c_info gauge
c_info{version="1"} 1
# HELP d d.
# TYPE d gauge
d NaN
`);
  });

  it('write OpenMetrics 1.0, with families named without the suffix of their samples', () => {
    expect(exposition(FAMILIES, 'openmetrics')).toBe(`# HELP a With a \\"quote\\", a \\\\ and\\na new line.
# TYPE a counter
a_total{api="a\\"b\\\\c\\nd\ufffd"} 3
# HELP b_seconds b.
# TYPE b_seconds histogram
# UNIT b_seconds seconds
b_seconds_bucket{api="x",le="0.00025"} 1
b_seconds_bucket{api="x",le="2.5e-05"} 1
b_seconds_bucket{api="x",le="10.0"} 1
b_seconds_bucket{api="x",le="+Inf"} 1
b_seconds_sum{api="x"} 1e-7
b_seconds_count{api="x"} 1
# HELP c c.
# TYPE c info
c_info{version="1"} 1
# HELP d d.
# TYPE d gauge
d NaN
# EOF
`);
  });

  it('can be asked for in turn', async () => {
    const metrics = createMetrics();
    const first = (await metrics.text('prometheus')).body.match(/^# TYPE portcullis_requests.*$/m);
    expect((await metrics.text('openmetrics')).contentType).toBe(
      'application/openmetrics-text; version=1.0.0; charset=utf-8',
    );
    expect((await metrics.text('openmetrics')).body).toMatch(/^# TYPE process_cpu_seconds counter$/m);
    expect((await metrics.text('prometheus')).body).toContain(first?.[0]);
    metrics.close();
  });
});

describe('the Accept header', () => {
  it.each([
    [undefined, 'prometheus'],
    ['', 'prometheus'],
    ['*/*', 'prometheus'],
    ['text/html,application/xhtml+xml,*/*;q=0.8', 'prometheus'],
    ['text/plain', 'prometheus'],
    ['application/openmetrics-text', 'openmetrics'],
    [
      'application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1',
      'openmetrics',
    ],
    ['application/openmetrics-text; version=1.0.0; q=0.4, text/plain;q=0.5', 'prometheus'],
    ['application/openmetrics-text;q=0', 'prometheus'],
    ['application/openmetrics-text;q=x', 'prometheus'],
  ])('%s asks for %s', (accept, format) => {
    expect(contentTypeFor(accept)).toBe(format);
  });
});
