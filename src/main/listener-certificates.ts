import { readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { createSecureContext } from 'node:tls';
import type { AuditLog } from '../audit/audit-log.ts';
import { rfc3339, sha256 } from '../base/encoding.ts';
import { certificatesIn } from '../base/pem.ts';
import type { ListenConfig } from '../config/config.ts';
import type { TlsMaterial } from '../gateway/options.ts';
import type { Logger } from '../metrics/log.ts';
import type { Metrics } from '../metrics/metrics.ts';
import { FolderWatch } from './folder-watch.ts';

type TlsFiles = NonNullable<ListenConfig['tls']>;

interface Services {
  readonly audit: Pick<AuditLog, 'record'>;
  readonly metrics: Pick<Metrics, 'tlsReload' | 'tlsCertificateExpires'>;
  readonly log: Logger;
}

/** The files as they were read, and what to tell of them. */
interface ReadFiles {
  readonly material: TlsMaterial;
  /** Changes with each of the files. */
  readonly fingerprint: string;
  /** End of the listener's certificate, milliseconds since the epoch. */
  readonly expiresAt: number;
}

/**
 * Certificate, key and `client_ca` of the traffic listener. Taken up anew when one of the files changes, however it is
 * changed; what cannot be used leaves what is in force as it is.
 */
export class ListenerCertificates {
  readonly #files: TlsFiles;
  readonly #services: Services;
  readonly #watches: FolderWatch[] = [];
  #current: ReadFiles;
  /** Takes new ones into use; may throw. */
  #apply: ((material: TlsMaterial) => void) | null = null;
  /** What the files were when they were last looked at and could not be used. */
  #suspect: string | null = null;
  #rejected: string | null = null;
  #tail: Promise<unknown> = Promise.resolve();

  private constructor(files: TlsFiles, services: Services, current: ReadFiles) {
    this.#files = files;
    this.#services = services;
    this.#current = current;
    services.metrics.tlsCertificateExpires(current.expiresAt);
  }

  /** Rejects where they cannot be used. */
  static async load(files: TlsFiles, services: Services): Promise<ListenerCertificates> {
    return new ListenerCertificates(files, services, await readFiles(files));
  }

  get material(): TlsMaterial {
    return this.#current.material;
  }

  /** Looks after the files from here on. */
  watch(apply: (material: TlsMaterial) => void): void {
    this.#apply = apply;
    const { cert, key, clientCa } = this.#files;
    const folders = new Set([cert, key, ...(clientCa === null ? [] : [clientCa])].map((file) => dirname(file)));
    for (const folder of folders) {
      this.#watches.push(new FolderWatch(folder, () => this.look(), this.#services.log));
    }
  }

  /** Looks whether the files have changed. Never rejects: what is wrong is told when the next look finds it as well. */
  look(): Promise<void> {
    return this.#inTurn(() => this.#look(false));
  }

  /** Reads the files now, on request. Never rejects: what is wrong is told. */
  reload(): Promise<void> {
    return this.#inTurn(() => this.#look(true));
  }

  close(): void {
    for (const watch of this.#watches) watch.close();
  }

  #inTurn(work: () => Promise<void>): Promise<void> {
    const next = this.#tail.then(work);
    this.#tail = next.catch(() => undefined);
    return next;
  }

  async #look(asked: boolean): Promise<void> {
    let state = '';
    try {
      const contents = await readContents(this.#files);
      state = contents.fingerprint;
      if (state === this.#current.fingerprint) {
        this.#mended();
        if (asked) this.#services.metrics.tlsReload('success');
        return;
      }
      this.#accept(checked(this.#files, contents));
    } catch (error) {
      this.#doubt(error instanceof Error ? error.message : String(error), state, asked);
    }
  }

  #accept(read: ReadFiles): void {
    this.#apply?.(read.material);
    const { audit, metrics, log } = this.#services;
    this.#current = read;
    this.#suspect = null;
    this.#rejected = null;
    metrics.tlsReload('success');
    metrics.tlsCertificateExpires(read.expiresAt);
    const expires_at = rfc3339(read.expiresAt);
    audit.record({ type: 'config.loaded', outcome: 'success', details: { part: 'listen.tls', expires_at } });
    log.info({ expires_at }, 'the certificates of the listener were renewed');
  }

  /** The files are what is in force again. */
  #mended(): void {
    this.#suspect = null;
    this.#rejected = null;
  }

  /**
   * Certificate and key are replaced one after the other, and between the two do not belong together. So what was noticed
   * by looking is told when it is still so at the next look, and once.
   */
  #doubt(message: string, state: string, asked: boolean): void {
    const what = `${state} ${message}`;
    const settled = this.#suspect === what;
    this.#suspect = what;
    if (!asked && (!settled || this.#rejected === what)) return;
    this.#rejected = what;
    const { audit, metrics, log } = this.#services;
    metrics.tlsReload('failure');
    audit.record({ type: 'config.loaded', outcome: 'failure', details: { part: 'listen.tls', error: message } });
    log.error({ error: message }, 'new certificates of the listener rejected; those in force stay');
  }
}

interface Contents {
  readonly cert: Buffer;
  readonly key: Buffer;
  readonly clientCa: Buffer | null;
  readonly fingerprint: string;
}

async function readContents({ cert, key, clientCa }: TlsFiles): Promise<Contents> {
  const contents = {
    cert: await readFile(cert),
    key: await readFile(key),
    clientCa: clientCa === null ? null : await readFile(clientCa),
  };
  const parts = [contents.cert, contents.key, contents.clientCa ?? Buffer.alloc(0)];
  return { ...contents, fingerprint: parts.map((part) => sha256(part).toString('hex')).join(' ') };
}

async function readFiles(files: TlsFiles): Promise<ReadFiles> {
  return checked(files, await readContents(files));
}

/** Throws an error that says which file cannot be used, and why. */
function checked(files: TlsFiles, { fingerprint, ...material }: Contents): ReadFiles {
  const [leaf] = certificatesOf(files.cert, material.cert);
  if (files.clientCa !== null && material.clientCa !== null) certificatesOf(files.clientCa, material.clientCa);
  try {
    createSecureContext({ cert: material.cert, key: material.key });
  } catch {
    throw new Error(`${files.key} does not belong to ${files.cert}, or is no private key without a passphrase`);
  }
  const expiresAt = leaf?.validToDate.getTime() ?? 0;
  return { material: { ...material, clientAuth: files.clientAuth }, fingerprint, expiresAt };
}

function certificatesOf(file: string, pem: Buffer) {
  try {
    return certificatesIn(pem.toString('latin1'));
  } catch {
    throw new Error(`${file} holds no certificate in PEM, or one that cannot be read`);
  }
}
