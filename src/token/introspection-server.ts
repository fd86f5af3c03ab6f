import { LIMITS } from '../base/limits.ts';

export interface IntrospectionServerOptions {
  readonly endpoint: URL;
  readonly clientId: string;
  /** Its value of the moment. */
  readonly clientSecret: { reveal(): string };
  /** For the whole answer to arrive. */
  readonly timeoutMs: number;
}

/** What came back: a body to be read, or why there is none. `why` is for operators, and names neither token nor secret. */
export type ServerReply =
  | { readonly kind: 'body'; readonly bytes: Uint8Array }
  /** The server does not take the gateway's own credentials. */
  | { readonly kind: 'rejected'; readonly why: string }
  | { readonly kind: 'failed'; readonly why: string };

/** What `fetch` says of a connection that was kept open, and that the server has closed just then. */
const CLOSED_CONNECTION: ReadonlySet<string> = new Set(['ECONNRESET', 'EPIPE', 'UND_ERR_SOCKET']);

/** Asks (RFC 7662 §2.1). Never rejects. */
export async function askServer(options: IntrospectionServerOptions, token: string): Promise<ServerReply> {
  const signal = AbortSignal.timeout(options.timeoutMs);
  const first = await askOnce(options, token, signal);
  // A question changes nothing, so it may be repeated.
  return first.kind === 'failed' && CLOSED_CONNECTION.has(first.why) ? askOnce(options, token, signal) : first;
}

async function askOnce(
  { endpoint, clientId, clientSecret }: IntrospectionServerOptions,
  token: string,
  signal: AbortSignal,
): Promise<ServerReply> {
  try {
    const response = await fetch(endpoint, {
      method: 'POST',
      // The token and the secret are for this server, and for none that it names.
      redirect: 'error',
      signal,
      headers: {
        authorization: basicCredentials(clientId, clientSecret.reveal()),
        accept: 'application/json',
        // A bound on bytes is none on what they unpack to.
        'accept-encoding': 'identity',
      },
      body: new URLSearchParams({ token, token_type_hint: 'access_token' }),
    });
    if (response.status === 200) {
      const bytes = await boundedBody(response);
      return bytes === null ? { kind: 'failed', why: 'the answer is too large' } : { kind: 'body', bytes };
    }
    await response.body?.cancel();
    const why = `answered ${response.status}`;
    return response.status === 401 || response.status === 403 ? { kind: 'rejected', why } : { kind: 'failed', why };
  } catch (error) {
    return { kind: 'failed', why: describe(error) };
  }
}

/** RFC 6749 §2.3.1: both parts form-encoded first (its appendix B), so that a colon in one of them parts nothing. */
export function basicCredentials(id: string, secret: string): string {
  const encoded = (text: string): string => new URLSearchParams({ '': text }).toString().slice(1);
  return `Basic ${Buffer.from(`${encoded(id)}:${encoded(secret)}`).toString('base64')}`;
}

async function boundedBody(response: Response): Promise<Uint8Array | null> {
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const part of response.body ?? []) {
    size += part.length;
    // Leaving the loop cancels the rest.
    if (size > LIMITS.introspectionAnswerBytes) return null;
    parts.push(part);
  }
  return Buffer.concat(parts);
}

/** `fetch` says "fetch failed", and hides the reason in the cause. */
function describe(error: unknown): string {
  if (!(error instanceof Error)) return 'cannot be asked';
  if (error.name === 'TimeoutError') return 'did not answer in time';
  const { cause } = error;
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : null;
  return code ?? (cause instanceof Error ? cause.message : error.message);
}
