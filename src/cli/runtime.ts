import type { Readable } from 'node:stream';
import type { Config } from '../config/config.ts';
import type { Canonicalise } from '../policy/run-policy-tests.ts';

/**
 * How the command line reaches what it may not import: the composition root implements it. Whatever a method throws
 * is printed as its message, without a stack, and ends the command with status 1.
 */
export interface CliRuntime {
  readonly version: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stdin: Readable;
  /** Folder of the package: `policies/` and `config.example.yaml` stand in it. */
  readonly packageFolder: string;

  /**
   * Runs a gateway until it is told to stop: SIGTERM and SIGINT drain it, SIGHUP reloads the policies. Calls
   * `onReady` once, when every listener accepts connections. Resolves with the exit status after the drain; rejects
   * when the gateway cannot be started, and then leaves nothing running.
   */
  serve(config: Config, hooks: { readonly onReady: (listeners: GatewayListeners) => void }): Promise<number>;

  /** Starts a gateway in this process that listens to no signals and logs nothing below `config.log.level`. */
  startGateway(config: Config): Promise<GatewayListeners & { close(): Promise<void> }>;

  /**
   * Issues a token straight into the store, beside a gateway that may be running on it, with its audit event; bound
   * by its class alone. Rejects with every reason at once, one a line.
   */
  createToken(
    config: Config,
    request: DirectTokenRequest,
  ): Promise<{ readonly token: string; readonly record: object }>;

  /** The newest checkpoint of an audit chain that the store holds; null where it holds none. */
  lastCheckpoint(config: Config, chain: string): Promise<AuditCheckpoint | null>;

  /** The gateway's one reading of a request-target: its canonical path without query, or why it is refused. */
  readonly canonicalise: Canonicalise;
}

/** Where the gateway listens: origins such as `http://127.0.0.1:8080`, with the ports that were really taken. */
export interface GatewayListeners {
  readonly trafficUrl: string;
  readonly adminUrl: string;
}

export interface DirectTokenRequest {
  readonly name: string;
  readonly owner: string;
  readonly class: string;
  readonly scopes: readonly string[];
  /** Milliseconds; null: the class's default. */
  readonly ttlMs: number | null;
}

export interface AuditCheckpoint {
  readonly chain: string;
  readonly seq: number;
  readonly hash: string;
  /** Milliseconds since the epoch. */
  readonly time: number;
}
