import { randomBytes } from 'node:crypto';
import { link, lstat, open, rename, unlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { CommandFailure, EXIT } from './command.ts';

/** A place for a secret that is known to be writable before the secret exists. */
export interface SecretFile {
  /** Puts the secret there: the file appears whole or not at all, readable by its owner only. */
  write(secret: string): Promise<void>;
  /** Leaves nothing behind; harmless after `write`. */
  abandon(): Promise<void>;
}

/**
 * Reserves a 0600 file beside `path`, so that a full disk or a missing permission shows before a token is issued.
 * Refuses to overwrite unless `force` is set.
 */
export async function reserveSecretFile(path: string, force: boolean): Promise<SecretFile> {
  if (!force && (await exists(path))) throw overwriting(path);
  const temporary = join(dirname(path), `.${basename(path)}.${randomBytes(6).toString('hex')}`);
  const handle = await open(temporary, 'wx', 0o600).catch((error: unknown) => {
    throw new CommandFailure(`${path} cannot be written: ${error instanceof Error ? error.message : String(error)}`);
  });
  let open_ = true;
  const close = async (): Promise<void> => {
    if (open_) await handle.close();
    open_ = false;
  };
  const abandon = async (): Promise<void> => {
    await close();
    await unlink(temporary).catch(() => undefined);
  };
  return {
    abandon,
    write: async (secret) => {
      await handle.writeFile(`${secret}\n`);
      await handle.sync();
      await close();
      if (force) return await rename(temporary, path);
      // A link fails where a file has appeared meanwhile; a rename would replace it.
      try {
        await link(temporary, path);
      } catch (error) {
        throw error instanceof Error && 'code' in error && error.code === 'EEXIST' ? overwriting(path) : error;
      } finally {
        await unlink(temporary);
      }
    },
  };
}

function overwriting(path: string): CommandFailure {
  return new CommandFailure(`${path} exists already; --force replaces it`, EXIT.failed);
}

async function exists(path: string): Promise<boolean> {
  return await lstat(path).then(
    () => true,
    () => false,
  );
}
