/** What is told of a protected resource (RFC 9728 §2); null: not said here, and taken from where the next one says it. */
export interface ProtectedResource {
  /** `resource`: an https URL as the operator wrote it. */
  readonly identifier: string;
  readonly authorizationServers: readonly string[] | null;
  readonly scopesSupported: readonly string[] | null;
  readonly documentation: string | null;
  readonly name: string | null;
}

export const RESOURCE_METADATA_PATH = '/.well-known/oauth-protected-resource';

/** The path of the metadata of an identifier (RFC 9728 §3.1: between host and path, without a slash that ends the host). */
export function metadataPath(identifier: string): string {
  const { pathname } = new URL(identifier);
  return `${RESOURCE_METADATA_PATH}${pathname === '/' ? '' : pathname}`;
}

export function metadataUrl(identifier: string): string {
  return `${new URL(identifier).origin}${metadataPath(identifier)}`;
}
