import { describe, expect, it } from 'vitest';
import { brokenPromises, type SentRequest } from './history.ts';

const request = (fields: Partial<SentRequest>): SentRequest => ({
  token: 't',
  replica: 'a',
  sentAt: 10,
  answeredAt: 12,
  status: 200,
  reason: null,
  ...fields,
});
const life = { token: 't', revokeSentAt: 20, revokedAt: 30 };

describe('the judge of a history', () => {
  it('finds nothing wrong with requests that were sent before the revocation returned, nor with refusals after it', () => {
    const requests = [
      request({}),
      request({ sentAt: 30, answeredAt: 99 }),
      request({ sentAt: 25, answeredAt: 26, status: 401, reason: 'token_revoked' }),
      request({ sentAt: 40, answeredAt: 41, status: 401, reason: 'token_revoked' }),
      request({ sentAt: 40, answeredAt: 41, status: 503, reason: 'store_unavailable' }),
      request({ status: 0 }),
    ];
    expect(brokenPromises(requests, [life])).toEqual([]);
  });

  it.each([
    [{ sentAt: 31, answeredAt: 32 }, 'let in, 1.0 ms after its revocation returned'],
    [{ status: 401, reason: 'token_unknown' }, '401 token_unknown for a valid token'],
    [{ sentAt: 40, answeredAt: 41, status: 401, reason: 'token_unknown' }, '401 token_unknown for a revoked token'],
    [{ status: 502, reason: 'upstream_unreachable' }, 'answered 502 upstream_unreachable'],
  ])('notices %j', (fields, what) => {
    expect(brokenPromises([request(fields)], [life])).toEqual([expect.stringContaining(what)]);
  });

  it('notices a stream that brings what was sent after the revocation had returned', () => {
    const stream = { token: 't', replica: 'a', lastSentAt: 30 };
    expect(brokenPromises([], [life], [stream, { ...stream, lastSentAt: 31.5 }])).toEqual([
      expect.stringContaining('an open stream went on for 1.5 ms after its revocation returned'),
    ]);
    expect(brokenPromises([], [{ ...life, revokedAt: Infinity }], [{ ...stream, lastSentAt: 99 }])).toEqual([]);
  });
});
