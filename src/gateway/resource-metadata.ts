import { metadataPath, metadataUrl, type ProtectedResource } from '../model/protected-resource.ts';
import type { CompiledApi, CompiledPolicy } from '../policy/compiled-policy.ts';
import { PROOF_ALGORITHMS } from '../token/dpop-proof.ts';
import type { Exchange } from './exchange.ts';
import type { Gateway } from './gateway.ts';
import { problem, send, sendProblem } from './own-token.ts';
import { refuse } from './refusal.ts';

export interface ResourceOptions {
  /** Of the listener; null where nothing is told. */
  readonly configured: ProtectedResource | null;
  /** Where neither the API nor the listener names any. */
  readonly authorizationServers: readonly string[];
}

/** How long a client may keep it, seconds. */
const MAX_AGE_SECONDS = 300;

/** A verdict: whoever asks is told where tokens come from (RFC 9728 §3); a token is neither needed nor looked at. */
export class ResourceMetadataCall {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

/**
 * Metadata of protected resources (RFC 9728). All of it is the operator's: which one is told hangs on the path of the
 * request, and nothing in it on the client.
 */
export class ResourceMetadata {
  readonly #options: ResourceOptions;
  /** URLs for challenges, by API. */
  readonly #urls = new WeakMap<CompiledApi, string>();
  readonly #ownUrl: string | null;

  constructor(options: ResourceOptions) {
    this.#options = options;
    this.#ownUrl = options.configured === null ? null : metadataUrl(options.configured.identifier);
  }

  /** For `resource_metadata` of a challenge (RFC 9728 §5.1); null where there is none. */
  urlFor(api: CompiledApi | null): string | null {
    if (api === null || api.resource === null) return this.#ownUrl;
    let url = this.#urls.get(api);
    if (url === undefined) {
      url = metadataUrl(api.resource.identifier);
      this.#urls.set(api, url);
    }
    return url;
  }

  /** Null where the path is that of no resource. Several on one path are told apart by their hosts. */
  find(policy: CompiledPolicy, path: string, host: string): ResourceMetadataCall | null {
    const { configured } = this.#options;
    const own = configured === null ? [] : [configured];
    const all = [...own, ...policy.apis.flatMap(({ resource }) => (resource === null ? [] : [resource]))];
    const there = all.filter(({ identifier }) => metadataPath(identifier) === path);
    const found = there.find(({ identifier }) => new URL(identifier).hostname === host) ?? there[0];
    return found === undefined ? null : new ResourceMetadataCall(this.#text(found));
  }

  #text(resource: ProtectedResource): string {
    const { configured, authorizationServers } = this.#options;
    const servers = resource.authorizationServers ?? configured?.authorizationServers ?? authorizationServers;
    return JSON.stringify({
      resource: resource.identifier,
      authorization_servers: servers.length === 0 ? undefined : servers,
      scopes_supported: resource.scopesSupported ?? undefined,
      bearer_methods_supported: ['header'],
      dpop_signing_alg_values_supported: PROOF_ALGORITHMS,
      resource_name: resource.name ?? configured?.name ?? undefined,
      resource_documentation: resource.documentation ?? configured?.documentation ?? undefined,
    });
  }
}

export function serveResourceMetadata(gateway: Gateway, exchange: Exchange, { text }: ResourceMetadataCall): void {
  if (exchange.upgrade !== null) {
    gateway.answer(exchange, refuse('request_malformed', 'There is nothing to upgrade to here.'));
    return;
  }
  if (exchange.method !== 'GET' && exchange.method !== 'HEAD') {
    sendProblem(gateway, exchange, problem('method_not_allowed', 'Use GET, HEAD.'), ['allow', 'GET, HEAD']);
    return;
  }
  // For clients in browsers as well: it is the same for everybody.
  const anyOrigin = ['access-control-allow-origin', '*'];
  send(gateway, exchange, 200, 'application/json', text, anyOrigin, `public, max-age=${MAX_AGE_SECONDS}`);
}
