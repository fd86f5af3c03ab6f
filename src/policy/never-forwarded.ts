/**
 * Methods that are refused whatever a policy says. RFC 9110 §9.3.6 and §9.3.8: CONNECT and TRACE are never meant for what
 * stands behind a gateway. The others belong to RTSP and Icecast, whose request lines node's parser takes for HTTP/1.0.
 */
export const NEVER_FORWARDED: ReadonlySet<string> = new Set([
  'CONNECT',
  'TRACE',
  'SOURCE',
  'ANNOUNCE',
  'DESCRIBE',
  'SETUP',
  'PLAY',
  'PAUSE',
  'TEARDOWN',
  'GET_PARAMETER',
  'SET_PARAMETER',
  'REDIRECT',
  'RECORD',
  'FLUSH',
  // The preface of HTTP/2 (RFC 9113 §3.4).
  'PRI',
]);
