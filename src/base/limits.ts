/**
 * Every bound that protects the process and that an operator does not set, in one table.
 * Those that an operator sets are in the configuration, with these as their neighbours.
 */
export const LIMITS = {
  /** Longest credential that is looked at, bytes. Longer ones are `token_malformed`. */
  credentialBytes: 8 * 1024,
  /** Longest request-target that is canonicalised, bytes. */
  targetBytes: 16 * 1024,
  /** Path segments of one request. */
  pathSegments: 256,
  /** Admin API body, bytes. */
  adminBodyBytes: 64 * 1024,
  /** Body of the holder's own endpoints, bytes. */
  ownTokenBodyBytes: 4 * 1024,
  /** Bodies that are held for policies that look at them, bytes of all requests under way together. */
  heldBodyBytes: 32 * 1024 * 1024,
  /** The same of one holder of a token, as soon as they hold more than one. */
  heldBodyBytesOfHolder: 8 * 1024 * 1024,
  /** Policy, role and class files, bytes each. */
  policyFileBytes: 4 * 1024 * 1024,
  /** An OpenAPI document, bytes. The largest public ones have about 12 MiB. */
  openapiFileBytes: 32 * 1024 * 1024,
  /** Answer of an introspection server, bytes. */
  introspectionAnswerBytes: 64 * 1024,
  /** Questions under way to one introspection server; each is a connection. */
  introspectionsInFlight: 100,
  /** Answers of one introspection server that are remembered (as many good ones as bad ones), and the characters of the good ones. */
  introspectedTokens: 10_000,
  introspectedTokenChars: 16 * 1024 * 1024,
  /** Old generations that a token record remembers, so that their reuse is told from an unknown token. */
  supersededGenerations: 16,
  /** Revocations of tokens of others that are kept at once; one takes about 600 bytes in each process. */
  revocationMarks: 10_000,
  /** Audit events waiting for a sink. */
  auditQueue: 65_536,
  /** The same, in characters of their text: a few clients with long paths must not fill the memory. */
  auditQueueChars: 64 * 1024 * 1024,
  /** One line of an audit file, bytes: nothing longer is written, and reading looks no further. */
  auditLineBytes: 1024 * 1024,
  /** How long a drain waits for requests in flight, milliseconds. */
  drainMs: 30_000,
  /** Records of one page of `GET /v1/tokens`. */
  pageSize: 1000,
  /** How long the answer to an idempotent request is remembered, milliseconds. */
  idempotencyMs: 24 * 3_600_000,
  /** Windows of rate limits that a process keeps in memory; one takes about 260 bytes. */
  rateWindows: 50_000,
  /** JWTs whose signature is known to be right, and the bytes of their headers and claims together, per process. */
  verifiedJwts: 20_000,
  verifiedJwtBytes: 16 * 1024 * 1024,
  /** Keys of an issuer that a JWT which names none is tried with. */
  keysTried: 4,
  /** Longest DPoP proof that is looked at, bytes. */
  proofBytes: 8 * 1024,
  /** Longest `jti` of a proof, characters. */
  proofIdChars: 256,
  /** Trailer fields of one message, bytes. */
  trailerBytes: 8 * 1024,
} as const;
