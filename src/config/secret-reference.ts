import { readFileSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { z } from 'zod';
import { err, ok, type Result } from '../base/result.ts';
import { Secret } from '../base/secret.ts';

/** From where secrets are read: the environment, and files relative to the configuration's folder. */
export interface SecretSource {
  readonly folder: string;
  readonly env: Readonly<Record<string, string | undefined>>;
}

export const LARGEST_SECRET_BYTES = 64 * 1024;

export const INLINE_SECRET =
  'a secret cannot stand in the configuration itself; write { env: NAME } or { file: PATH } in its place';

/** `{ env: NAME }` or `{ file: PATH }` as it stands in the file. */
export function referenceShape(inline: string = INLINE_SECRET) {
  return z
    .strictObject(
      {
        env: z.string({ error: 'expected the name of an environment variable' }).optional().meta({
          description: 'Environment variable that holds the secret.',
        }),
        file: z.string({ error: 'expected the path of a file' }).optional().meta({
          description: 'File that holds the secret; one newline at its end is dropped.',
        }),
      },
      { error: (issue) => (issue.code === 'invalid_type' ? inline : undefined) },
    )
    .meta({ minProperties: 1, maxProperties: 1 });
}

/** A secret by reference, resolved. */
export function secretReference(source: SecretSource) {
  return referenceShape().transform((reference, context): Secret => {
    const found = readSecret(reference, source);
    if (found.ok) return new Secret(found.value);
    context.addIssue({ code: 'custom', message: found.error });
    return z.NEVER;
  });
}

/** A secret that is read again when its file changes: its value at the start, and that file (absolute). */
export interface FollowedSecret {
  readonly value: Secret;
  /** Null: a variable of the environment, which does not change. */
  readonly file: string | null;
}

/** A secret by reference, resolved. `complaint` says why a text cannot be that secret, or null; it never repeats the text. */
export function followedSecret(source: SecretSource, complaint: (text: string) => string | null) {
  return referenceShape().transform((reference, context): FollowedSecret => {
    const found = readSecret(reference, source);
    const wrong = found.ok ? complaint(found.value) : found.error;
    if (found.ok && wrong === null) {
      const file = reference.file === undefined ? null : resolve(source.folder, reference.file);
      return { value: new Secret(found.value), file };
    }
    context.addIssue({ code: 'custom', message: found.ok ? `the secret ${wrong}` : String(wrong) });
    return z.NEVER;
  });
}

/** The secret that a reference leads to. No message ever repeats what was found. */
export function readSecret(
  reference: { readonly env?: string | undefined; readonly file?: string | undefined },
  source: SecretSource,
): Result<string, string> {
  if (reference.env !== undefined && reference.file !== undefined) return err('expected env or file, not both');
  if (reference.env !== undefined) return readVariable(reference.env, source);
  if (reference.file !== undefined) return readSecretFile(resolve(source.folder, reference.file));
  return err('expected { env: NAME } or { file: PATH }');
}

function readVariable(name: string, source: SecretSource): Result<string, string> {
  // What does not look like a name may be the secret itself, put in the wrong place.
  if (!/^[A-Za-z_][A-Za-z0-9_]{0,99}$/.test(name)) return err('env: expected the name of an environment variable');
  const value = source.env[name];
  if (value === undefined) return err(`environment variable ${name} is not set`);
  if (value === '') return err(`environment variable ${name} is empty`);
  return ok(value);
}

function readSecretFile(file: string): Result<string, string> {
  let text: string;
  try {
    const status = statSync(file);
    if (!status.isFile()) return err(`secret file ${file} is not a file`);
    if (status.size > LARGEST_SECRET_BYTES) return err(`secret file ${file} is larger than 64 KiB`);
    text = readFileSync(file, 'utf8');
  } catch (error) {
    return err(`secret file ${file} cannot be read (${errorCode(error)})`);
  }
  return secretOf(text, file);
}

/** One newline at the end belongs to the file, not to the secret. */
export function secretOf(text: string, file: string): Result<string, string> {
  const value = text.replace(/\r?\n$/, '');
  return value === '' ? err(`secret file ${file} is empty`) : ok(value);
}

/** `ENOENT` and the like. */
export function errorCode(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : 'unknown error';
}
