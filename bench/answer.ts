/** The small answer of every upstream: 150 bytes of JSON. */
export const ANSWER = JSON.stringify({
  id: 1042,
  status: 'open',
  total: '199.90',
  items: [
    { sku: 'A-1', quantity: 2 },
    { sku: 'B-7', quantity: 1 },
  ],
  note: 'ring twice'.padEnd(32, '.'),
});

/** Large answers and uploads, bytes. */
export const LARGE_BYTES = 10 * 1024 * 1024;

/** What peers that check a token take; the gateway issues its own. */
export const PEER_TOKEN = 'bench_peer_hK3vT9qLx2WcY7uRz5NfB8sJdG4mPaE1oXiQ6tVwCy0kUlH';
