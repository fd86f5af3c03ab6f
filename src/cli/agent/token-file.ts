import { randomBytes } from 'node:crypto';
import { type FileHandle, open, readdir, readFile, realpath, rename, stat, unlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { oneToken } from '../admin-client.ts';
import { CommandFailure } from '../command.ts';

/** A token that a crash has left beside the file: rotated, and not yet in its place. */
export interface Leftover {
  readonly path: string;
  /** Null where the secret never got into it. */
  readonly secret: string | null;
  readonly ageMs: number;
}

/** Room beside the file that is known to be writable before there is a secret to write. */
export interface ReservedPlace {
  /** The secret is on the disk when it resolves; its place in the file comes with `publish`. */
  store(secret: string): Promise<void>;
  /** The file's name leads to the secret from now on, after a crash too. */
  publish(): Promise<void>;
  abandon(): Promise<void>;
}

/** More than a token takes, so that a full disk shows before the rotation. */
const RESERVED_BYTES = 1024;
const SUFFIX = '.portcullis-next';
const CHANGED_SUFFIX = '.portcullis-changed';

/** A file that holds one token, replaced whole or not at all. A link is followed, so that it stays a link. */
export class TokenFile {
  /** As it was named by the operator. */
  readonly name: string;
  readonly #path: string;

  private constructor(name: string, path: string) {
    this.name = name;
    this.#path = path;
  }

  static async at(name: string): Promise<TokenFile> {
    const path = await realpath(name).catch((error: unknown) => {
      throw new CommandFailure(`${name} cannot be read: ${messageOf(error)}`);
    });
    return new TokenFile(name, path);
  }

  get path(): string {
    return this.#path;
  }

  /** The token in the file. Errors name the file and never what is in it. */
  async read(): Promise<string> {
    return oneToken(await this.#text(), this.name);
  }

  /**
   * Makes a new file beside the old one with its owner and mode, and with room for a token. Whatever would keep the new
   * secret from being written fails here, while there is none yet.
   */
  async reserve(): Promise<ReservedPlace> {
    const old = await stat(this.#path);
    const text = await this.#text();
    const after = /\s*$/.exec(text)?.[0] ?? '';
    const temporary = join(dirname(this.#path), `.${basename(this.#path)}.${randomBytes(6).toString('hex')}${SUFFIX}`);
    const handle = await open(temporary, 'wx', 0o600);
    let closed = false;
    const close = async (): Promise<void> => {
      if (!closed) await handle.close();
      closed = true;
    };
    const abandon = async (): Promise<void> => {
      await close();
      await unlink(temporary).catch(() => undefined);
    };
    try {
      const made = await handle.stat();
      if (made.uid !== old.uid || made.gid !== old.gid) await handle.chown(old.uid, old.gid);
      await handle.chmod(old.mode & 0o777);
      await handle.write(' '.repeat(RESERVED_BYTES), 0);
      await handle.sync();
    } catch (error) {
      await abandon();
      throw error;
    }
    return {
      abandon,
      store: (secret) => overwrite(handle, `${secret}${after}`),
      publish: async () => {
        await close();
        await rename(temporary, this.#path);
        await syncFolder(dirname(this.#path));
      },
    };
  }

  /** What rotations that did not come to their end have left behind. */
  async leftovers(now: number): Promise<Leftover[]> {
    const folder = dirname(this.#path);
    const prefix = `.${basename(this.#path)}.`;
    const names = (await readdir(folder)).filter((name) => name.startsWith(prefix) && name.endsWith(SUFFIX));
    const found: Leftover[] = [];
    for (const name of names) {
      const path = join(folder, name);
      try {
        const [text, { mtimeMs }] = [(await readFile(path, 'utf8')).trim(), await stat(path)];
        found.push({ path, secret: /^[\x21-\x7e]{1,8192}$/.test(text) ? text : null, ageMs: now - mtimeMs });
      } catch {
        // Gone meanwhile: another agent has come to the end of it.
      }
    }
    return found;
  }

  /** Puts a leftover in the file's place. */
  async adopt(leftover: Leftover): Promise<void> {
    await rename(leftover.path, this.#path);
    await syncFolder(dirname(this.#path));
  }

  /** Notes that the file has changed and nobody was told; outlives a crash. */
  async noteChange(): Promise<void> {
    const handle = await open(this.#marker(), 'w', 0o600);
    await handle.sync().finally(() => handle.close());
    await syncFolder(dirname(this.#path));
  }

  async changeIsUntold(): Promise<boolean> {
    return await stat(this.#marker()).then(
      () => true,
      () => false,
    );
  }

  async forgetChange(): Promise<void> {
    await unlink(this.#marker()).catch(() => undefined);
  }

  #marker(): string {
    return join(dirname(this.#path), `.${basename(this.#path)}${CHANGED_SUFFIX}`);
  }

  async #text(): Promise<string> {
    try {
      return await readFile(this.#path, 'utf8');
    } catch (error) {
      throw new CommandFailure(`${this.name} cannot be read: ${messageOf(error)}`);
    }
  }
}

async function overwrite(handle: FileHandle, text: string): Promise<void> {
  const bytes = Buffer.from(text);
  for (let written = 0; written < bytes.length; ) {
    written += (await handle.write(bytes, written, bytes.length - written, written)).bytesWritten;
  }
  await handle.truncate(bytes.length);
  await handle.sync();
}

/** A rename is on the disk when its folder is. */
async function syncFolder(path: string): Promise<void> {
  const handle = await open(path, 'r');
  await handle.sync().finally(() => handle.close());
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
