import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { sha256 } from '../base/encoding.ts';

interface Shown {
  /** SHA-256 of the certificate, base64url (RFC 8705 §3.1). */
  readonly thumbprint: string;
  /** Milliseconds since the epoch. */
  readonly until: number;
}

/** What clients have shown in the handshakes of their connections. Nothing that a header says is ever asked. */
export class ClientCertificates {
  /** Worked out once for each connection. */
  readonly #shown = new WeakMap<Socket, Shown | null>();

  /**
   * Thumbprint of the certificate that the connection's client has proven to hold; null where there is none, where it does not
   * come from an authority of `client_ca`, and after its end, which a connection may outlive.
   */
  thumbprint(socket: Socket, now: number): string | null {
    let shown = this.#shown.get(socket);
    if (shown === undefined) {
      shown = shownOn(socket);
      this.#shown.set(socket, shown);
    }
    return shown !== null && now < shown.until ? shown.thumbprint : null;
  }
}

function shownOn(socket: Socket): Shown | null {
  // A resumed session without a certificate counts as authorized too (TLS 1.3), so both are asked.
  if (!(socket instanceof TLSSocket) || !socket.authorized) return null;
  const certificate = socket.getPeerX509Certificate();
  if (certificate === undefined) return null;
  return { thumbprint: sha256(certificate.raw).toString('base64url'), until: certificate.validToDate.getTime() };
}

/** The client has shown a certificate, and it is not good: with `client_auth: request` TLS itself lets it in. */
export function showsBadCertificate(socket: TLSSocket): boolean {
  return !socket.authorized && socket.getPeerX509Certificate() !== undefined;
}
