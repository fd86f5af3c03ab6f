import { TestGateway } from './gateway.ts';

/** A gateway with one upstream, where every path but `/public` needs the scope of `token`. */
export interface SingleApi {
  readonly gateway: TestGateway;
  readonly token: string;
  readonly id: string;
  /** `METHOD TARGET` and more header lines, as bytes with Host and token. */
  request(line: string, fields?: string, body?: string): string;
}

const POLICY = `api: single
upstream: single
rules:
  - { name: open, path: /public, public: true }
  - { name: all, path: [/, "/{rest...}"], scopes: [corpus] }
`;

export async function startSingleApi(
  upstreamUrl: string,
  options: {
    readonly limits?: string;
    readonly upstream?: string;
    readonly config?: Readonly<Record<string, string>>;
  } = {},
): Promise<SingleApi> {
  const gateway = await TestGateway.start({
    upstreams: { single: upstreamUrl },
    upstreamOptions: options.upstream === undefined ? {} : { single: options.upstream },
    policies: { 'single.yaml': POLICY },
    config: {
      listen: `{ host: 127.0.0.1, port: 0, limits: { ${options.limits ?? ''} } }`,
      ...options.config,
    },
  });
  const { token, id } = await gateway.issue({ scopes: ['corpus'] });
  const request = (line: string, fields = '', body = ''): string =>
    `${line} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${token}\r\n${fields}\r\n${body}`;
  return { gateway, token, id, request };
}

/** Collects what a socket receives; `until` resolves as soon as the text fits, or rejects with what came instead. */
export class Listener {
  text = '';
  closed = false;
  #check: () => void = () => undefined;

  constructor(socket: import('node:net').Socket) {
    socket.on('data', (chunk: Buffer) => {
      this.text += chunk.toString('latin1');
      this.#check();
    });
    socket.on('error', () => undefined);
    socket.on('close', () => {
      this.closed = true;
      this.#check();
    });
  }

  until(fits: (text: string, closed: boolean) => boolean, timeoutMs = 10_000): Promise<string> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`instead came ${JSON.stringify(this.text)}`)), timeoutMs);
      this.#check = () => {
        if (!fits(this.text, this.closed)) return;
        clearTimeout(timer);
        resolve(this.text);
      };
      this.#check();
    });
  }

  async end(): Promise<string> {
    return await this.until((_text, closed) => closed);
  }
}

/** How many status lines a text holds. */
export function statusesOf(text: string): number[] {
  return [...text.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map(([, status]) => Number(status));
}
