import type { Clock } from '../base/clock.ts';
import { parseSigningKeys } from '../base/signing-key.ts';
import type { AssertionConfig, UpstreamConfig } from '../config/config.ts';
import { fieldValueComplaint } from '../config/upstream-schema.ts';
import { AssertionKeys } from '../gateway/assertion-keys.ts';
import type { AssertionOptions } from '../gateway/assertions.ts';
import type { UpstreamOptions } from '../gateway/options.ts';
import type { SecretFiles } from './secret-files.ts';

/** The upstreams, each with the credential of the moment. */
export function upstreamOptions(
  upstreams: ReadonlyMap<string, UpstreamConfig>,
  secrets: SecretFiles,
): ReadonlyMap<string, UpstreamOptions> {
  const options = new Map<string, UpstreamOptions>();
  for (const [name, upstream] of upstreams) {
    const { credential } = upstream;
    const value =
      credential && secrets.hold(`upstreams.${name}.credential.value`, credential.value, fieldValueComplaint);
    options.set(name, { ...upstream, credential: credential && value && { header: credential.header, value } });
  }
  return options;
}

/** What assertions are signed with; follows the keys' file. */
export function assertionOptions(
  config: AssertionConfig | null,
  secrets: SecretFiles,
  clock: Clock,
): AssertionOptions | null {
  if (config === null) return null;
  const given = parseSigningKeys(config.keys.value.reveal());
  if (!given.ok) throw new TypeError('keys to sign with that cannot be read passed the schema');
  const keys = new AssertionKeys(given.value, config.leadMs, clock);
  secrets.follow('assertion.keys', config.keys, (text) => {
    const read = parseSigningKeys(text);
    const taken = read.ok ? keys.replace(read.value) : read;
    return taken.ok ? null : taken.error;
  });
  return { issuer: config.issuer, keys };
}
