/**
 * What came of a token that an introspection server was to be asked about (RFC 7662). `rejected`: the server does not take the
 * gateway's own credentials; `failure`: no answer, or none that can be used; `overloaded`: too many questions wait already.
 */
export const INTROSPECTION_RESULTS = ['active', 'inactive', 'rejected', 'failure', 'overloaded'] as const;
export type IntrospectionResult = (typeof INTROSPECTION_RESULTS)[number];
