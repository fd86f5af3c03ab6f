import type { Clock } from '../base/clock.ts';
import type { IntrospectionConfig } from '../config/config.ts';
import { clientSecretComplaint } from '../config/introspection-schema.ts';
import type { Logger } from '../metrics/log.ts';
import type { Metrics } from '../metrics/metrics.ts';
import type { IntrospectionResult } from '../model/introspection-result.ts';
import type { ForeignTokens } from '../token/authenticator.ts';
import { IntrospectedTokens } from '../token/introspection.ts';
import type { SecretFiles } from './secret-files.ts';

/** Between two complaints about one server, milliseconds: a client can bring about many. */
const COMPLAIN_EVERY_MS = 10_000;

export interface IntrospectionParts {
  /** The prefix of the tokens that this installation issues. */
  readonly ownPrefix: string;
  readonly clock: Clock;
  readonly metrics: Pick<Metrics, 'introspection'>;
  readonly log: Logger;
  readonly secrets: SecretFiles;
}

/** The tokens that servers are asked about, one kind for each server; what takes all others comes last. */
export function introspectedTokens(
  servers: readonly IntrospectionConfig[],
  { ownPrefix, clock, metrics, log, secrets }: IntrospectionParts,
): ForeignTokens[] {
  return servers
    .map((server, index) => ({ ...server, place: `introspection[${index}].client_secret` }))
    .toSorted((a, b) => b.prefix.length - a.prefix.length)
    .map((server) => {
      const name = `${server.endpoint.origin}${server.endpoint.pathname}`;
      const complaints = new ServerComplaints(name, clock, log);
      return new IntrospectedTokens({
        ...server,
        clientSecret: secrets.hold(server.place, server.clientSecret, clientSecretComplaint),
        ownPrefix: `${ownPrefix}_`,
        clock,
        observe: (result, why) => {
          metrics.introspection(name, result);
          complaints.note(result, why);
        },
      });
    });
}

/** Says when a server cannot be asked, and when it can again; not more often than somebody wants to read it. */
class ServerComplaints {
  readonly #server: string;
  readonly #clock: Pick<Clock, 'monotonic'>;
  readonly #log: Logger;
  #saidAt = Number.NEGATIVE_INFINITY;
  #standing = false;

  constructor(server: string, clock: Pick<Clock, 'monotonic'>, log: Logger) {
    this.#server = server;
    this.#clock = clock;
    this.#log = log;
  }

  note(result: IntrospectionResult, why: string | null): void {
    if (result === 'active' || result === 'inactive') {
      if (this.#standing) this.#log.info({ server: this.#server }, 'an introspection server answers again');
      this.#standing = false;
      return;
    }
    const now = this.#clock.monotonic();
    if (now - this.#saidAt < COMPLAIN_EVERY_MS) return;
    this.#saidAt = now;
    this.#standing = true;
    const fields = { server: this.#server, why };
    if (result === 'overloaded') this.#log.error(fields, 'too many questions wait for an introspection server');
    else if (result === 'failure') this.#log.error(fields, 'an introspection server cannot be asked');
    else this.#log.error(fields, 'an introspection server refuses client_id and client_secret');
  }
}
